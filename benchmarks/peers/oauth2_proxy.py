"""oauth2-proxy as gateways ask it, with a session of OpenID Connect: the same tokens as in a session of Supabase."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlsplit

from tests.fixtures.tokens import USER_ID, SigningKey, claims_at, document

#: ``go install github.com/oauth2-proxy/oauth2-proxy/v7@latest`` builds it.
COMMAND: Final = "oauth2-proxy"
#: What nginx asks it.
PATH: Final = "/oauth2/auth"
#: How it says yes.
STATUS: Final = 202

_CLIENT: Final = "gateway"


class Provider(ThreadingHTTPServer):
    """The least of an OpenID provider: two documents, and the tokens of one user for any code."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Asked)
        self.url: Final = f"http://127.0.0.1:{self.server_port}"
        self._key = SigningKey("provider-1")

    def answer(self, path: str) -> Any:
        """Return what it answers, as JSON."""
        if path == "/keys":
            return json.loads(document([self._key]))
        if path == "/token":
            now_s = int(time.time())
            user = {"sub": USER_ID, "email": "user1@example.com", "email_verified": True}
            identity = {"iss": self.url, "aud": _CLIENT, "iat": now_s, "exp": now_s + 3600, **user}
            return {
                "access_token": self._key.token(claims_at(now_s)),
                "id_token": self._key.token(identity),
                "refresh_token": "rt-user1-example",
                "expires_in": 3600,
                "token_type": "bearer",
            }
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "id_token_signing_alg_values_supported": ["ES256"],
        }


class _Asked(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.dumps(self.server.answer(urlsplit(self.path).path)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the name that http.server calls

    def log_message(self, *_: object) -> None:
        """Be silent."""


@contextlib.contextmanager
def provider() -> Iterator[Provider]:
    """Run the provider while a session is begun."""
    with Provider() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def arguments(issuer: str, port: int) -> list[str]:
    """Return its options: identity in header fields as ``verify`` has them, one line of the log for each request."""
    options: Mapping[str, str] = {
        "provider": "oidc",
        "oidc-issuer-url": issuer,
        "client-id": _CLIENT,
        "client-secret": "none",
        "redirect-url": f"http://127.0.0.1:{port}/oauth2/callback",
        "insecure-oidc-skip-nonce": "true",
        "cookie-secret": "0123456789abcdef0123456789abcdef",
        "cookie-secure": "false",
        "email-domain": "*",
        "upstream": "static://200",
        "http-address": f"127.0.0.1:{port}",
        "reverse-proxy": "true",
        "set-xauthrequest": "true",
    }
    return [f"--{name}={value}" for name, value in options.items()]


def callback(location: str) -> str:
    """Return the path to which the provider would send the browser back from *location*."""
    (state,) = parse_qs(urlsplit(location).query)["state"]
    return f"/oauth2/callback?code=any&state={quote(state, safe='')}"
