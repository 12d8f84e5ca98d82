"""Sign-in with a provider: to the provider, back from it, and the exchange of the code for a session.

1. ``GET /authorize/{provider}``: the frontend sends the browser here, with its own PKCE challenge. The answer leads to
   Supabase and puts our verifier into a cookie.
2. ``GET /callback``: the provider and Supabase send the browser back here. The answer leads to the frontend, with a
   sealed code.
3. ``POST /exchange``: the frontend exchanges the code, with its own PKCE verifier, for a session.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from urllib.parse import unquote_plus, urlencode

import marshmallow
from werkzeug.wrappers import Request

from velro_auth.auth.oauth import CodeExchange, HandoffCodes, is_supabase_code
from velro_auth.auth.password_reset import PasswordSetter
from velro_auth.auth.pkce import is_challenge
from velro_auth.context import RequestContext
from velro_auth.endpoints import path_value
from velro_auth.endpoints.account_schemas import ConfirmAnswer, ExchangeBody
from velro_auth.endpoints.bodies import NO_STORE, RawResponse, validated
from velro_auth.endpoints.operation import BODY, NEW_PASSWORD, UPSTREAM, Operation
from velro_auth.endpoints.sessions import session_answer
from velro_auth.errors import (
    InvalidRequest,
    LinkInvalid,
    Throttled,
    Unready,
    UpstreamError,
    UpstreamMisconfigured,
    UpstreamThrottled,
)
from velro_auth.upstream.identity import authorize_url
from velro_auth.web.flow_cookies import Flow, FlowCookies, Header
from velro_auth.web.problems import answer_for
from velro_auth.web.redirects import MAX_LENGTH, AllowedRedirect, is_allowed, is_page_load

AUTHORIZE_PATH: Final = "/api/v1/auth/authorize"
CALLBACK_PATH: Final = "/api/v1/auth/callback"

_EXCHANGE: Final = ExchangeBody(unknown=marshmallow.EXCLUDE)

#: Supabase's names: ``github``, ``linkedin_oidc``, ``custom:acme``.
_PROVIDER: Final = re.compile(r"[a-z][a-z0-9_:-]{0,63}", re.ASCII)

#: Error of a provider or of Supabase → our words. RFC 6749, 4.1.2.1; any other error is a ``server_error``.
_ERRORS: Final[Mapping[str, str]] = {
    "access_denied": "The sign-in was cancelled or refused.",
    "temporarily_unavailable": "The provider is not available. Try again later.",
    "server_error": "The sign-in failed at the provider or at the authentication server. Try again.",
}
#: Supabase's ``error_code`` where the user can do something about it.
_REASONS: Final[Mapping[str, str]] = {
    "signup_disabled": "There is no account for this sign-in, and new ones are not accepted.",
    "provider_email_needs_verification": "Confirm your mail address first: a mail with a link was sent to it.",
}
#: Parameters that the frontend reads. It must not find older ones of the same name.
_OURS: Final = frozenset({"code", "error", "error_description"})

#: Mark of a flow that the service's own pages began. The browser said so (``Sec-Fetch-Site``), and the cookie of the
#: flow is sealed: another page can neither set the mark, nor have a code exchanged with the verifier beside it.
_BEGUN_HERE: Final = "begun_here"

_QUERY_CODES: Final = ("invalid_request", "upstream_misconfigured")
_TRIED: Final = ("link_invalid", *NEW_PASSWORD, "same_password", "too_many_attempts")


def _parameter(name: str, description: str, *, required: bool = True) -> dict[str, Any]:
    schema = {"type": "string", "maxLength": MAX_LENGTH}
    return {"name": name, "in": "query", "required": required, "schema": schema, "description": description}


@dataclass(frozen=True)
class AuthorizeEndpoint:
    """``GET /api/v1/auth/authorize/{provider}``: begins a sign-in with a provider.

    Attributes:
        project_url: Address of the Supabase project.
        public_url: Address of this service for browsers; empty if unknown.
        allowed: Addresses that ``redirect_to`` may name.
        flows: The cookies of flows.
        keeps_sessions: Whether a cookie keeps the sessions of all browsers. Then no flow needs a challenge of the
            frontend. If not, only a flow that the service's own pages begin needs none.
    """

    project_url: str
    public_url: str
    allowed: Sequence[AllowedRedirect]
    flows: FlowCookies
    keeps_sessions: bool = False

    name: ClassVar = "authorize"
    methods: ClassVar = ("GET",)
    paths: ClassVar = (f"{AUTHORIZE_PATH}/<provider>",)
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            summary="Begin a sign-in with a provider; for browsers",
            success=(303, "To the provider, by way of Supabase. A cookie keeps the PKCE verifier."),
            has_content=False,
            codes=_QUERY_CODES,
            parameters=(
                _parameter("redirect_to", "Where the sign-in ends; one of `AUTH_REDIRECT_URLS`."),
                _parameter(
                    "code_challenge",
                    "PKCE challenge of the frontend, by S256 (RFC 7636). Required unless a cookie keeps the session.",
                    required=False,
                ),
                _parameter("code_challenge_method", "`S256`, if it is sent.", required=False),
            ),
        )
    }

    def __call__(self, request: Request) -> RawResponse:
        """Send the browser to Supabase.

        Raises:
            InvalidRequest: The provider's name, ``redirect_to`` or ``code_challenge`` is missing or wrong.
            UpstreamMisconfigured: ``AUTH_PUBLIC_URL`` or the project is not set.
        """
        provider, redirect_to, challenge = self._checked(request)
        if not self.public_url or not self.project_url:
            missing = "SUPABASE_URL" if self.public_url else "AUTH_PUBLIC_URL"
            raise UpstreamMisconfigured(f"set {missing}: a sign-in with a provider comes back to AUTH_PUBLIC_URL")
        data = {"redirect_to": redirect_to, "challenge": challenge}
        if not challenge and not self.keeps_sessions:
            data[_BEGUN_HERE] = "1"
        flow = self.flows.new("oauth", data)
        target = authorize_url(
            self.project_url,
            provider=provider,
            redirect_to=f"{self.public_url.rstrip('/')}{CALLBACK_PATH}?flow={flow.id}",
            challenge=flow.challenge,
        )
        return _see_other(target, *self.flows.keep(flow, request))

    def _checked(self, request: Request) -> tuple[str, str, str]:
        wrong: dict[str, list[str]] = {}
        provider = path_value(request, "provider")
        if not _PROVIDER.fullmatch(provider):
            wrong["provider"] = ["Not the name of a provider."]
        redirect_to, challenge = _only(request, "redirect_to"), _only(request, "code_challenge")
        if not is_allowed(redirect_to, self.allowed):
            wrong["redirect_to"] = ["Must be an address that AUTH_REDIRECT_URLS allows."]
        # Without AUTH_COOKIE_SESSIONS, a session is kept for the service's own pages only.
        keeps_session = self.keeps_sessions or RequestContext.of(request.environ).keep_session is not None
        has_none = keeps_session and "code_challenge" not in request.args
        if not has_none and not is_challenge(challenge):
            wrong["code_challenge"] = ["Must be a PKCE challenge by the method S256: 43 characters."]
        if request.args.getlist("code_challenge_method") not in ([], ["S256"], ["s256"]):
            wrong["code_challenge_method"] = ["Must be S256."]
        if wrong:
            raise InvalidRequest(wrong)
        return provider, redirect_to, challenge


@dataclass(frozen=True)
class CallbackEndpoint:
    """``GET /api/v1/auth/callback``: Supabase sends the browser back here.

    Attributes:
        allowed: Addresses that ``redirect_to`` may name.
        flows: The cookies of flows.
        handoffs: Seals the code for the frontend.
        exchange: Returns the session of a code, where a cookie keeps it.
        keeps_sessions: Whether a cookie keeps the sessions of all browsers. If not, only a flow that the service's
            own pages began ends with the cookie.
        login_page: The service's own page, to which a browser is led whose flow has expired; empty without pages.
    """

    allowed: Sequence[AllowedRedirect]
    flows: FlowCookies
    handoffs: HandoffCodes
    exchange: CodeExchange
    keeps_sessions: bool = False
    login_page: str = ""

    name: ClassVar = "callback"
    methods: ClassVar = ("GET",)
    paths: ClassVar = (CALLBACK_PATH,)
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            summary="Take the browser back from a provider; Supabase sends it here",
            success=(
                303,
                "To `redirect_to`, with `code` (none where a cookie keeps the session), or with `error` and its text.",
            ),
            has_content=False,
            codes=("link_invalid",),
            parameters=(
                _parameter("flow", "Names the flow, as `authorize` did."),
                _parameter("code", "Supabase's code.", required=False),
                _parameter("error", "An error of the provider or of Supabase.", required=False),
                _parameter("error_code", "Supabase's code of the error.", required=False),
            ),
        )
    }

    def __call__(self, request: Request) -> RawResponse:
        """Send the browser to the frontend.

        Raises:
            LinkInvalid: This browser did not begin the flow, it has expired, or it leads to an address that is not
                allowed any more.
        """
        flow = self.flows.find("oauth", _only(request, "flow"), request)
        if flow is None:
            if self.login_page and is_page_load(request.environ):
                RequestContext.of(request.environ).outcome = answer_for(LinkInvalid()).code
                return _see_other(_with_query(self.login_page, {"error": "server_error"}))
            raise LinkInvalid("this browser has no such flow")
        redirect_to = flow.data["redirect_to"]
        if not is_allowed(redirect_to, self.allowed):
            raise LinkInvalid("AUTH_REDIRECT_URLS does not allow the address of this flow any more")
        return _see_other(_with_query(redirect_to, self._result(request, flow)), self.flows.end(flow))

    def _result(self, request: Request, flow: Flow) -> dict[str, str]:
        """Return the parameters for the frontend. The texts are our own: those of others may say anything."""
        code = _only(request, "code")
        if "error" not in request.args and is_supabase_code(code):
            if not flow.data["challenge"]:
                return self._begun(request, flow, code)
            return {"code": self.handoffs.seal(code, flow.verifier, flow.data["challenge"])}
        error = _only(request, "error")
        error = error if error in _ERRORS else "server_error"
        return {"error": error, "error_description": _REASONS.get(_only(request, "error_code")) or _ERRORS[error]}

    def _begun(self, request: Request, flow: Flow, code: str) -> dict[str, str]:
        """Begin the session here, in the browser's cookie: the frontend has no challenge to exchange a code with."""
        context = RequestContext.of(request.environ)
        if context.keep_session is None or not (self.keeps_sessions or _BEGUN_HERE in flow.data):
            raise LinkInvalid("the flow has no code_challenge, and AUTH_COOKIE_SESSIONS is off by now")
        try:
            exchanged = self.exchange(code, "", [flow.verifier], context)
        except (LinkInvalid, Throttled, Unready, UpstreamError, UpstreamThrottled) as failure:
            context.outcome, context.log_fields["reason"] = answer_for(failure).code, failure.reason
            error = "server_error" if isinstance(failure, LinkInvalid) else "temporarily_unavailable"
            return {"error": error, "error_description": _ERRORS[error]}
        context.keep_session(exchanged.session)
        return {}


