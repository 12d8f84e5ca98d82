"""A double of Supabase Auth that is never the slow part: it answers each login the same after a set delay.

A bare asyncio protocol, in a process of its own. Each session carries its user's address in the refresh token, so
that an answer that went to somebody else is noticed.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
import jwt
from cryptography.hazmat.primitives.asymmetric import ec

_KEY_ID: Final = "benchmark"
_END: Final = b"\r\n\r\n"

#: Answers with a session at once, however long logins take: somebody has to have a token.
SESSION_PATH: Final = "/session"

_HOUR_S: Final = 3600

#: An answer of a hosted project has some fifteen fields, most of them its edge's; whoever calls it has to read them.
_HEAD: Final = """\
HTTP/1.1 200 OK
Date: Sat, 01 Aug 2026 10:00:02 GMT
Content-Type: application/json
Connection: keep-alive
CF-Ray: 9b1f00dc0ffee123-FRA
CF-Cache-Status: DYNAMIC
Strict-Transport-Security: max-age=31536000; includeSubDomains; preload
Vary: Origin, Accept-Encoding
SB-Gateway-Mode: direct
SB-Gateway-Version: 1
SB-Auth-User-Id: 7a1c1e7c-6b2f-4c8e-9f5a-0d6c4f6b8a10
SB-Auth-Session-Id: 2f0c9a3e-1f55-4c55-8d07-5b7f7d0f3c21
X-Envoy-Upstream-Service-Time: 70
X-Content-Type-Options: nosniff
Server: cloudflare
Alt-Svc: h3=":443"; ma=86400
Content-Length: """.replace("\n", "\r\n").encode()


class Sessions:
    """Makes sessions out of one template: signing each would be most of the work.

    Args:
        issuer: Address of the Auth API, as tokens name it.
        clock: The current time, in seconds since the epoch.
    """

    def __init__(self, issuer: str, clock: Callable[[], float] = time.time) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        public = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        self.jwks = json.dumps({"keys": [{**public, "kid": _KEY_ID, "alg": "ES256", "use": "sig"}]}).encode()
        now_s = int(clock())
        claims = _claims(issuer, now_s)
        token = jwt.encode(claims, key, algorithm="ES256", headers={"kid": _KEY_ID})
        session = _session(token, claims["sub"], now_s)
        answer = json.dumps(session).encode()
        self.user = json.dumps(session["user"]).replace("EMAIL", claims["email"]).encode()
        self._before, self._between, self._after = answer.split(b"EMAIL")

    def of(self, email: bytes) -> bytes:
        """Return the session of the user with this address."""
        return b"".join((self._before, email, self._between, email, self._after))


def _claims(issuer: str, now_s: int) -> dict[str, Any]:
    return {
        "iss": issuer,
        "sub": str(uuid.uuid4()),
        "aud": "authenticated",
        "exp": now_s + _HOUR_S,
        "iat": now_s,
        "email": "bench@example.com",
        "role": "authenticated",
        "aal": "aal1",
        "session_id": str(uuid.uuid4()),
        "is_anonymous": False,
        "user_role": "viewer",
    }


def _session(token: str, user_id: str, now_s: int) -> dict[str, Any]:
    """Return what Supabase Auth answers, as large as it answers it; EMAIL stands for the address."""
    moment = "2026-08-01T10:00:02.481913Z"
    identity = {
        "identity_id": str(uuid.uuid4()),
        "id": user_id,
        "user_id": user_id,
        "identity_data": {"display_name": "Ada Example", "email_verified": True, "phone_verified": False},
        "provider": "email",
        "last_sign_in_at": moment,
        "created_at": moment,
        "updated_at": moment,
    }
    return {
        "access_token": token,
        "token_type": "bearer",
        "expires_in": _HOUR_S,
        "expires_at": now_s + _HOUR_S,
        "refresh_token": "rt-EMAIL",
        "user": {
            "id": user_id,
            "aud": "authenticated",
            "role": "authenticated",
            "email": "EMAIL",
            "email_confirmed_at": moment,
            "phone": "",
            "confirmation_sent_at": moment,
            "confirmed_at": moment,
            "last_sign_in_at": moment,
            "app_metadata": {"provider": "email", "providers": ["email"]},
            "user_metadata": {"display_name": "Ada Example", "email_verified": True, "phone_verified": False},
            "identities": [identity],
            "created_at": moment,
            "updated_at": moment,
            "is_anonymous": False,
        },
        "weak_password": None,
    }


class Connection(asyncio.Protocol):
    """One connection, one request at a time, as HTTP clients use them.

    Args:
        sessions: What logins are answered with.
        delay_s: How long a login takes.
        idle_s: How long a silent connection is kept; 0 keeps it.
    """

    def __init__(self, sessions: Sessions, *, delay_s: float, idle_s: float) -> None:
        self._sessions = sessions
        self._delay_s = delay_s
        self._idle_s = idle_s
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._rest()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget the timer."""
        self._wake()

    def data_received(self, data: bytes) -> None:
        """Answer when a request is complete."""
        self._buffer += data
        head, found, rest = self._buffer.partition(_END)
        if not found or len(rest) < (length := _length(head)):
            return
        self._buffer = rest[length:]
        self._wake()
        if head.startswith(b"POST "):
            answer = self._answer_to(head.split(b" ", 2)[1], json.loads(rest[:length] or b"{}"))
            self._loop.call_later(self._delay_s, self._answer, answer)
        elif head.startswith(f"GET {SESSION_PATH} ".encode()):
            self._answer(self._sessions.of(b"bench@example.com"))
        elif head.startswith(b"GET /auth/v1/settings "):
            self._answer(b'{"external": {"email": true}, "mailer_autoconfirm": true}')
        elif head.startswith(b"GET /auth/v1/user "):
            self._answer(self._sessions.user)
        else:
            self._answer(self._sessions.jwks)

    def _answer_to(self, path: bytes, body: dict[str, Any]) -> bytes:
        """Answer a login, a sign-up, a mailed link, a forgotten password, or the two steps of a second factor."""
        if path.startswith(b"/auth/v1/recover"):
            return b"{}"
        if path.endswith(b"/challenge"):
            return json.dumps({"id": str(uuid.uuid4()), "type": "totp", "expires_at": int(time.time()) + 300}).encode()
        if "token_hash" in body:
            return self._sessions.of(f"user{int(body['token_hash'], 16)}@example.com".encode())
        return self._sessions.of(body.get("email", "bench@example.com").encode())

    def _answer(self, body: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(b"%s%d\r\n\r\n%s" % (_HEAD, len(body), body))
            self._rest()

    def _rest(self) -> None:
        if self._idle_s:
            self._idle = self._loop.call_later(self._idle_s, self._transport.close)

    def _wake(self) -> None:
        if self._idle is not None:
            self._idle.cancel()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def serve(port: int, make: Callable[[], asyncio.Protocol], tls: ssl.SSLContext | None = None) -> None:
    """Serve until somebody ends the process."""
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", port, ssl=tls, backlog=512)
    async with server:
        await server.serve_forever()


@click.command()
@click.option("--port", type=int, required=True)
@click.option("--issuer", required=True)
@click.option("--delay-ms", type=float, default=0)
@click.option("--idle-s", type=float, default=0)
@click.option("--certificate", type=click.Path(path_type=Path), help="Serve TLS with this certificate and key.")
def main(port: int, issuer: str, delay_ms: float, idle_s: float, certificate: Path | None) -> None:
    """Run the double."""
    sessions = Sessions(issuer)
    tls = None
    if certificate is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate)
    asyncio.run(serve(port, lambda: Connection(sessions, delay_s=delay_ms / 1000, idle_s=idle_s), tls))


if __name__ == "__main__":
    main()
