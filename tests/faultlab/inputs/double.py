"""Supabase behind the transport, which answers at once: right, refusing, garbled, or about somebody else."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias, cast
from urllib.parse import parse_qs, urlsplit

from requests import PreparedRequest

from tests.faultlab import bodies
from tests.faultlab.garbling import KINDS
from tests.faultlab.inputs.part import hurt
from tests.faultlab.inputs.proofs import random_uuid
from tests.fixtures.tokens import SigningKey, claims_at, segment
from tests.upstream_double import PROJECT, SESSION, VECTORS
from velro_auth.upstream.answers import claims_of, object_in
from velro_auth.upstream.transport.transport import Read, Reply

Mood: TypeAlias = Literal["right", "refusing", "garbled", "another user"]

_CASES: Final = json.loads((VECTORS / "supabase-auth-errors.json").read_text("utf-8"))
_JSON: Final = {"Content-Type": "application/json", "Date": "Thu, 26 Nov 2026 22:00:00 GMT"}
_EARLY: Final = "0001-01-01T00:00:00+14:00"
_ODD: Final[tuple[Any, ...]] = (
    *map(float, ("nan", "inf", "-inf")),
    10**400,
    -1,
    True,
    "",
    "\ud800",
    _EARLY,
    [],
    {},
    None,
    [[]],
    {"a": {}},
)
#: As they can arrive: Latin-1.
_ODD_HEADERS: Final = ("", "0", "-1", "9" * 99, "\xb3", "http://[::1", "//evil.example", "Thu, 99 Nov", "a\tb", "\x01")
_NOTED: Final = ("Retry-After", "Date", "Location", "x-sb-error-code", "Content-Type", "Cache-Control")


class Double:
    """What stands in place of the transport.

    Attributes:
        mood: How it answers next.
        chance: What its answers are made with.
        replies: The answers since :meth:`expect`.
        tokens: The access tokens that Supabase knows.
    """

    def __init__(self, key: SigningKey) -> None:
        self._key = key
        self.tokens: set[str] = set()
        self.expect("right", random.Random())  # noqa: S311

    def expect(self, mood: Mood, chance: random.Random) -> None:
        """Begin anew."""
        self.mood, self.chance = mood, chance
        self.replies: list[Reply] = []

    def token(self, chance: random.Random, **claims: Any) -> str:
        """Return an access token that Supabase knows."""
        own = {"sub": random_uuid(chance), "session_id": random_uuid(chance), "iss": f"{PROJECT}/auth/v1"}
        token = self._key.token(claims_at(time.time(), **{**own, **claims}))
        self.tokens.add(token)
        return token

    def prepare(self, method: str, path: str, **_: Any) -> PreparedRequest:
        """Return a request, as the transport does."""
        request = PreparedRequest()
        request.method, request.url, request.headers = method, PROJECT + path, cast("Any", {})
        return request

    def ask(
        self,
        prepared: PreparedRequest,
        read: Callable[[Reply], Read],
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        **_: Any,
    ) -> Read:
        """Answer, and have the answer read."""
        sent = {**prepared.headers, **(headers or {})}
        reply = self._right(str(prepared.method), str(prepared.url), object_in(body or b""), sent)
        if self.mood == "refusing":
            case = self.chance.choice(_CASES)
            told = case[self.chance.choice(("body_2024_01_01", "body_legacy"))]
            reply = Reply(case["status"], case["headers"]["2024-01-01"], json.dumps(told).encode())
        elif self.mood == "garbled":
            reply = self._garbled(reply)
        self.replies.append(reply)
        return read(reply)

    def send(self, prepared: PreparedRequest, body: bytes | None = None, **_: Any) -> Reply:
        """Answer."""
        return self.ask(prepared, lambda reply: reply, body)

    def _right(self, method: str, url: str, sent: Mapping[str, Any], headers: Mapping[str, str]) -> Reply:
        path = urlsplit(url).path.removeprefix("/auth/v1")
        bearer = headers.get("Authorization", headers.get("authorization", "")).removeprefix("Bearer ")
        claims = claims_of(bearer)
        if bearer and bearer not in self.tokens:
            return _json({"code": "bad_jwt", "message": "invalid JWT"}, 403)
        if self.mood == "another user":
            claims, sent = {}, {**sent, "email": "else@example.org", "phone": "4915100000"}
        user = {**SESSION["user"], "id": claims.get("sub") or random_uuid(self.chance)}
        user |= {name: sent[name] for name in ("email", "phone") if isinstance(sent.get(name), str)}
        parts = path.strip("/").split("/")
        if path.endswith("/logout"):
            return Reply(204, _JSON, b"")
        if parts[-1] in {"authorize", "callback", "acs"} or (parts[-1], method) == ("verify", "GET"):
            return Reply(302, {**_JSON, "Location": f"{PROJECT}/x"}, b"")
        is_anonymous = not sent.get("email") and not sent.get("phone")
        if parts[-1] in {"token", "verify"} or (parts[-1] == "signup" and (is_anonymous or self.chance.random() < 0.5)):
            return _json(self._session(user, claims, sent))
        is_list = parts[-1] == "velro_auth_sessions"
        return _json([self._row(claims, sent)] if is_list else self._other(method, parts, url, user))

    def _row(self, claims: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
        """Return a session of the user: the own one, or the one that was asked for by its id."""
        moment = "2026-11-20T09:15:30.128450317Z"
        only = sent.get("only_id")
        row = {"id": only or claims.get("session_id", random_uuid(self.chance)), "is_current": not only, "aal": "aal1"}
        return {**row, "created_at": moment, "last_used_at": moment, "ip": "203.0.113.7", "user_agent": "velro-auth/1"}

    def _other(self, method: str, parts: list[str], url: str, user: dict[str, Any]) -> Any:
        if parts[-1] in {"user", "signup"}:
            return user
        if parts[-1] == "users":
            names = parse_qs(urlsplit(url).query).get("id", ["eq."])
            return [{"id": user["id"] if self.mood == "another user" else names[0][3:], "display_name": "A"}]
        if parts[-1] == "velro_auth_end_session":
            return True
        if parts[0] == "factors":
            # Of an enrolment, of a challenge, and of a removal.
            totp = {"qr_code": "<svg/>", "secret": "AAAA", "uri": "otpauth://totp/a"}
            known = parts[1] if method == "DELETE" and self.mood != "another user" else random_uuid(self.chance)
            return {"id": known, "type": "totp", "expires_at": int(time.time()) + 60, "totp": totp}
        return {}

    def _session(self, user: dict[str, Any], claims: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
        if not sent.get("email") and not sent.get("phone") and "data" in sent:
            user |= {"is_anonymous": True, "email": ""}
        kept = {"sub": user["id"], **({"session_id": claims["session_id"]} if "session_id" in claims else {})}
        made = {
            "access_token": self.token(self.chance, **kept),
            "refresh_token": f"canary-{self.chance.getrandbits(60):x}",
        }
        return {**SESSION, **made, "expires_at": int(time.time()) + 3600, "user": user}

    def _garbled(self, reply: Reply) -> Reply:
        chance, status, headers, body = self.chance, reply.status, dict(reply.headers), reply.body
        how = chance.randrange(6)
        if how == 0 and body.startswith(b"{"):
            body, headers["Content-Type"] = KINDS[chance.choice(list(KINDS))](body)
        elif how == 1:
            body = body[: chance.randrange(len(body) + 1)]
        elif how == 2 and body:
            body = hurt(chance, body.decode("latin-1"), '{}[]":,0-\\\x00\xff').encode("latin-1")
        elif how == 3 and b'"access_token"' in body:
            told = json.loads(body)
            odd = {chance.choice(("exp", "sub", "aal", "amr", "user_metadata", "session_id")): self._odd()}
            head, payload, end = told["access_token"].split(".")
            payload = segment({**claims_of(told["access_token"]), **odd}) if chance.random() < 0.8 else segment([odd])
            body = json.dumps({**told, "access_token": f"{head}.{payload}.{end}"}).encode()
        elif how == 4:
            status = chance.choice((200, 200, 204, 302, 400, 401, 403, 404, 422, 429, 500, 503, 520))
            headers |= {name: chance.choice(_ODD_HEADERS) for name in chance.sample(_NOTED, 2)}
        else:
            body = self._replaced(body)
        return Reply(status, headers, body)

    def _replaced(self, body: bytes) -> bytes:
        """Return JSON with one value somewhere in it replaced, or left out."""
        told = json.loads(body or b"{}")
        place: Any = told
        while isinstance(place, dict | list) and place:
            name = self.chance.choice([*place] if isinstance(place, dict) else range(len(place)))
            if self.chance.random() < 0.5 or not isinstance(place[name], dict | list):
                place[name] = self._odd()
                break
            place = place[name]
        else:
            told = self._odd()
        return json.dumps(told).encode()

    def _odd(self) -> Any:
        return self.chance.choice(_ODD) if self.chance.random() < 0.6 else bodies.value(self.chance)


def _json(told: Any, status: int = 200) -> Reply:
    return Reply(status, _JSON, json.dumps(told).encode())
