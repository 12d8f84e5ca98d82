"""Checks of what an app meets that uses Supabase's own client with the gateway's address: ``--client``.

They know the address and what apps know, and no setting of the service: they run anywhere.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlsplit

from urllib3.exceptions import HTTPError

from velro_auth.auth.api_keys import opens_administration
from velro_auth.auth.tokens import claims_of_issued
from velro_auth.health_checks import Finding, worst
from velro_auth.ops.doctor.checkup import Run
from velro_auth.ops.doctor.client_calls import PREFIX, Answer, GatewayClient
from velro_auth.ops.doctor.context import ACCOUNT, GATEWAY, DiagnosticContext, NotApplicable, NotGiven
from velro_auth.ops.doctor.supabase import date_s, skew

KEY: Final = "--key"
ORIGIN: Final = "--origin"
REDIRECT_TO: Final = "--redirect-to"

#: What supabase-js sends beyond what browsers always may (seen with 2.109).
SENT: Final = frozenset({"apikey", "authorization", "content-type", "x-client-info", "x-supabase-api-version"})
#: Methods of its calls that a preflight has to allow; GET and POST need no permission.
_METHODS: Final = frozenset({"put", "delete"})
#: Read by supabase-js.
_VERSION: Final = "X-Supabase-Api-Version"

_OK: Final = 200
_NO_CONTENT: Final = 204
_UNAUTHORIZED: Final = 401
_NOT_FOUND: Final = 404
_TOO_MANY: Final = 429
_REDIRECTS: Final = frozenset({302, 303, 307})


def _refusal(answer: Answer) -> str:
    """Return a refusal in a few words: status, code, message and hint, from any server that sent it."""
    told = answer.document
    code = told.get("error_code") or told.get("code") or ""
    words = [told[name] for name in ("message", "msg", "detail", "hint") if isinstance(told.get(name), str)]
    return f"{answer.status} {code}: {' '.join(words)[:300]}" if words else f"{answer.status} {code}".rstrip()


def _face(client: GatewayClient) -> Finding:
    try:
        answer = client.ask("GET", f"{PREFIX}/settings", key="")
    except (HTTPError, ValueError) as error:
        return Finding("fail", f"no answer ({type(error).__name__})")
    told = answer.document
    if answer.header("x-sb-error-code") == "invalid_api_key" and told.get("code") == "invalid_api_key":
        if _is_open_to_readers(client.url):
            return Finding("warn", "plain http: passwords and tokens can be read on the way", "Use https.")
        return Finding("pass", f"{PREFIX} answers, and asks for a key")
    if answer.status == _NOT_FOUND and told.get("code") == "not_found" and "detail" in told:
        return Finding("fail", f"this service answers, but not {PREFIX}", "Set AUTH_SUPABASE_API=on.")
    kind = answer.header("Content-Type") or "no type"
    return Finding(
        "fail", f"{PREFIX}/settings without a key answers {answer.status} ({kind}), not as this service does"
    )


def _is_open_to_readers(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        is_near = ipaddress.ip_address(host).is_private
    except ValueError:
        is_near = host == "localhost" or host.endswith((".localhost", ".internal"))
    return parts.scheme != "https" and not is_near


def _version(client: GatewayClient) -> Finding:
    answer = client.ask("GET", f"{PREFIX}/user", key="")
    told = answer.document
    if not answer.header(_VERSION) or not answer.header("x-sb-error-code"):
        return Finding("fail", f"a refusal comes without {_VERSION} or x-sb-error-code")
    if not isinstance(told.get("code"), str) or "message" not in told:
        return Finding("fail", "a refusal has the older format, though the newer one was asked for")
    allowed = answer.header("Access-Control-Allow-Origin")
    if allowed and _VERSION.lower() not in answer.listed("Access-Control-Expose-Headers"):
        return Finding("fail", f"pages may not read {_VERSION}")
    return Finding(
        "pass", f"{answer.header(_VERSION)}" + ("" if allowed else "; whether pages may read it was not seen")
    )


def _preflight(client: GatewayClient) -> Finding:
    if not client.origin:
        raise NotGiven("no page was named", give=ORIGIN)
    asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": ",".join(sorted(SENT))}
    # Browsers send no key with a preflight.
    answer = client.ask("OPTIONS", f"{PREFIX}/user", key="", headers=asked)
    if answer.status not in {_OK, _NO_CONTENT}:
        return Finding("fail", f"a preflight is answered {answer.status}")
    origin = answer.header("Access-Control-Allow-Origin")
    if origin not in {client.origin, "*"}:
        return Finding("fail", f"pages of {client.origin} may not call; allowed is {origin or 'no origin'}")
    headers, methods = answer.listed("Access-Control-Allow-Headers"), answer.listed("Access-Control-Allow-Methods")
    # A "*" does not stand for Authorization (Fetch standard).
    missing = SENT - headers if "*" not in headers else {"authorization"} - headers
    missing |= set() if "*" in methods else _METHODS - methods
    if missing:
        return Finding("fail", f"pages may not send: {', '.join(sorted(missing))}")
    refused = client.ask("POST", f"{PREFIX}/token?grant_type=password", body={}, key="")
    if refused.header("Access-Control-Allow-Origin") not in {client.origin, "*"}:
        return Finding(
            "fail", "the preflight allows the page, but the answer itself does not: errors look like no network"
        )
    return Finding("pass", f"pages of {client.origin} may call")


def _key(client: GatewayClient) -> Finding:
    if not client.key:
        raise NotGiven("no key of an app was given", give=KEY)
    if opens_administration(client.key):
        return Finding("fail", "this is a secret key; it was not sent", "Give apps the publishable key only.")
    answer = client.ask("GET", f"{PREFIX}/settings")
    if answer.status != _OK or "external" not in answer.document:
        return Finding("fail", f"not accepted: {_refusal(answer)}")
    made_up = client.ask("GET", f"{PREFIX}/settings", key=f"sb_publishable_{secrets.token_hex(16)}")
    if made_up.status != _UNAUTHORIZED:
        return Finding("fail", f"accepted, but a made-up key too ({made_up.status})")
    return Finding("pass", "accepted, and a made-up key is not")


def _link(client: GatewayClient, redirect_to: str = "") -> Answer:
    """Open the link of a mail that does not exist. It is refused, by a redirect to where a good one would lead."""
    query = f"token={secrets.token_hex(28)}&type=signup"
    if redirect_to:
        query += f"&redirect_to={quote(redirect_to, safe='')}"
    answer = client.ask("GET", f"{PREFIX}/verify?{query}", key="")
    if answer.status == _TOO_MANY:
        raise NotApplicable("too many wrong links came from this address; try again later")
    return answer


def _redirect(client: GatewayClient) -> Finding:
    answer = _link(client)
    target = urlsplit(answer.header("Location"))
    if answer.status not in _REDIRECTS or not target.netloc:
        return Finding("fail", f"a link is answered {_refusal(answer)}, not with a redirect")
    site = f"{target.scheme}://{target.netloc}{target.path}"
    own = urlsplit(client.url)
    if target.netloc == own.netloc:
        return Finding("pass", f"handed over; the Site URL is the gateway itself ({site})")
    if _is_here(target.hostname) and not _is_here(own.hostname):
        return Finding("warn", f"handed over; the Site URL is {site}, which is each user's own machine")
    return Finding("pass", f"handed over; the Site URL is {site}, not the gateway")


def _is_here(host: str | None) -> bool:
    return host in {"localhost", "127.0.0.1", "::1"}


def _redirect_to(client: GatewayClient) -> Finding:
    if not client.redirect_to:
        raise NotGiven("no address was named", give=REDIRECT_TO)
    target = _link(client, client.redirect_to).header("Location")
    if not target.startswith(client.redirect_to):
        return Finding("fail", f"dropped: a sign-in ends at {target.partition('#')[0] or 'no address'}")
    if "?" in client.redirect_to:
        return Finding("warn", "allowed, but dropped in mails: it has a query", "Leave the query out.")
    return Finding("pass", "allowed")


def _provider(client: GatewayClient) -> Finding:
    offered = client.ask("GET", f"{PREFIX}/settings").document.get("external")
    found = [name for name, is_on in (offered if isinstance(offered, dict) else {}).items() if is_on is True]
    providers = [name for name in found if name not in {"email", "phone", "anonymous_users"}]
    if not providers:
        raise NotApplicable("the project has no provider switched on")
    name = providers[0]
    query = f"provider={quote(name)}"
    if client.redirect_to:
        query += f"&redirect_to={quote(client.redirect_to, safe='')}"
    answer = client.ask("GET", f"{PREFIX}/authorize?{query}", key="")
    target = urlsplit(answer.header("Location"))
    if answer.status not in _REDIRECTS or not target.netloc:
        return Finding("fail", f"a sign-in with {name} is answered {_refusal(answer)}, not with a redirect")
    back = parse_qs(target.query).get("redirect_uri", [""])[0]
    return Finding("pass", f"{name} is at {target.netloc}" + (f", and leads back to {back}" if back else ""))


def _login(client: GatewayClient) -> Finding:
    if client.account is None:
        raise NotGiven("no test account", give=ACCOUNT)
    answer = client.login
    session = answer.document
    token = session.get("access_token")
    if answer.status != _OK or not isinstance(token, str):
        return Finding("fail", f"refused: {_refusal(answer)}")
    user = client.ask("GET", f"{PREFIX}/user", token=token)
    if user.status != _OK:
        return Finding("fail", f"logged in, but the user cannot be read: {_refusal(user)}")
    if user.document.get("id") != _user_id(session):
        return Finding("fail", "logged in, but another user was read")
    return Finding("pass", "logged in, and the user was read; the session ends with this run")


def _refresh(client: GatewayClient) -> Finding:
    first = client.login.document
    body = {"refresh_token": first.get("refresh_token")}
    answers = [client.grant("refresh_token", body) for _ in range(2)]
    for answer, which in zip(answers, ("the first", "the second"), strict=True):
        if answer.status != _OK:
            return Finding("fail", f"{which} refresh is refused: {_refusal(answer)}")
        if _user_id(answer.document) != _user_id(first):
            return Finding("fail", f"{which} refresh is answered with another user's session")
    tokens = {str(answer.document.get("refresh_token")) for answer in answers}
    if len(tokens) > 1:
        return Finding("warn", "refreshed twice: the two calls were not answered alike")
    return Finding("pass", "refreshed once for two calls")


def _user_id(session: Mapping[str, Any]) -> Any:
    user = session.get("user")
    return user.get("id") if isinstance(user, dict) else None


def _clock(client: GatewayClient) -> Finding:
    answer = client.ask("GET", f"{PREFIX}/health", key="")
    found = {"the gateway's": skew(date_s(answer.header("Date")), answer.at_s)}
    if client.can_log_in:
        claims = claims_of_issued(str(client.login.document.get("access_token")))
        if claims is not None and claims.issued_at is not None:
            found["the token's"] = skew(claims.issued_at, client.login.at_s)
    said = "; ".join(f"{name}: {one.output}" for name, one in found.items())
    return Finding(worst(one.status for one in found.values()), said)


def _data(client: GatewayClient) -> Finding:
    answer = client.ask("GET", "/rest/v1/")
    if answer.status != _NOT_FOUND:
        return Finding("pass", f"something serves data here: /rest/v1/ answers {answer.status}")
    hint = answer.document.get("hint")
    if not isinstance(hint, str) or "://" not in hint:
        return Finding("warn", "/rest/v1/ answers 404 and names no address of the project")
    return Finding("pass", f"not here: {hint}")


def _of_client(run: Callable[[GatewayClient], Finding]) -> Run:
    def check(context: DiagnosticContext) -> Finding:
        if context.client is None:
            raise NotGiven("no gateway was named", give=f"--client and {GATEWAY}")
        return run(context.client)

    return check


CHECKS: Final[Mapping[str, Run]] = {
    "client.face": _of_client(_face),
    "client.version": _of_client(_version),
    "client.preflight": _of_client(_preflight),
    "client.key": _of_client(_key),
    "client.redirect": _of_client(_redirect),
    "client.redirect_to": _of_client(_redirect_to),
    "client.provider": _of_client(_provider),
    "client.login": _of_client(_login),
    "client.refresh": _of_client(_refresh),
    "client.clock": _of_client(_clock),
    "client.data": _of_client(_data),
}
