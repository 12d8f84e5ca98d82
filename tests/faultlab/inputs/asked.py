"""Whole requests for the routes: good, nearly good, or bad, in each of their parts."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from werkzeug.wrappers import Request

from tests.faultlab import bodies, raw
from tests.faultlab.inputs.double import Double, Mood
from tests.faultlab.inputs.part import hurt
from tests.faultlab.inputs.proofs import PUBLIC, cookies_of, random_uuid
from tests.faultlab.inputs.values import ENVIRONMENT
from tests.fixtures.hostile import APP, HOSTILE
from velro_auth.auth.models import Session, User
from velro_auth.auth.oauth import HandoffCodes
from velro_auth.auth.pkce import challenge_of
from velro_auth.web.flow_cookies import Flow, FlowCookies
from velro_auth.web.session_cookies import SessionCookies

KEY: Final = "k" * 40
#: Begins every secret of a request.
CANARY: Final = "canary-"
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")

_FORM: Final = "application/x-www-form-urlencoded"
_TYPES: Final = ("application/json; charset=utf-8", "text/plain", "", _FORM, "application/json, text/html", "a/b;=")
_NAMES: Final = """
redirect_to rd grant_type scope code error error_code flow token token_hash type lang code_challenge role aal strict
on_fail apikey provider page x code_challenge_method
"""
_VALUES: Final = """
password refresh_token pkce id_token global local others signup recovery S256 admin aal2 1 login github %zz
"""
_PARAMETERS: Final = _NAMES.split()
_WORDS: Final = [*_VALUES.split(), "access_denied", "de", "", "\0", "\ud800", "a" * 3000, APP, f"{APP}/x?a=b"]

#: Last segment of a path → the members of good bodies. ``code:uuid`` is the member ``code`` with that value.
_MEMBERS: Final[Mapping[str, Sequence[str]]] = {
    "login": ("email password", "email password challenge"),
    "refresh": ("refresh_token",),
    "signup": ("email password data redirect_to", "data", "phone password"),
    "register": ("email password full_name",),
    "otp": ("email create_user redirect_to",),
    "confirm": ("token_hash type", "email token type", "email token type password"),
    "reset": ("token_hash password", "email token password"),
    "password": ("password current_password",),
    "me": ("display_name avatar_url", "email current_password redirect_to"),
    "anonymous": ("data",),
    "exchange": ("code:sealed code_verifier", "code:uuid"),
    "token": ("email password", "refresh_token", "auth_code:uuid code_verifier", "provider id_token", "phone password"),
    "user": ("data", "password current_password", "email", "phone"),
    "verify": ("code:digits challenge_id:uuid", "type token email", "type token_hash"),
    "factors": ("friendly_name", "factor_type friendly_name"),
    "sso": ("domain redirect_to",),
}
_USUAL: Final = ("email", "email password", "")


class Route(NamedTuple):
    """One method of one path; *path* has ``<name>`` for a placeholder."""

    method: str
    path: str
    is_page: bool = False


class Asked(NamedTuple):
    """One request as bytes, and how Supabase answers it.

    Attributes:
        route: The route that it was made for.
        data: The request.
        mood: Of the double.
        seed: Of the double's answers.
        has_session: Whether it holds a good token or a good cookie.
    """

    route: Route
    data: bytes
    mood: Mood
    seed: int
    has_session: bool


class Asking:
    """Makes requests, with tokens that *double* knows; *paths* has a real path for what no chance would hit."""

    def __init__(self, double: Double, paths: Mapping[str, str]) -> None:
        self._double, self._paths = double, paths
        self._cookies = SessionCookies([KEY.encode()], public_url=PUBLIC)
        self._flows = FlowCookies([KEY.encode()], public_url=PUBLIC)
        self._handoffs = HandoffCodes([KEY.encode()])
        self._known = [body for body in bodies.known() if len(body.data) < 200_000]

    def make(self, chance: random.Random, route: Route) -> Asked:
        """Return a request for *route*."""
        method = route.method if chance.random() < 0.93 else chance.choice(METHODS)
        path = self._paths.get(route.path, route.path) if chance.random() < 0.7 else route.path
        path = re.sub("<[a-z_]+>", lambda _: _segment(chance), path)
        if chance.random() < 0.05:
            path = "/" + hurt(chance, path, "/.%;a-~")[1:]
        secret = f"{CANARY}{chance.getrandbits(60):015x}"
        fields, has_session = self._proofs(chance, route, secret)
        fields += [(name, value) for name, value in _others(chance) if chance.random() < 0.12]
        query, body = _query(chance, route), b""
        if method not in {"GET", "HEAD"} or chance.random() < 0.03:
            body, content_type, coding = self._body(chance, route, secret)
            fields += [("Content-Type", content_type), ("Content-Length", str(len(body)))]
            fields += [("Content-Encoding", coding)] if coding else []
        target = f"{path}?{query}" if query else path
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "", ""]
        moods: tuple[Mood, ...] = ("right", "right", "right", "right", "garbled", "garbled", "refusing")
        data = "\r\n".join(lines).encode("latin-1", "replace") + body
        return Asked(route, data, chance.choice(moods), chance.getrandbits(32), has_session)

    def _proofs(self, chance: random.Random, route: Route, secret: str) -> tuple[list[tuple[str, str]], bool]:
        """Return the header fields that say who asks, and whether they prove a session."""
        luck, fields, cookies = chance.random(), [("Host", "auth.example.com")], list[str]()
        token = self._double.token(chance, aal=chance.choice(("aal1", "aal2")))
        if luck < 0.4:
            fields.append(("Authorization", f"Bearer {token}"))
        elif luck < 0.6:
            left_s = chance.choice((3000, 30, -30))
            cookies.append(self._session_cookie(token, secret, int(time.time()) + left_s))
        elif luck < 0.7:
            # Damaged, or with the signature of another one.
            other = self._double.token(chance).rpartition(".")[2]
            swapped = f"{token.rpartition('.')[0]}.{other}"
            bad = swapped if chance.random() < 0.5 else hurt(chance, token, "abcXYZ019-_.")
            shown = (f"Bearer {bad}", f"Bearer {bad}", f"Bearer {bad}, {token}", bad, "Basic YTpi")
            fields.append(("Authorization", chance.choice(shown)))
        elif luck < 0.8:
            cookies.append(f"{self._cookies.names[0]}={secret}{chance.choice(('', '=', 'AA'))}")
        if route.path.endswith("/callback"):
            data = {"redirect_to": APP, "challenge": chance.choice(("", "A" * 43))}
            flow = Flow("oauth", "f" * 16, "v" * 43, time.time(), data)
            cookies.append(cookies_of(self._flows.keep(flow, Request({}))))
        if cookies:
            fields.append(("Cookie", "; ".join(cookies)))
        if chance.random() < 0.9:
            fields.append(("apikey", ENVIRONMENT["SUPABASE_PUBLISHABLE_KEY"]))
        if chance.random() < (0.9 if cookies or route.is_page else 0.3):
            fields.append(("Sec-Fetch-Site", "same-origin" if chance.random() < 0.9 else "cross-site"))
        return fields, luck < 0.6

    def _session_cookie(self, access_token: str, refresh_token: str, expires_at: int) -> str:
        user = User(id="u", email=None)
        session = Session(
            access_token=access_token, refresh_token=refresh_token, expires_in=60, expires_at=expires_at, user=user
        )
        return cookies_of(self._cookies.keep(session, Request({})))

    def _body(self, chance: random.Random, route: Route, secret: str) -> tuple[bytes, str, str]:
        """Return a body, its type and its coding."""
        luck = chance.random()
        if luck < 0.1:
            body = chance.choice(self._known) if luck < 0.02 else bodies.generated(chance, 1)[0]
            return body.data, "application/json", body.coding
        last = [segment for segment in route.path.split("/") if "<" not in segment][-1]
        known = self._known_values(chance, secret)
        told = {name.partition(":")[0]: known[name] for name in chance.choice(_MEMBERS.get(last, _USUAL)).split()}
        if luck < 0.3:
            told |= {name.partition(":")[0]: known[name] for name in chance.sample([*known], 2)}
        elif luck < 0.6 and told:
            told[chance.choice([*told])] = bodies.value(chance)
        if route.is_page or last in {"acs", "callback"}:
            told |= {"rd": chance.choice(("/account", APP, *HOSTILE[:40])), "factor": random_uuid(chance)}
            return urlencode(told, errors="surrogatepass").encode(), _FORM if luck < 0.95 else "text/plain", ""
        text = json.dumps(told)
        if 0.85 < luck < 0.95:
            text = hurt(chance, text, '{}[]":,\\0e-')
        return text.encode(), "application/json" if luck < 0.95 else chance.choice(_TYPES), ""

    def _known_values(self, chance: random.Random, secret: str) -> dict[str, Any]:
        """Return a good value of each member that a body may have."""
        proof, uuid = f"{secret}{'v' * 43}", random_uuid(chance)
        secrets = ("password", "refresh_token", "token_hash", "current_password", "id_token", "captcha_token", "ticket")
        return {
            **dict.fromkeys((*secrets, "challenge"), secret),
            **dict.fromkeys(("code:uuid", "auth_code:uuid", "challenge_id:uuid"), uuid),
            **dict.fromkeys(("token", "nonce", "code:digits"), "123456"),
            **dict.fromkeys(("display_name", "full_name", "friendly_name"), "Ada"),
            "email": f"{secret}@a.example",
            "phone": "+49151123456",
            "create_user": True,
            "type": chance.choice(("signup", "email", "recovery", "email_change")),
            "data": {"a": 1},
            "domain": "a.example",
            "avatar_url": "https://a.example/a.png",
            "redirect_to": chance.choice((f"{APP}/x", *HOSTILE[:20])),
            "provider": "google",
            "factor_type": "totp",
            "code_verifier": proof,
            "code:sealed": self._handoffs.seal(uuid, "v" * 43, challenge_of(proof)),
        }


def _segment(chance: random.Random) -> str:
    """Return what stands for a placeholder."""
    if chance.random() < 0.7:
        return random_uuid(chance)
    text = chance.choice((*_WORDS, *raw.INJECTIONS, "google", "app.js", "..", ".", "a/b"))
    return quote(text, safe="", errors="surrogatepass")


def _query(chance: random.Random, route: Route) -> str:
    given: list[tuple[str, str]] = []
    if route.path.endswith("/token") and chance.random() < 0.9:
        given.append(("grant_type", chance.choice(("password", "refresh_token", "pkce", "id_token"))))
    if route.path.endswith(("/callback", "<provider>")) and chance.random() < 0.8:
        given += [("flow", "f" * 16), ("code", random_uuid(chance)), ("redirect_to", APP)]
    for _ in range(chance.choice((0, 0, 0, 1, 1, 2, 5))):
        value = chance.choice((*_WORDS, *HOSTILE)) if chance.random() < 0.9 else chance.choice(raw.INJECTIONS)
        given.append((chance.choice(_PARAMETERS), value))
    return urlencode(given, errors="surrogatepass")


def _others(chance: random.Random) -> list[tuple[str, str]]:
    """Return header fields that a request may have as well."""
    text = chance.choice((*raw.INJECTIONS, *HOSTILE[:60])).encode("utf-8", "replace").decode("latin-1")
    text = re.sub(r"[\x00-\x1f\x7f]", "~", text)
    return [
        ("X-Real-IP", raw.address(chance)),
        ("X-Forwarded-For", raw.address(chance)),
        ("User-Agent", text),
        ("X-Request-ID", chance.choice((text, "a" * 64, "a" * 65, ""))),
        ("Origin", chance.choice((APP, PUBLIC, text))),
        ("Accept", chance.choice(("application/problem+json", "text/html", "*/*;q=x", text))),
        ("Accept-Language", chance.choice(("de", "xx;q=2", text))),
        ("X-Supabase-Api-Version", chance.choice(("2024-01-01", "9999-99-99", text))),
        ("redirect-to", text),
        ("X-Auth-Require", chance.choice(("role=admin", "aal=aal2; strict=1", text))),
        ("X-Original-URL", text),
        ("X-Forwarded-Method", chance.choice(("GET", "POST", text))),
        ("X-Forwarded-Uri", text),
        ("X-Forwarded-Host", text),
        ("X-Request-Start", chance.choice(("1", "9" * 17, text))),
        ("traceparent", chance.choice((f"00-{'a' * 32}-{'b' * 16}-01", text))),
        ("Sec-Fetch-Mode", chance.choice(("navigate", "websocket"))),
        ("Sec-WebSocket-Key", "a"),
        ("Range", text),
        ("If-None-Match", text),
    ]