@dataclass(frozen=True)
class ExchangeEndpoint:
    """``POST /api/v1/auth/exchange``: a code for a session."""

    setter: PasswordSetter
    flows: FlowCookies
    max_body_bytes: int

    name: ClassVar = "exchange"
    methods: ClassVar = ("POST",)
    paths: ClassVar = ("/api/v1/auth/exchange",)
    operations: ClassVar[Mapping[str, Operation]] = {
        "POST": Operation(
            summary="Trade the code of a sign-in with a provider, or of a mailed link, for a session",
            body=ExchangeBody,
            answer=ConfirmAnswer,
            success=(200, "A session."),
            codes=(*BODY, *_TRIED, *UPSTREAM, "resting", "busy"),
        )
    }

    def __call__(self, request: Request) -> RawResponse:
        """Answer with the session of the code."""
        body = validated(request, _EXCHANGE, self.max_body_bytes)
        context = RequestContext.of(request.environ)
        flows = {flow.verifier: flow for flow in self.flows.all("mail", request)}
        exchanged = self.setter.exchange(body["code"], body["code_verifier"], list(flows), body["password"], context)
        unproven = {"password_unproven": True} if exchanged.is_password_unproven else {}
        answer = session_answer(exchanged.session, context, **unproven)
        ended = flows.get(exchanged.verifier)
        ends = [] if ended is None else [self.flows.end(ended)]
        return dataclasses.replace(answer, headers=[*answer.headers, *ends])


def _only(request: Request, name: str) -> str:
    """Return a parameter of the query; empty if it is missing, or comes more than once and so has two meanings."""
    values = request.args.getlist(name)
    return values[0] if len(values) == 1 else ""


def _see_other(location: str, *cookies: Header) -> RawResponse:
    return RawResponse(b"", [("Location", location), NO_STORE, *cookies], "303 See Other")


def _with_query(address: str, parameters: Mapping[str, str]) -> str:
    """Return *address* with *parameters*, in place of those of the frontend's own that have a name of ours."""
    bare, _, query = address.partition("?")
    kept = [part for part in query.split("&") if part and unquote_plus(part.partition("=")[0]) not in _OURS]
    query = "&".join([*kept, *([urlencode(parameters)] if parameters else [])])
    return f"{bare}?{query}" if query else bare
