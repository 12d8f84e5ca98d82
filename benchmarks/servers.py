"""Starts and stops what is compared, each as its makers would run it: one process, no access log of the server's."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from benchmarks.wire import LOGIN_PATH, TOKEN_PATH, Line, get
from velro_auth.config.settings import inherited

ROOT: Final = Path(__file__).resolve().parent.parent

KEY: Final = "sb_publishable_benchmark0123456789"
SECRET_KEY: Final = "sb_secret_benchmark01234567890123"  # noqa: S105 - of the double

_AUTHORITIES: Final = frozenset({"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"})

_START_LIMIT_S: Final = 30
_STOP_LIMIT_S: Final = 10
_POLL_S: Final = 0.002


@dataclass(frozen=True, slots=True)
class Contender:
    """One of those compared.

    Attributes:
        name: In the file of results.
        title: In the table.
        command: How it is started, ``{port}`` standing for the port.
        login_path: Where logins go.
        logs_in: Whether it can log anybody in.
        settings: Variables of its own.
    """

    name: str
    title: str
    command: tuple[str, ...]
    login_path: str = LOGIN_PATH
    logs_in: bool = True
    settings: Mapping[str, str] = field(default_factory=dict, hash=False)


_GUNICORN: Final = ("gunicorn", "--bind", "127.0.0.1:{port}")
_PEER: Final = (*_GUNICORN, "--config", "benchmarks/peers/gunicorn_conf.py")
_UVICORN: Final = ("uvicorn", "--port", "{port}", "--no-access-log", "--log-level", "warning", "--loop", "uvloop")

GATEWAY: Final = Contender("velro_auth", "velro-auth", (*_GUNICORN, "wsgi:app"), settings={"WEB_CONCURRENCY": "1"})
BARE: Final = Contender(
    "bare",
    "bare WSGI callable",
    (*_GUNICORN, "benchmarks.peers.bare:app"),
    logs_in=False,
    settings={"WEB_CONCURRENCY": "1"},
)
FLASK_POOLED: Final = Contender("flask_pooled", "Flask, pooled requests", (*_PEER, "benchmarks.peers.flask_pooled:app"))
FLASK_SUPABASE: Final = Contender(
    "flask_supabase", "Flask, supabase client per login", (*_PEER, "benchmarks.peers.flask_supabase:app")
)
FASTAPI: Final = Contender(
    "fastapi", "FastAPI, uvicorn, httpx", (*_UVICORN, "--http", "httptools", "benchmarks.peers.fastapi_httpx:app")
)
#: Nobody in between: what the upstream takes by itself.
DIRECT: Final = Contender("direct", "upstream, called directly", (), login_path=TOKEN_PATH)

#: Passes everything on as it is, by one process. {port} and {upstream} are written into its file of settings.
NGINX: Final = Contender("nginx", "nginx, `proxy_pass`", ("nginx",), logs_in=False)

_NGINX_CONF: Final = """\
daemon off;
worker_processes 1;
pid nginx.pid;
error_log nginx.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    upstream supabase {{ server 127.0.0.1:{upstream}; keepalive 32; }}
    server {{
        listen 127.0.0.1:{port};
        keepalive_requests 1000000;
        location = /health {{ return 200; }}
        location / {{
            proxy_pass http://supabase;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""

SERVERS: Final = (GATEWAY, BARE, FLASK_POOLED, FLASK_SUPABASE, FASTAPI)
LOGIN_SERVERS: Final = tuple(contender for contender in SERVERS if contender.logs_in)


@dataclass(frozen=True, slots=True)
class Cores:
    """Which cores do what: servers on one, load and upstream on the others, so that nobody steals from the measured.

    Attributes:
        server: Where servers run.
        load: Where everything else runs.
    """

    server: frozenset[int]
    load: frozenset[int]

    @classmethod
    def divided(cls) -> Cores | None:
        """Divide the cores of this process; None where there is but one, or no way to say so."""
        if not hasattr(os, "sched_getaffinity"):
            return None
        first, *others = sorted(os.sched_getaffinity(0))
        return cls(frozenset({first}), frozenset(others)) if others else None


@dataclass(frozen=True, slots=True)
class Upstream:
    """A running upstream.

    Attributes:
        port: Where it is called directly.
        url: What servers are told.
        authorities: The file that a server has to trust; None for plain http.
    """

    port: int
    url: str
    authorities: Path | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """A running contender."""

    contender: Contender
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def worker(self) -> int:
        """The process that answers: gunicorn's child, or the only one."""
        assert self.process is not None
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
        return int(children[0]) if children else pid

    def memory_mib(self) -> float:
        """Return the resident memory of the worker."""
        for line in Path(f"/proc/{self.worker}/status").read_text("ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise LookupError("no VmRSS")


class Fleet:
    """Starts processes and stops all of them at the end.

    Args:
        first_port: They listen on it and those after it.
        cores: Where they run; None leaves that to the system.
        log: Where their output goes.
    """

    def __init__(self, *, first_port: int, cores: Cores | None, log: IO[bytes]) -> None:
        self._port = first_port
        self._cores = cores
        self._log = log

    def unbound(self) -> Fleet:
        """Return one whose servers may use every core, as in a deployment; their own settings may bind them."""
        if self._cores is None:
            return self
        every = self._cores.server | self._cores.load
        return Fleet(first_port=self._port + 500, cores=Cores(every, every), log=self._log)

    def port(self) -> int:
        """Return a port that was not used before."""
        self._port += 1
        return self._port

    @contextlib.contextmanager
    def program(
        self, *arguments: str, cores: frozenset[int] | None = None, **env: str
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run ``python arguments…`` and stop it afterwards."""
        with self._running([sys.executable, *arguments], cores, env) as process:
            yield process

    @contextlib.contextmanager
    def binary(self, path: str, *arguments: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
        """Run another program where servers run, wait until it listens on *port*, and stop it afterwards."""
        with self._running([path, *arguments], self._server_cores, {}) as process:
            _await(port, process)
            yield process

    @contextlib.contextmanager
    def _running(
        self, command: Sequence[str], cores: frozenset[int] | None, env: Mapping[str, str]
    ) -> Iterator[subprocess.Popen[bytes]]:
        with _bound_to(cores):
            process = subprocess.Popen(  # noqa: S603 - our own programs, and nginx
                command,
                cwd=ROOT,
                env=_without_authorities(inherited(**env)),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            _stop(process)

    @contextlib.contextmanager
    def upstream(self, *, delay_ms: float) -> Iterator[Upstream]:
        """Run an upstream over plain http."""
        port = self.port()
        options = ("--port", str(port), "--issuer", f"http://127.0.0.1:{port}/auth/v1", "--delay-ms", str(delay_ms))
        with self.program("-m", "benchmarks.upstream", *options, cores=self._cores.load if self._cores else None):
            _await(port)
            yield Upstream(port, f"http://127.0.0.1:{port}")

    @contextlib.contextmanager
    def server(self, contender: Contender, upstream: Upstream) -> Iterator[Server]:
        """Run a contender in front of *upstream* and wait until it answers 200."""
        if contender.name == DIRECT.name:
            yield Server(contender, upstream.port)
            return
        port = self.port()
        if contender.name == NGINX.name:
            with self._nginx(port, upstream) as process:
                yield Server(contender, port, process)
            return
        with self.program(
            *_command(contender, port, upstream),
            cores=self._server_cores,
            **(_settings(upstream) | dict(contender.settings)),
        ) as process:
            await_health(port, process)
            yield Server(contender, port, process)

    @contextlib.contextmanager
    def servers(self, contenders: Sequence[Contender], upstream: Upstream) -> Iterator[list[Server]]:
        """Run several contenders at once."""
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(self.server(contender, upstream)) for contender in contenders]

    @contextlib.contextmanager
    def _nginx(self, port: int, upstream: Upstream) -> Iterator[subprocess.Popen[bytes]]:
        with tempfile.TemporaryDirectory(prefix="velro-benchmarks-nginx-") as folder:
            settings = Path(folder) / "nginx.conf"
            settings.write_text(_NGINX_CONF.format(port=port, upstream=upstream.port), "utf-8")
            command = ["nginx", "-p", folder, "-c", str(settings), "-e", "nginx.log"]
            with self._running(command, self._server_cores, {}) as process:
                await_health(port, process)
                yield process

    @property
    def _server_cores(self) -> frozenset[int] | None:
        return self._cores.server if self._cores else None


@contextlib.contextmanager
def _bound_to(cores: frozenset[int] | None) -> Iterator[None]:
    """Start what is started on *cores*.

    A process that is bound after its start has threads by then that are not: programs in Go took a second core in one
    of two runs.
    """
    if not cores:
        yield
        return
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


def _command(contender: Contender, port: int, upstream: Upstream) -> list[str]:
    trusting = ("benchmarks.trusting", str(upstream.authorities)) if upstream.authorities else ()
    return ["-m", *trusting, *(part.format(port=port) for part in contender.command)]


def _without_authorities(env: Mapping[str, str]) -> dict[str, str]:
    """Leave out what some would trust instead of certifi's authorities, and pay less, or more, to load."""
    return {name: value for name, value in env.items() if name not in _AUTHORITIES}


def _settings(upstream: Upstream) -> dict[str, str]:
    return {
        "SUPABASE_URL": upstream.url,
        "SUPABASE_PUBLISHABLE_KEY": KEY,
        "SUPABASE_SECRET_KEY": SECRET_KEY,
        "REDIS_URL": "",
        "DATABASE_URL": "",
    }


def await_health(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until ``/health`` answers 200.

    Raises:
        TimeoutError: It does not.
    """
    _await(port, process)
    question = get("/health")
    ends_s = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < ends_s:
        with contextlib.suppress(OSError), contextlib.closing(Line(port, timeout_s=5)) as line:
            if question.is_answered_by(*line.ask(question.request)):
                return
        time.sleep(_POLL_S)
    raise TimeoutError(f"no 200 on port {port}; see the log")


def _await(port: int, process: subprocess.Popen[bytes] | None = None) -> None:
    ends_s = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < ends_s and (process is None or process.poll() is None):
        with contextlib.suppress(OSError):
            Line(port, timeout_s=1).close()
            return
        time.sleep(_POLL_S)
    raise TimeoutError(f"nobody listens on port {port}; see the log")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children: their session is their own."""
    process.terminate()
    try:
        process.wait(_STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def far_upstream(fleet: Fleet, trust_files: tuple[Path, Path], *, rtt_ms: float, idle_s: float) -> Iterator[Upstream]:
    """Run an upstream over TLS, *rtt_ms* away, that closes silent connections after *idle_s*."""
    certificate, authorities = trust_files
    near, far = fleet.port(), fleet.port()
    options = ("--port", str(near), "--issuer", f"https://127.0.0.1:{far}/auth/v1", "--idle-s", str(idle_s))
    proxy = ("--port", str(far), "--to", str(near), "--rtt-ms", str(rtt_ms))
    with (
        fleet.program("-m", "benchmarks.upstream", *options, "--certificate", str(certificate)),
        fleet.program("-m", "benchmarks.distance", *proxy),
    ):
        _await(near)
        _await(far)
        yield Upstream(near, f"https://127.0.0.1:{far}", authorities)
