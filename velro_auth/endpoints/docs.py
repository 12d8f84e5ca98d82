"""``/openapi.json`` and ``/docs``: the API for programs and for people."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from werkzeug.wrappers import Request, Response

from velro_auth.endpoints import Endpoint
from velro_auth.errors import NotFound


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
        # Its style and script are read when the page is first asked for.
        from velro_auth.endpoints.docs_page import PAGE_POLICY, page  # noqa: PLC0415

        response = Response(page(self.contract.document()), mimetype="text/html")
        response.headers["Content-Security-Policy"] = PAGE_POLICY
        return response
