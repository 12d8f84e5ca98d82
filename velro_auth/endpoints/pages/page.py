"""What all pages have in common: how a page is called, where it leads to, and how its errors are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlencode

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wrappers import Request

from velro_auth.endpoints import Around, Endpoint
from velro_auth.endpoints.bodies import RawResponse
from velro_auth.endpoints.pages.rendering import Renderer, problem_of, see_other
from velro_auth.errors import BadJson, RequestError, SessionExpired, TokenError, TooLarge, UnsupportedMediaType
from velro_auth.web.redirects import AllowedRedirect, is_allowed, is_own_path

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

LOGIN_PATH: Final = "/login"
FACTOR_PATH: Final = "/login/factor"
ACCOUNT_PATH: Final = "/account"

#: Error of a sign-in with a provider, from ``CallbackEndpoint`` → the text of ``/login``. No text of others is shown.
PROVIDER_ERRORS: Final[Mapping[str, str]] = {
    "access_denied": "provider_denied",
    "temporarily_unavailable": "provider_unavailable",
    "server_error": "provider_failed",
}


@dataclass(frozen=True, kw_only=True)
class Site:
    """What the pages share.

    Attributes:
        renderer: Renders them.
        redirects: Addresses of other origins that they may lead to.
        max_body_bytes: Largest body of a form.
    """

    renderer: Renderer
    redirects: Sequence[AllowedRedirect]
    max_body_bytes: int

    def leads_to(self, given: str) -> str:
        """Return the address that the sign-in leads to, if *given* is one that it may lead to; else empty."""
        return given if is_own_path(given) or is_allowed(given, self.redirects) else ""

    def form(self, request: Request) -> Mapping[str, str]:
        """Return the fields of a sent form.

        Raises:
            UnsupportedMediaType: It is no form of a page.
            TooLarge: It has more than ``max_body_bytes``.
            BadJson: It cannot be read.
        """
        if request.mimetype != "application/x-www-form-urlencoded":
            raise UnsupportedMediaType
        request.max_content_length = self.max_body_bytes
        try:
            return request.form
        except RequestEntityTooLarge as error:
            raise TooLarge from error
        except Exception as error:
            # Each server has its own exceptions for an incomplete body.
            raise BadJson("the form cannot be read") from error

    def form_again(self, request: Request) -> Mapping[str, str]:
        """Return the fields of a form that was refused; none where it cannot be read."""
        try:
            return self.form(request)
        except RequestError:
            return {}


class Page(Endpoint, Protocol):
    """A page, as an endpoint that can also show an error."""

    @property
    def site(self) -> Site:
        """What the pages share."""

    def refused(self, request: Request, error: Exception, /) -> RawResponse:
        """Answer *request* with a page that shows *error*."""


@dataclass(frozen=True)
class PageEndpoint(Around):
    """A page whose errors are pages as well.

    Attributes:
        page: The page; ``endpoint`` is the page with cookie sessions around it, which may raise errors of their own.
    """

    page: Page

    @property
    def max_body_bytes(self) -> int:
        """Largest request body; 0 where no body is read."""
        return self.page.site.max_body_bytes if "POST" in self.methods else 0

    @property
    def body_routes(self) -> Sequence[tuple[str, str]]:
        """The routes that read a body."""
        return [("POST", path) for path in self.paths if "POST" in self.methods]

    def __call__(self, request: Request) -> WSGIApplication:
        """Answer *request*."""
        try:
            return self.endpoint(request)
        except (TokenError, SessionExpired):
            # The page is for people who are signed in. They come back to it.
            return see_other(to_login(request, self._aim(request)))
        except Exception as error:  # noqa: BLE001 - problem_of() logs what it does not know
            return self.page.refused(request, error)

    def _aim(self, request: Request) -> str:
        """Return where the person of *request* comes back to: the page, or where its form leads to."""
        if request.method in {"GET", "HEAD"}:
            return request.path
        site = self.page.site
        return site.leads_to(site.form_again(request).get("rd", "")) or ACCOUNT_PATH


def to_login(request: Request, path: str) -> str:
    """Return the address of the sign-in that leads to *path*, in the language of *request*."""
    leads_to = request.args.get("rd", "") if path == FACTOR_PATH else path
    query: dict[str, Any] = {"rd": leads_to, "lang": request.args.get("lang", "")}
    if (error := request.args.get("error", "")) in PROVIDER_ERRORS:
        query["error"] = error
    kept = {name: value for name, value in query.items() if value}
    return f"{LOGIN_PATH}?{urlencode(kept)}" if kept else LOGIN_PATH


def show_error(site: Site, request: Request, error: Exception) -> RawResponse:
    """Answer with a page that has nothing but *error*."""
    return site.renderer.page("error", request, problem=problem_of(error, request))
