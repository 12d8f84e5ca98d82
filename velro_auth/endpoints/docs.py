"""``/openapi.json`` and ``/docs``: the API for programs and for people."""

from __future__ import annotations

import functools
import html
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from werkzeug.wrappers import Request, Response

from velro_auth.endpoints import Endpoint
from velro_auth.errors import NotFound

#: The page needs only its inline style: no script, no image, nothing from another server.
PAGE_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem}"
    "h2{margin-top:2.5rem}code,pre{background:#eee;padding:.1rem .3rem}pre{padding:1rem;overflow:auto}"
    "td{padding:.2rem 1rem .2rem 0;vertical-align:top}"
)


@dataclass(frozen=True)
class Contract:
    """The OpenAPI document. It is built at the first request, because its library takes time and memory to load.

    Attributes:
        endpoints: The endpoints to describe.
        version: This build.
        is_open: Whether clients may read it.
    """

    endpoints: Iterable[Endpoint]
    version: str
    is_open: bool

    def document(self) -> dict[str, Any]:
        """Return the document.

        Raises:
            NotFound: It is not open.
        """
        if not self.is_open:
            raise NotFound("documents are closed")
        return self._document

    @functools.cached_property
    def _document(self) -> dict[str, Any]:
        from velro_auth.endpoints.openapi import openapi  # noqa: PLC0415 - loads apispec

        return openapi(self.endpoints, self.version)


@dataclass(frozen=True)
class OpenApiEndpoint:
    """``/openapi.json``: for programs."""

    contract: Contract

    name: ClassVar = "openapi"
    methods: ClassVar = ("GET", "HEAD")
    paths: ClassVar = ("/openapi.json",)

    def __call__(self, _: Request) -> Response:
        """Answer with the document."""
        return Response(json.dumps(self.contract.document()), mimetype="application/json")


@dataclass(frozen=True)
class DocsEndpoint:
    """``/docs``: for people."""

    contract: Contract

    name: ClassVar = "docs"
    methods: ClassVar = ("GET", "HEAD")
    paths: ClassVar = ("/docs",)

    def __call__(self, _: Request) -> Response:
        """Answer with a page."""
        response = Response(page(self.contract.document()), mimetype="text/html")
        response.headers["Content-Security-Policy"] = PAGE_POLICY
        return response


def page(document: dict[str, Any]) -> str:
    """Return *document* as an HTML page."""
    title = f"{document['info']['title']} {document['info']['version']}"
    sections = [
        _section(path, method, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method != "head"
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1>"
        f'<p>{html.escape(document["info"]["description"])} For programs: <a href="openapi.json">openapi.json</a>.</p>'
        f"{''.join(sections)}</html>"
    )


def _section(path: str, method: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{html.escape(status)}</code></td><td>{html.escape(response['description'])}</td></tr>"
        for status, response in operation["responses"].items()
    )
    return (
        f"<h2><code>{method.upper()} {html.escape(path)}</code></h2>"
        f"<p>{html.escape(operation['summary'])}.</p><table>{rows}</table>"
    )
