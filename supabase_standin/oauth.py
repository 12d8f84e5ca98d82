"""Logging in with a provider: away to its page, and back with a code that becomes a session."""

from __future__ import annotations

import html
import uuid
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from werkzeug.wrappers import Response

from supabase_standin import bearer, flow_states, identities, provider, redirects, sessions, timestamps, users
from supabase_standin.about import PROVIDERS
from supabase_standin.backend import Backend, Call
from supabase_standin.errors import Failure
from supabase_standin.flow_states import FlowState

#: Parameters of ours, which providers never see from the outside.
RESERVED: Final = frozenset(
    (
        "provider",
        "scopes",
        "state",
        "client_id",
        "redirect_uri",
        "response_type",
        "scope",
        "code_challenge",
        "code_challenge_method",
        "invite_token",
    )
)
#: Code of a failure → what OAuth calls it.
DENIED: Final = frozenset(("signup_disabled", "user_banned", "provider_email_needs_verification"))


def authorize(backend: Backend, call: Call) -> Response:
    """Answer ``GET /authorize``: off to the provider.

    Raises:
        Failure: The provider is off or unknown, or PKCE was asked for by half.
    """
    return _redirect(_provider_url(backend, call), 302)


def link(backend: Backend, call: Call) -> str | Response:
    """Answer ``GET /user/identities/authorize``: the address of the provider, or off to it.

    Raises:
        Failure: No session, linking is off, or as `authorize`.
    """
    who = bearer.user(backend, call)
    identities.demand_linking(backend)
    url = _provider_url(backend, call, linking=who.user.id)
    return url if call.query.get("skip_http_redirect") == "true" else _redirect(url, 302)


def callback(backend: Backend, call: Call, form: Mapping[str, str]) -> Response:
    """Answer ``GET`` and ``POST /callback``: the browser is always sent on, also after an error."""
    given = {**call.query, **form}
    try:
        flow = _flow(backend, given.get("state", ""))
    except Failure as failure:
        # It is not known yet where the user wanted to go.
        values = {"error": "invalid_request", "error_code": str(failure.code), "error_description": failure.message}
        return _redirect(f"{backend.config.site_url}?{urlencode(values)}", 303)
    target = flow.referrer or backend.config.site_url
    if given.get("error"):
        values = {name: given[name] for name in ("error", "error_description") if given.get(name)}
        return _redirect(redirects.with_message(target, values, pkce=True), 302)
    try:
        return _redirect(_finish(backend, call, flow, given.get("code", ""), target), 302)
    except Failure as failure:
        return _redirect(redirects.with_message(target, _oauth_error(failure), pkce=True), 302)


def _provider_url(backend: Backend, call: Call, *, linking: uuid.UUID | None = None) -> str:
    config, query = backend.config, call.query
    name = query.get("provider", "")
    kind = _kind(backend, name)
    flow_states.check(query)
    if query.get("code_challenge") and query["code_challenge_method"].lower() not in flow_states.METHODS:
        raise Failure(400, "validation_failed", "Invalid code_challenge_method")
    with backend.auth.transaction() as connection:
        flow_id = flow_states.start(
            connection,
            query,
            provider=name,
            method="oauth",
            now=backend.clock(),
            referrer=redirects.chosen(config, call),
            linking_target_id=linking,
            provider_access_token="",
            provider_refresh_token="",
        )
    parameters = {key: value for key, value in query.items() if key not in RESERVED} | {
        "client_id": kind.client_id,
        "redirect_uri": provider.redirect_uri(config, backend.issuer),
        "response_type": "code",
        "scope": " ".join([kind.scopes, query.get("scopes", "")]).strip(),
        "state": str(flow_id),
    }
    return f"{backend.provider.page(name)}?{urlencode(sorted(parameters.items()))}"


def _kind(backend: Backend, name: str) -> provider.Kind:
    unsupported = "Unsupported provider: "
    if name not in {*PROVIDERS, *provider.KINDS}:
        raise Failure(400, "validation_failed", f"{unsupported}Provider {name} could not be found")
    if name not in backend.config.providers:
        raise Failure(400, "validation_failed", f"{unsupported}provider is not enabled")
    if not provider.redirect_uri(backend.config, backend.issuer):
        raise Failure(400, "validation_failed", f"{unsupported}missing redirect URI")
    return provider.KINDS[name]


def _flow(backend: Backend, state: str) -> FlowState:
    if not state:
        raise Failure(400, "bad_oauth_callback", "OAuth state parameter missing")
    try:
        flow_id = uuid.UUID(state)
    except ValueError:
        raise Failure(400, "bad_oauth_state", "OAuth state parameter is invalid") from None
    with backend.auth.transaction() as connection:
        flow = flow_states.by_id(connection, flow_id)
    if flow is None:
        raise Failure(400, "bad_oauth_state", "OAuth state not found or expired")
    if flow.user_id is not None:
        raise Failure(400, "flow_state_already_used", "State has already been used")
    if flow.is_expired(backend.clock(), backend.config.flow_state_exp_s):
        raise Failure(400, "bad_oauth_state", "OAuth state has expired")
    return flow


def _finish(backend: Backend, call: Call, flow: FlowState, code: str, target: str) -> str:
    """Return where the browser goes with what the provider said."""
    login = _said(backend, flow, code)
    now = backend.clock()
    refusal: Failure | None = None
    with backend.auth.transaction() as connection:
        if flow.linking_target_id is not None:
            target_user = users.by_id(connection, flow.linking_target_id)
            if target_user is None:
                raise Failure(404, "user_not_found", "Linking target user not found")
            user = identities.link(backend, connection, target_user, login)
        else:
            outcome = identities.sign_in(backend, connection, call, login)
            user, refusal = outcome.user, outcome.refusal
        if refusal is None and flow.auth_code is not None:
            flow_states.update(
                connection,
                flow.id,
                now=now,
                user_id=user.id,
                provider_access_token=code,
                provider_refresh_token=provider.REFRESH_TOKEN,
                auth_code_issued_at=timestamps.moment(now),
            )
            return redirects.with_code(target, flow.auth_code)
        if refusal is None:
            answer = sessions.begin(backend, connection, call, user.id, method="oauth")
            flow_states.delete(connection, flow.id)
            tokens = {"provider_token": code, "provider_refresh_token": provider.REFRESH_TOKEN}
            return redirects.with_tokens(target, answer, kind="", **tokens)
    raise refusal


def _said(backend: Backend, flow: FlowState, code: str) -> identities.Login:
    if not code:
        text = "OAuth callback with missing authorization code missing"
        raise Failure(400, "bad_oauth_callback", text)
    name = flow.provider_type
    account = backend.provider.redeem(name, code)
    if account is None:
        raise Failure(500, "unexpected_failure", f"Unable to exchange external code: {code[:4]}")
    if not account.email:
        raise Failure(500, "unexpected_failure", "Error getting user email from external provider")
    return identities.Login(provider=name, claims=backend.provider.claims(name, account))


def _oauth_error(failure: Failure) -> dict[str, Any]:
    error = "access_denied" if failure.code in DENIED else redirects.OAUTH_ERRORS.get(failure.status, "server_error")
    return {"error": error, "error_code": str(failure.code), "error_description": failure.message}


def _redirect(url: str, status: int) -> Response:
    words = {302: "Found", 303: "See Other"}[status]
    body = f'<a href="{html.escape(url)}">{words}</a>.\n\n'
    return Response(body, status, headers={"Location": url}, content_type="text/html; charset=utf-8")
