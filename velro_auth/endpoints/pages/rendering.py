"""Turns a template into a response: the language, the policy of the page, the addresses of its files and links."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import jinja2
from markupsafe import Markup
from werkzeug.wrappers import Request

from velro_auth.endpoints.bodies import NO_STORE, RawResponse
from velro_auth.endpoints.pages.assets import OWN_STYLES, Assets
from velro_auth.endpoints.pages.branding import Brand
from velro_auth.endpoints.pages.messages import Language, Languages
from velro_auth.web import problems

SHIPPED: Final = Path(__file__).parent / "templates"

_HTML: Final = ("Content-Type", "text/html; charset=utf-8")
#: Proxies may keep a page only for the same language and session; ``no-store`` says more, but not to all of them.
_VARY: Final = ("Vary", "Accept-Language")
#: What a page may do, without inline scripts and styles. ``data:`` is the QR code of a second factor.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; worker-src 'self'; "
    "img-src 'self' data:{images}; form-action 'self'{actions}; frame-ancestors 'none'; base-uri 'none'"
)
#: Tables of the texts that scripts show.
_FOR_SCRIPTS: Final = ("error", "script")
_ESCAPES: Final = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An error, as a page shows it.

    Attributes:
        status: The status of the response.
        code: The code of the error.
        headers: Header fields of the response that belong to the error.
        retry_after_s: When another attempt makes sense; None where nothing says so.
    """

    status: str
    code: str
    headers: Sequence[tuple[str, str]] = ()
    retry_after_s: int | None = None


def problem_of(error: Exception, request: Request) -> Problem:
    """Return *error* as the API would answer it, and note its code for the access log."""
    answer = problems.respond(error, request.environ)
    kept = [(name, value) for name, value in answer.headers.items() if name not in {"Content-Type", "Content-Length"}]
    retry_after = answer.headers.get("Retry-After")
    return Problem(
        status=answer.status,
        code=json.loads(answer.get_data())["code"],
        headers=[field for field in kept if field[0] != NO_STORE[0]],
        retry_after_s=int(retry_after) if retry_after else None,
    )


class Renderer:
    """Renders the pages.

    Args:
        brand: The product whose pages these are.
        assets: The files of the pages.
        languages: Their texts.
        public_url: The address of this service for browsers.
        folder: The operator's folder, whose templates replace those of the same name; None for none.
    """

    def __init__(
        self, *, brand: Brand, assets: Assets, languages: Languages, public_url: str, folder: Path | None = None
    ) -> None:
        folders = [str(place) for place in (folder, SHIPPED) if place is not None]
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(folders),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._assets = assets
        self._languages = languages
        self._images = f" {source}" if brand.logo and (source := brand.logo.source) else ""
        logo = assets.logo if assets.logo.startswith("https://") else assets.path(assets.logo or "icon.svg")
        self._shared: Mapping[str, Any] = {
            "brand": brand,
            "logo": logo,
            "asset": assets.path,
            "has_own_styles": OWN_STYLES in assets.files,
            "public_url": public_url.rstrip("/"),
        }

    def page(
        self,
        name: str,
        request: Request,
        *,
        leads_to: str = "",
        problem: Problem | None = None,
        **values: Any,
    ) -> RawResponse:
        """Return the page *name*.

        Args:
            name: Name of the template, without its ending.
            request: The request.
            leads_to: The checked address that the page leads to when its work is done; empty for the account.
            problem: The error to show; None for none.
            **values: What the template needs beside that.
        """
        language = self._languages.of(request)
        kept = {"lang": language.code} if language.is_asked else {}

        def link(path: str, **query: str) -> str:
            query = {key: value for key, value in {**query, **kept}.items() if value}
            return f"{path}?{urlencode(query)}" if query else path

        texts = language.texts
        template = self._templates.get_template(f"{name}.html")
        text = template.render(
            **self._shared,
            page=name,
            lang=language.code,
            t=texts,
            link=link,
            leads_to=leads_to,
            problem=None if problem is None else self._shown(problem, language),
            script_texts=_as_script({table: texts[table] for table in _FOR_SCRIPTS}),
            **values,
        )
        policy = _POLICY.format(images=self._images, actions=_source_of(leads_to))
        headers = [_HTML, NO_STORE, _VARY, ("Content-Security-Policy", policy), *(problem.headers if problem else ())]
        return RawResponse(text.encode(), headers, problem.status if problem else "200 OK")

    def _shown(self, problem: Problem, language: Language) -> str:
        """Return the text for *problem*; where it has a time to wait, with that time."""
        texts, script = language.texts["error"], language.texts["script"]
        text = texts.get(problem.code) or texts["other"]
        if problem.retry_after_s is not None:
            text += " " + script["again_in"].replace("{seconds}", str(problem.retry_after_s))
        return text


def see_other(location: str) -> RawResponse:
    """Return 303 to *location*."""
    return RawResponse(b"", [("Location", location), NO_STORE], "303 See Other")


def _source_of(address: str) -> str:
    """Return what ``form-action`` needs beside ``'self'``: browsers check the redirect behind a form too."""
    parts = urlsplit(address)
    if not parts.scheme:
        return ""
    return f" {parts.scheme}://{parts.netloc}" if parts.scheme in {"http", "https"} else f" {parts.scheme}:"


def _as_script(value: Any) -> Markup:
    """Return *value* as JSON for a ``script`` element: without the characters that could end it."""
    return Markup(json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPES))  # noqa: S704
