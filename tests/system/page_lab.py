"""A site of web pages behind a recipe of deploy/gateways/pages: cookie sessions, rules, the way to the login."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

import requests

from tests.fixtures.tokens import USER_ID, claims_at, document
from tests.system.gateway_lab import (
    NGINX_PLACES,
    RECIPES,
    VerifyEndpoint,
    backend_server,
    free_port,
    program_of,
    running_envoy,
    running_proxy,
    serving,
    verify_server,
)
from tests.system.gateway_site import KEY
from tests.upstream_double import session

PAGES = RECIPES / "pages"
EXAMPLE = Path(__file__).parents[2] / "examples" / "protected-site"
SECRET = "r" * 40
NAME = "__Host-velro_session"
EMAIL = "ada@example.com"
LOGIN = "https://app.example.com/login"
#: What a browser sends when it loads a page.
PAGE = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "same-origin", "Accept": "text/html,*/*;q=0.8"}
#: What a script of the site sends.
SCRIPT = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin", "Accept": "*/*"}
RULES = """
[[rules]]
path = ["/", "/open/**", "/leaky", "/broken"]
allow = "public"

[[rules]]
path = "/api/**"
methods = "OPTIONS"
allow = "public"

[[rules]]
path = "/admin/**"
allow = "signed-in"
role = "admin"

[[rules]]
path = ["/my/**", "/api/**", "/chat"]
allow = "signed-in"
"""


@dataclass
class Project:
    """A project that publishes its keys and issues sessions.

    Attributes:
        lifetime_s: How long its tokens are good for.
        claims: Further claims of them.
        refreshes: The refresh tokens that it was given.
        is_over: Whether its sessions have ended, so that nothing is refreshed.
    """

    lifetime_s: int = 3600
    claims: dict[str, Any] = field(default_factory=dict)
    refreshes: list[str] = field(default_factory=list)
    is_over: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the session for a login or a refresh."""
        with self._lock:
            if "grant_type=refresh_token" in path:
                self.refreshes.append(body["refresh_token"])
        now_s = int(time.time())
        claims = claims_at(now_s + self.lifetime_s - 3600, **{"email": EMAIL, "sub": USER_ID, **self.claims})
        user = {**session()["user"], "id": USER_ID, "email": EMAIL}
        return session(
            access_token=KEY.token(claims),
            expires_at=now_s + self.lifetime_s,
            expires_in=self.lifetime_s,
            refresh_token=str(uuid.uuid4()),
            user=user,
        )


@contextmanager
def project_server(project: Project) -> Iterator[str]:
    """Serve *project*; give its address."""

    class Handler(BaseHTTPRequestHandler):
        """Its face."""

        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
            pass

        def _send(self, body: bytes, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            if body:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            is_key_set = self.path.endswith("/jwks.json")
            self._send(document([KEY]) if is_key_set else b"{}", 200 if is_key_set else 503)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "{}")
            if "/logout" in self.path:
                self._send(b"", 204)
            elif project.is_over and "grant_type=refresh_token" in self.path:
                self._send(b'{"code": "refresh_token_not_found", "message": "Invalid Refresh Token"}', 400)
            else:
                self._send(json.dumps(project.answer(self.path, body)).encode())

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield f"http://127.0.0.1:{port}"


class PageProxy(Protocol):
    """Runs a proxy with a recipe; gives its port."""

    def __call__(
        self, folder: Path, verify_port: int, backend_port: int, *, recipe: Path | None = None, relay: bool = True
    ) -> AbstractContextManager[int]: ...


@contextmanager
def nginx(
    folder: Path, verify_port: int, backend_port: int, *, recipe: Path | None = None, relay: bool = True
) -> Iterator[int]:
    """Run nginx with the recipe. Only addresses and places are changed, and the relay is switched on if asked for."""
    binary, port = program_of("nginx", "/usr/sbin/nginx"), free_port()
    head = f"pid {folder}/pid;\nerror_log {folder}/error.log;\n"
    changes = {"127.0.0.1:8000": f"127.0.0.1:{verify_port}"}
    if recipe is None:
        text = head + (PAGES / "nginx.conf").read_text()
        changes |= {
            "listen 80 default_server;": f"listen 127.0.0.1:{port} default_server;",
            "listen 80;": f"listen 127.0.0.1:{port};",
            "server_name app.example.com;": "server_name 127.0.0.1;",
            "127.0.0.1:8080": f"127.0.0.1:{backend_port}",
            "http {": "http {\naccess_log off;\n"
            + "".join(f"{place}_temp_path {folder}/{place};\n" for place in NGINX_PLACES),
        }
    else:
        text = recipe.read_text()
        changes |= {
            "listen 127.0.0.1:8080": f"listen 127.0.0.1:{port}",
            "server_name localhost;": "server_name 127.0.0.1;",
            "root site;": f"root {recipe.parent}/site;",
        }
    if relay and recipe is None:
        changes['#proxy_set_header X-Velro-Relay "write-the-secret-here";'] = (
            f'proxy_set_header X-Velro-Relay "{SECRET}";'
        )
    for ours, theirs in changes.items():
        assert ours in text, ours
        text = text.replace(ours, theirs)
    (folder / "nginx.conf").write_text(text)
    start = [binary, "-p", str(folder), "-c", "nginx.conf", "-e", str(folder / "error.log")]
    with running_proxy([*start, "-g", "daemon off; master_process off;"], port, folder, {}):
        yield port


