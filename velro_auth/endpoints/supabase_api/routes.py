"""The table of routes, and the endpoint that answers everything below ``/auth/v1``."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, TypeAlias

from werkzeug.wrappers import Request

from velro_auth.context import RequestContext
from velro_auth.endpoints.bodies import RawResponse, is_storable
from velro_auth.endpoints.supabase_api.asked import Asked
from velro_auth.endpoints.supabase_api.client_keys import ClientKeys
from velro_auth.endpoints.supabase_api.mails import Mails
from velro_auth.endpoints.supabase_api.passed import PassedOnRoutes
from velro_auth.endpoints.supabase_api.refusals import refuse
from velro_auth.endpoints.supabase_api.tokens import Tokens
from velro_auth.endpoints.supabase_api.users import Users
from velro_auth.errors import BadParameter, MethodNotAllowed, NotFound, VelroAuthError
from velro_auth.web.middleware import is_below
from velro_auth.web.redirects import AllowedRedirect

PREFIX: Final = "/auth/v1"

#: Supabase's other services, which clients reach at the project's own address.
ELSEWHERE: Final = ("/rest/v1", "/storage/v1", "/realtime/v1", "/functions/v1", "/graphql/v1")

Handler: TypeAlias = Callable[[Asked], RawResponse]

_UUID: Final = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"


@dataclass(frozen=True, slots=True)
class Route:
    """One route.

    Attributes:
        method: The method.
        path: The path below the prefix; ``<name>`` stands for a UUID.
        handler: Answers it.
        needs_key: Whether the caller has to send an API key. Navigations of a browser cannot.
        operation: The endpoint of this service's own API that does the same: what the request is counted and audited
            as. None for none.
        has_body: Whether a body is read.
    """

    method: str
    path: str
    handler: Handler
    needs_key: bool = True
    operation: str | None = None
    has_body: bool = False

    @property
    def pattern(self) -> re.Pattern[str]:
        """What the path below the prefix has to match."""
        return re.compile(re.sub("<([a-z_]+)>", rf"(?P<\1>{_UUID})", re.escape(self.path)), re.ASCII)


def routes(tokens: Tokens, mails: Mails, users: Users, passed: PassedOnRoutes) -> tuple[Route, ...]:
    """Return the table. What is not in it is answered 404, and never passed on: ``admin``, ``invite``, ``scim``."""
    return (
        Route("POST", "/token", tokens.token, has_body=True),
        Route("POST", "/logout", tokens.log_out, operation="logout"),
        Route("GET", "/user", passed.user, operation="me"),
        Route("PUT", "/user", users.change, operation="profile", has_body=True),
        Route("GET", "/reauthenticate", users.reauthenticate, operation="reauthenticate"),
        Route("POST", "/signup", mails.signup, operation="signup", has_body=True),
        Route("POST", "/otp", mails.otp, operation="otp", has_body=True),
        Route("POST", "/magiclink", mails.otp, operation="otp", has_body=True),
        Route("POST", "/recover", mails.recover, operation="password_forgot", has_body=True),
        Route("POST", "/resend", mails.resend, operation="signup_resend", has_body=True),
        Route("POST", "/verify", mails.verify, operation="confirm", has_body=True),
        Route("GET", "/verify", mails.follow, needs_key=False),
        Route("POST", "/factors", users.enrol, operation="factors", has_body=True),
        Route("POST", "/factors/<factor_id>/challenge", users.challenge, operation="factor_challenge", has_body=True),
        Route("POST", "/factors/<factor_id>/verify", users.verify_factor, operation="factor_verify", has_body=True),
        Route("DELETE", "/factors/<factor_id>", users.remove_factor, operation="factor", has_body=True),
        Route("GET", "/user/identities/authorize", users.link),
        Route("DELETE", "/user/identities/<identity_id>", users.unlink),
        Route("GET", "/settings", passed.page),
        Route("GET", "/health", passed.page),
        Route("GET", "/.well-known/jwks.json", passed.page, needs_key=False),
        Route("GET", "/.well-known/openid-configuration", passed.page, needs_key=False),
        Route("GET", "/authorize", passed.authorize, needs_key=False, operation="authorize"),
        Route("GET", "/callback", passed.callback, needs_key=False, operation="callback"),
        Route("POST", "/callback", passed.callback, needs_key=False, operation="callback", has_body=True),
        Route("POST", "/sso", passed.sso, operation="authorize", has_body=True),
        Route("GET", "/sso/saml/metadata", passed.saml_metadata, needs_key=False),
        Route("POST", "/sso/saml/acs", passed.saml_acs, needs_key=False, has_body=True),
    )


#: grant_type → the endpoint that does the same.
_GRANTS: Final[Mapping[str, str]] = {
    "password": "login",
    "refresh_token": "refresh",
    "pkce": "exchange",
    "id_token": "exchange",
}


@dataclass(frozen=True)
class SupabaseApiEndpoint:
    """``/auth/v1/*``: Supabase's own API, for Supabase's own clients.

    Attributes:
        keys: The API keys that callers may send.
        routes: The table of routes.
        redirects: The addresses that a flow may lead to.
        project_url: Address of the Supabase project.
        max_body_bytes: Largest request body.
    """

    keys: ClientKeys
    routes: Sequence[Route]
    redirects: Sequence[AllowedRedirect]
    project_url: str
    max_body_bytes: int

    name: ClassVar = "supabase_api"
    #: Empty means every method: both lanes route it by path alone.
    methods: ClassVar[tuple[str, ...]] = ()
    paths: ClassVar = (PREFIX, *ELSEWHERE)

    @property
    def body_routes(self) -> list[tuple[str, str]]:
        """The method and path of each route that reads a body."""
        return [(route.method, PREFIX + route.path) for route in self.routes if route.has_body]

    def __call__(self, request: Request) -> RawResponse:
        """Answer a request. Every error is answered in Supabase's format."""
        never_429 = request.args.get("grant_type") == "refresh_token"
        try:
            return self._answer(request)
        except Exception as error:  # noqa: BLE001 - refuse() knows our own and logs the others
            return refuse(error, request.environ, never_429=never_429)

    def _answer(self, request: Request) -> RawResponse:
        route, parts = self._route(request)
        query = _query(request)
        header = request.headers.get("apikey")
        key = query.get("apikey", "") if header is None else header
        if route.needs_key:
            self.keys.check(key)
        self.keys.check_bearer(request.headers.get("Authorization", ""))
        context = RequestContext.of(request.environ)
        context.operation = _GRANTS.get(query.get("grant_type", "")) if route.path == "/token" else route.operation
        return route.handler(Asked(request, context, parts, query, key, self.redirects, self.max_body_bytes))

    def _route(self, request: Request) -> tuple[Route, Mapping[str, str]]:
        """Return the route of a request.

        Raises:
            NotFound: There is none. A path with an escape has none either: two servers may read it differently.
            MethodNotAllowed: The path exists, but not with this method.
        """
        path = request.environ["PATH_INFO"]
        if not is_below(path, (PREFIX,)):
            error: VelroAuthError = NotFound("not the authentication server")
            hint = f"This gateway answers {PREFIX} only. Send this request to {self.project_url}."
            # Clients of the other services show "message" to people, and no "hint".
            error.members = {"hint": hint, "message": hint}
            raise error
        if "%" in request.environ.get("RAW_URI", "").partition("?")[0]:
            raise NotFound("an escape in the path")
        rest = path.removeprefix(PREFIX)
        exact = self._exact.get(rest)
        by_method, parts = (exact, {}) if exact is not None else self._matching(rest)
        # As it was sent: Werkzeug would read "get" as GET, and another server would not.
        route = by_method.get(request.environ["REQUEST_METHOD"])
        if route is None:
            raise MethodNotAllowed([*sorted(by_method), "OPTIONS"])
        return route, parts

    def _matching(self, rest: str) -> tuple[Mapping[str, Route], dict[str, str]]:
        for pattern, by_method in self._patterns:
            if match := pattern.fullmatch(rest):
                # In lower case, as Supabase answers with them.
                return by_method, {name: value.lower() for name, value in match.groupdict().items()}
        raise NotFound("not a route of Supabase's clients")

    @functools.cached_property
    def _exact(self) -> Mapping[str, Mapping[str, Route]]:
        return {
            path: {route.method: route for route in self.routes if route.path == path}
            for path in {route.path for route in self.routes}
            if "<" not in path
        }

    @functools.cached_property
    def _patterns(self) -> Sequence[tuple[re.Pattern[str], Mapping[str, Route]]]:
        return [
            (route.pattern, {other.method: other for other in self.routes if other.path == route.path})
            for route in self.routes
            if "<" in route.path
        ]


def _query(request: Request) -> dict[str, str]:
    """Return the parameters of the query.

    Raises:
        BadParameter: One comes twice, and so has two meanings; or has a character that Supabase would fail on.
    """
    query = request.args.to_dict(flat=False)
    if any(len(values) > 1 for values in query.values()):
        raise BadParameter("a parameter comes twice")
    if not is_storable(query):
        raise BadParameter("a parameter has a character that cannot be stored")
    return {name: values[0] for name, values in query.items()}
