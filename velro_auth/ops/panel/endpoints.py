"""The endpoints of the index page: ``/`` and everything below ``/dev/``.

A page of another site must neither read nor change anything here. Its requests carry no secret that it lacks, so two
rules keep it out. ``Host`` must name this machine: a foreign name that resolves to a loopback address (DNS rebinding)
makes the page same-origin, but it cannot change the name. And what changes a fault must say that a page of the
gateway itself sent it; browsers write ``Sec-Fetch-Site`` and ``Origin``, scripts cannot.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import marshmallow
from marshmallow import fields, validate
from werkzeug.wrappers import Request, Response

from velro_auth.endpoints import Endpoint, path_value
from velro_auth.endpoints.bodies import NO_STORE, RawResponse, json_answer, validated
from velro_auth.errors import CrossSite, NotFound, UpstreamUnavailable
from velro_auth.ops import assets
from velro_auth.ops.panel.faults import FAULTS, FaultSwitches

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

#: Own files only; nothing inline, no frames, no form that leads elsewhere.
PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)

_OWN_HOST: Final = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?")

#: Name in the address → file and media type.
ASSETS: Final[Mapping[str, tuple[str, str]]] = {
    "icon.svg": ("icon.svg", "image/svg+xml"),
    "look.css": ("look.css", "text/css"),
    "panel.css": ("panel.css", "text/css"),
    "panel.js": ("panel.js", "text/javascript"),
    "waterfall.js": ("waterfall.js", "text/javascript"),
    "plots.js": ("plots.js", "text/javascript"),
    "uplot.js": ("uplot/uPlot.iife.min.js", "text/javascript"),
    "uplot.css": ("uplot/uPlot.min.css", "text/css"),
    "uplot.txt": ("uplot/LICENSE", "text/plain"),
}


def names_this_machine(environ: WSGIEnvironment) -> bool:
    """Return whether ``Host`` is a name that only this machine has."""
    return bool(_OWN_HOST.fullmatch(environ.get("HTTP_HOST", "").lower()))


def require_own_host(environ: WSGIEnvironment) -> None:
    """Check that the request was sent to a name of this machine.

    Raises:
        NotFound: ``Host`` is another name. 404 does not reveal that this page exists.
    """
    if not names_this_machine(environ):
        raise NotFound("Host is not a name of this machine")


def require_own_page(environ: WSGIEnvironment) -> None:
    """Check that a page of the gateway itself sent the request. Other ports of this machine are other pages.

    Raises:
        NotFound: ``Host`` is another name.
        CrossSite: Another page sent it, or no browser did.
    """
    require_own_host(environ)
    site, origin = environ.get("HTTP_SEC_FETCH_SITE"), environ.get("HTTP_ORIGIN", "")
    own = f"{environ.get('wsgi.url_scheme', 'http')}://{environ['HTTP_HOST'].lower()}"
    if site not in {None, "same-origin"} or (site is None and origin != own) or origin not in {"", own}:
        raise CrossSite("neither Sec-Fetch-Site nor Origin says that the request comes from the index page")


@dataclass(frozen=True)
class PageEndpoint:
    """``/``: the index page for browsers. Other clients get the same answer as in production."""

    page: Callable[[], str]
    otherwise: Endpoint

    name: ClassVar = "index"
    methods: ClassVar = ("GET", "HEAD")
    paths: ClassVar = ("/",)

    def __call__(self, request: Request) -> WSGIApplication:
        """Answer with the page."""
        best = request.accept_mimetypes.best_match(["application/json", "text/html"])
        if best != "text/html" or not names_this_machine(request.environ):
            return self.otherwise(request)
        headers = [NO_STORE, ("Content-Security-Policy", PAGE_POLICY), ("Vary", "Accept")]
        return Response(self.page(), mimetype="text/html", headers=headers)


@dataclass(frozen=True)
class AssetEndpoint:
    """``/dev/assets/<name>``: the files of the page."""

    name: ClassVar = "dev_asset"
    methods: ClassVar = ("GET", "HEAD")
    paths: ClassVar = ("/dev/assets/<name>",)

    def __call__(self, request: Request) -> Response:
        """Answer with a file.

        Raises:
            NotFound: There is no such file, or ``Host`` is not a name of this machine.
        """
        require_own_host(request.environ)
        if (found := ASSETS.get(path_value(request, "name"))) is None:
            raise NotFound
        file, media_type = found
        return Response(assets.text(file), mimetype=media_type, headers=[("Cache-Control", "no-cache")])


@dataclass(frozen=True)
class StateEndpoint:
    """``GET /dev/state``: what the live panel shows; the page asks each second."""

    readings: Callable[[], dict[str, Any]]
    faults: FaultSwitches

    name: ClassVar = "dev_state"
    methods: ClassVar = ("GET",)
    paths: ClassVar = ("/dev/state",)

    def __call__(self, request: Request) -> RawResponse:
        """Answer with the figures.

        Raises:
            NotFound: ``Host`` is not a name of this machine.
        """
        require_own_host(request.environ)
        try:
            supabase = {"answers": True, "fault": self.faults.current()}
        except UpstreamUnavailable:
            supabase = {"answers": False, "fault": None}
        return json_answer({**self.readings(), "supabase": supabase})


class FaultBody(marshmallow.Schema):
    """Which fault is to be on; null for none."""

    fault = fields.String(required=True, allow_none=True, validate=validate.OneOf(sorted(FAULTS)))


@dataclass(frozen=True)
class FaultEndpoint:
    """``POST /dev/fault``: switches a fault of the local Supabase on, or all off."""

    faults: FaultSwitches
    max_body_bytes: int = 1024

    name: ClassVar = "dev_fault"
    methods: ClassVar = ("POST",)
    paths: ClassVar = ("/dev/fault",)

    def __call__(self, request: Request) -> RawResponse:
        """Switch a fault.

        Raises:
            NotFound: ``Host`` is not a name of this machine.
            CrossSite: The index page did not send the request.
            InvalidRequest: There is no such fault.
            UpstreamUnavailable: The local Supabase does not answer.
        """
        require_own_page(request.environ)
        name: str | None = validated(request, FaultBody(), self.max_body_bytes)["fault"]
        self.faults.switch(name)
        return json_answer({"fault": name})