@contextmanager
def caddy(
    folder: Path, verify_port: int, backend_port: int, *, recipe: Path | None = None, relay: bool = True
) -> Iterator[int]:
    """Run Caddy with the recipe, which takes its addresses and the secret from the environment."""
    binary, port = program_of("caddy"), free_port()
    recipe = recipe or PAGES / "Caddyfile"
    # No management port, which other tests on this machine might want too.
    (folder / "Caddyfile").write_text("{\n\tadmin off\n}\n" + recipe.read_text())
    environment = {
        "VELRO_AUTH": f"127.0.0.1:{verify_port}",
        "BACKEND": f"127.0.0.1:{backend_port}",
        "SITE": f"http://127.0.0.1:{port}",
        "SITE_FOLDER": str(recipe.parent / "site"),
        "HOME": str(folder),
        **({"AUTH_RELAY_SECRET": SECRET} if relay else {}),
    }
    start = [binary, "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    with running_proxy(start, port, folder, environment):
        yield port


@contextmanager
def envoy(
    folder: Path, verify_port: int, backend_port: int, *, recipe: Path | None = None, relay: bool = True
) -> Iterator[int]:
    """Run Envoy with the recipe; give the port. Only addresses are changed, and the secret is written into it."""
    assert recipe is None
    text = (PAGES / "envoy.yaml").read_text()
    if relay:
        option = '#- {key: x-velro-relay, value: "write-the-secret-here"}'
        assert option in text
        text = text.replace(option, f'- {{key: x-velro-relay, value: "{SECRET}"}}')
    port = free_port()
    host = 'domains: ["app.example.com"]'
    assert host in text
    text = text.replace(host, f'domains: ["127.0.0.1:{port}"]')
    with running_envoy(text, folder, verify_port, backend_port, port=port):
        yield port


@dataclass
class PageSite:
    """A site as browsers ask it.

    Attributes:
        port: Of the proxy.
        verify: The service behind it.
        verify_port: Of the service itself.
        project: Issues the sessions.
    """

    port: int
    verify: VerifyEndpoint
    verify_port: int
    project: Project

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, path: str = "/my/x", headers: Mapping[str, str] = PAGE, *, method: str = "GET", **given: Any
    ) -> requests.Response:
        return requests.request(
            method, self.url + path, headers=dict(headers), timeout=20, allow_redirects=False, **given
        )

    def told(self, path: str = "/my/x", headers: Mapping[str, str] = PAGE, **given: Any) -> dict[str, str]:
        """Return the headers that the backend got, by lower-case name; several of one name as one text."""
        answer = self.ask(path, headers, **given)
        assert answer.status_code == 200, answer.text
        headers = {}
        for name, value in answer.json()["headers"]:
            headers[name.lower()] = ",".join(filter(None, (headers.get(name.lower()), value)))
        return headers

    def log_in(self, **claims: Any) -> str:
        """Log in as a browser does, by the API; return the cookies that the browser keeps."""
        # A session of its own, which may be ended.
        self.project.claims = {"session_id": str(uuid.uuid4()), **claims}
        answer = requests.post(
            f"{self.url}/api/v1/auth/login",
            json={"email": EMAIL, "password": "correct horse battery staple"},
            headers={"Sec-Fetch-Site": "same-origin"},
            timeout=20,
        )
        assert answer.status_code == 200, answer.text
        return cookies_of(answer)


def cookies_of(answer: requests.Response) -> str:
    """Return the session cookies that an answer sets, as a browser sends them."""
    fields = answer.raw.headers.getlist("Set-Cookie")
    return "; ".join(field.partition(";")[0] for field in fields if field.startswith(NAME) and "Max-Age=0" not in field)


@contextmanager
def page_site(
    proxy: PageProxy,
    folder: Path,
    *,
    rules: str = RULES,
    recipe: Path | None = None,
    relay: bool = True,
    **settings: str,
) -> Iterator[PageSite]:
    """Run a site of web pages behind *proxy*, with further *settings* of the service."""
    (folder / "rules.toml").write_text(rules)
    project = Project()
    with project_server(project) as url, backend_server() as backend_port:
        verify = VerifyEndpoint(
            url,
            **{
                "AUTH_COOKIE_SESSIONS": "1",
                "AUTH_PUBLIC_URL": "https://app.example.com",
                "AUTH_REDIRECT_URLS": "http://127.0.0.1:*",
                "AUTH_RELAY_SECRET": SECRET,
                "AUTH_RULES_FILE": str(folder / "rules.toml"),
                "AUTH_CAPTCHA": "off",
                "AUTH_UPSTREAM_QUOTA": "off",
                "AUTH_SESSION_CALLS_PER_S": "100000",
                "AUTH_FAILURE_FLOOR_MS": "0",
                **settings,
            },
        )
        with (
            verify_server(verify) as verify_port,
            proxy(folder, verify_port, backend_port, recipe=recipe, relay=relay) as port,
        ):
            yield PageSite(port, verify, verify_port, project)
