"""What a scenario has at hand: real servers, clients, load, and a place for its claims and figures."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg
import requests
from psycopg import sql

from supabase_standin import Standin, StandinConfig, schema
from supabase_standin.postgres import Postgres
from tests.faultlab import invariants
from tests.faultlab.client import LOGIN, Client, Ledger, Reply
from tests.faultlab.invariants import CANARY, Contract, Probes, Use, use_of
from tests.faultlab.load import Load, percentile
from tests.faultlab.proxies import Pipe
from tests.faultlab.registry import Guard
from tests.faultlab.standins import StandinProcess, running_standin
from tests.fixtures.programs import ROOT, Program, await_health, free_port, gateway, program
from tests.fixtures.redis import RedisServer, running_redis
from tests.waiting import PATIENCE_S, eventually

PLUGIN: Final = Path(__file__).parent / "plugin"
PASSWORD: Final = f"{CANARY}correct-horse-battery"
WRONG: Final = f"{CANARY}wrong-password"
_TEMPLATE: Final = "faultlab"
#: How an instance is watched until it has started all of its threads.
_BETWEEN_LOOKS_S: Final = 0.5
_MOST_LOOKS: Final = 20


class CannotRun(Exception):
    """A program is missing, or this machine does not allow what the scenario needs."""


class Ground:
    """What all scenarios of a run share: a PostgreSQL, and the yardstick."""

    def __init__(self, folder: Path) -> None:
        self._ends = contextlib.ExitStack()
        self._postgres: Postgres | None = None
        self._numbers = itertools.count(1)
        self._folder = folder
        self.yardstick = self._start_yardstick()

    def database(self) -> str:
        """Make a database as a fresh project has it; return its address as the superuser."""
        if self._postgres is None:
            self._postgres = self._ends.enter_context(Postgres(data_dir=self._folder / "postgres", durable=False))
            self._run(f"create database {_TEMPLATE} owner postgres")
            schema.prepare(self._postgres.dsn(user="supabase_admin", database=_TEMPLATE))
        name = f"lab_{next(self._numbers)}"
        self._run(f"create database {name} template {_TEMPLATE} owner postgres")
        return self._postgres.dsn(user="supabase_admin", database=name)

    def close(self) -> None:
        """Stop everything."""
        self._ends.close()

    def _run(self, statement: str) -> None:
        assert self._postgres is not None
        with psycopg.connect(self._postgres.dsn(user="supabase_admin"), autocommit=True) as connection:
            connection.execute(sql.SQL(statement))

    def _start_yardstick(self) -> int:
        command = [sys.executable, "-m", "tests.faultlab.yardstick"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self._ends.callback(process.wait)
        self._ends.callback(process.kill)
        assert process.stdout is not None
        self._ends.callback(process.stdout.close)
        return int(process.stdout.readline())


@dataclass
class Gateway:
    """One running instance.

    Attributes:
        program: Its master process and its log.
        client: Asks it, noted in the lab's ledger.
        probes: What G3 is judged by.
        start: What it used before the fault.
    """

    name: str
    program: Program
    client: Client
    probes: Probes
    start: Use | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.client.port

    @property
    def url(self) -> str:
        """Its address."""
        return self.program.url

    @property
    def workers(self) -> list[int]:
        """The process ids of its workers."""
        pid = self.program.process.pid
        with contextlib.suppress(OSError):
            return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]
        return []

    @property
    def pids(self) -> list[int]:
        """All of its processes."""
        return [self.program.process.pid, *self.workers]

    def log(self, logger: str = "") -> list[dict[str, Any]]:
        """Return what it logged, by one logger or at all."""
        lines = invariants.log_lines(self.program.output)
        return [line for line in lines if str(line.get("logger", "")).startswith(logger)]

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's values whose labels fit."""
        total = 0.0
        for line in requests.get(f"{self.url}/metrics", timeout=20).text.splitlines():
            label_text, _, value = line.rpartition(" ")
            if label_text.partition("{")[0] == name and all(f'{key}="{it}"' in line for key, it in labels.items()):
                total += float(value)
        return total

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the master."""
        self.program.process.send_signal(number)

    def expect_to_end(self) -> None:
        """Excuse it from the probes from now on: the scenario ends it."""
        self.probes.is_excused = True


@dataclass(frozen=True)
class Account:
    """Somebody who can log in."""

    email: str
    password: str = PASSWORD
    id: str = ""

    @property
    def body(self) -> dict[str, str]:
        """What a login sends."""
        return {"email": self.email, "password": self.password}


@dataclass
class Lab:
    """Everything that one run of one scenario uses; stopped at its end.

    Attributes:
        ground: Shared by all scenarios.
        folder: For logs and files.
        seconds: How long load and fault may take in all.
        patience: Bounds on time are multiplied by it, for machines that do something else meanwhile.
        guard: The guard to switch off; None leaves all on.
        seed: For everything random.
    """

    ground: Ground
    folder: Path
    seconds: float = 45.0
    patience: float = 1.0
    guard: Guard | None = None
    seed: int = 1
    failures: list[str] = field(default_factory=list)
    claims: int = 0
    figures: dict[str, Any] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    gateways: list[Gateway] = field(default_factory=list)
    fronts: list[Front] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)  # noqa: S311 - guards nothing
        self.contract = Contract()
        self.ledger = Ledger(self.contract)
        self.ends = contextlib.ExitStack()
        self.ends_at_s = time.monotonic() + self.seconds
        self._addresses = itertools.count(1)

    # What a scenario says.

    def check(self, claim: str, holds: object, seen: object = "") -> bool:
        """Claim something; a claim that does not hold fails the scenario, which goes on."""
        self.claims += 1
        if not holds:
            self.failures.append(f"{claim}: {seen}" if seen != "" else claim)
        return bool(holds)

    def within(self, claim: str, took_s: Sequence[float], at: float, bound_s: float) -> float:
        """Claim that *at* percent of these times are within a bound, beyond what the machine itself takes."""
        found, allowed = percentile(took_s, at), bound_s * self.patience + self.slack_s(at)
        self.figure(claim, f"{found * 1000:.0f} ms")
        self.check(claim, took_s and found <= allowed, f"{found * 1000:.0f} ms, allowed {allowed * 1000:.0f} ms")
        return found

    def figure(self, name: str, value: Any) -> None:
        """Put a figure into the row."""
        self.figures[name] = round(value, 3) if isinstance(value, float) else value

    def fired(self, what: str, count: int) -> None:
        """Say how often a fault happened; a fault that never happened fails the scenario."""
        self.faults[what] = int(count)

    def slack_s(self, at: float = 99.0) -> float:
        """Return what this machine itself takes for an answer, at this percentile."""
        return max((each.probes.slack_s(at) for each in self.gateways), default=0.0)

    # Time.

    def for_s(self, share: float) -> None:
        """Let the load go on for this share of the scenario's seconds."""
        time.sleep(share * self.seconds)

    @property
    def is_guarded(self) -> bool:
        """Whether the guard is on; only for scenarios that switch it off by hand."""
        return self.guard is None

    # Servers.

    def standin(self, **options: Any) -> Standin:
        """Start a project of its own; cheap hashes unless told otherwise."""
        number = len(list(self.folder.glob("standin-*")))
        settings: dict[str, Any] = {
            "data_dir": self.folder / f"standin-{number}",
            "database_dsn": self.ground.database(),
            "bcrypt_cost": 4,
            "pool_size": 12,
        }
        return self.ends.enter_context(Standin(StandinConfig(**settings | options)))

    def standin_process(self) -> StandinProcess:
        """Start a project of its own, in a process of its own."""
        return self.ends.enter_context(running_standin(self.folder / "standin-process"))

    def redis(self) -> RedisServer:
        """Start a Redis of its own."""
        return self.ends.enter_context(running_redis())

    def environment(
        self, standin: Standin | StandinProcess | None = None, redis: RedisServer | str | None = None
    ) -> dict[str, str]:
        """Return the settings of an instance as it is shipped: two processes, and Redis if there is one."""
        # Load and upstream share the machine: a worker bound to a core would wait for them.
        told = {"WEB_CONCURRENCY": "2", "WORKER_CPU_AFFINITY": "0"}
        told |= {"AUTH_RUN_DIR": str(self.folder / "run"), "AUTH_CAPTCHA": "off"}
        if standin is not None:
            told |= {"SUPABASE_URL": standin.url, "SUPABASE_SECRET_KEY": standin.secret_key}
            told |= {"SUPABASE_PUBLISHABLE_KEY": standin.publishable_key}
        if redis is not None:
            told["REDIS_URL"] = redis if isinstance(redis, str) else redis.url
        return told

    def piped_gateway(self, **settings: str) -> tuple[Gateway, Pipe]:
        """Start an instance whose log goes through a pipe that can be left unread."""
        fifo = self.folder / f"pipe-{len(self.gateways)}"
        os.mkfifo(fifo)
        pipe = Pipe(fifo, self.folder / f"{fifo.name}.log")
        self.ends.callback(pipe.close)
        started = self.gateway(stdout=str(fifo), **settings)
        started.program.output_file = pipe.copy
        return started, pipe

    def gateway(self, *options: str, stdout: str = "", **settings: str) -> Gateway:
        """Start an instance, with the guard switched off if that is what this run is for.

        Args:
            options: Of gunicorn.
            stdout: Where its log goes; a file of the lab if empty.
            settings: Of the service.
        """
        name = f"gateway-{len(self.gateways)}"
        python_path = os.pathsep.join([str(PLUGIN), str(ROOT)])
        changes = {"PYTHONPATH": python_path, **settings}
        if self.guard is not None:
            changes |= self.guard.settings
            changes["FAULTLAB_OFF"] = self.guard.patch
        if stdout:
            running = self._unread(Path(stdout), *options, **changes)
        else:
            running = self.ends.enter_context(gateway(self.folder / f"{name}.log", *options, **changes))
        port = int(running.url.rpartition(":")[2])
        probes = Probes(port, self.ground.yardstick)
        started = Gateway(name, running, Client(port, self.ledger), probes)
        self.ends.callback(started.client.close)
        self.gateways.append(started)
        if not self.contract.is_taught:
            self.contract.learn(started.client.ask("GET", "/openapi.json").json)
        probes.start()
        self.ends.callback(probes.stop)
        return started

    def _unread(self, stdout: Path, *options: str, **settings: str) -> Program:
        """Start an instance whose log cannot be read: its port has to be known beforehand."""
        port = free_port()
        command = ["-m", "gunicorn", "wsgi:app", "--bind", f"127.0.0.1:{port}", *options]
        running: Program = self.ends.enter_context(program(command, stdout, **settings))
        running.url = f"http://127.0.0.1:{port}"
        running.output_file = Path(os.devnull)
        await_health(running)
        return running

    def nginx(self, ports: Sequence[int], *, address: str = "$lab_address", more: str = "") -> Front:
        """Start nginx in front of instances; Debian's."""
        started: Front = self.ends.enter_context(front(self, ports, address=address, more=more))
        self.fronts.append(started)
        return started

    # People and load.

    def account(self, standin: Standin | StandinProcess, **options: Any) -> Account:
        """Make an account."""
        email = f"lab-{secrets.token_hex(6)}@lab.example.com"
        return Account(email, id=standin.create_user(email, PASSWORD, **options))

    def accounts(self, standin: Standin | StandinProcess, count: int) -> list[Account]:
        """Make several accounts."""
        return [self.account(standin) for _ in range(count)]

    def address(self) -> str:
        """Return an address in a network of its own."""
        number = next(self._addresses)
        return f"{20 + number // 65_536 % 100}.{number // 256 % 256}.{number % 256}.7"

    def log_in(self, server: Gateway | Front, account: Account, address: str, due_s: float | None = None) -> Reply:
        """Log in with the right password."""
        return server.client.ask("POST", LOGIN, account.body, address=address, due_s=due_s)

    def guess(self, server: Gateway | Front, email: str, address: str, due_s: float | None = None) -> Reply:
        """Log in with a wrong password."""
        return server.client.ask("POST", LOGIN, {"email": email, "password": WRONG}, address=address, due_s=due_s)

    def logins(
        self, server: Gateway | Front, accounts: Sequence[Account], *, rps: float = 10.0, bursts: bool = True
    ) -> Load:
        """Return the load of people who log in, each from home."""
        homes = [self.address() for _ in accounts]

        def ask(number: int, due_s: float) -> Reply:
            which = number % len(accounts)
            return self.log_in(server, accounts[which], homes[which], due_s)

        return self.load(ask, rps=rps, bursts=bursts)

    def load(self, ask: Callable[[int, float], Reply], *, rps: float, threads: int = 160, bursts: bool = True) -> Load:
        """Return a load with this lab's seed; with fewer threads than callers it would wait for itself."""
        return Load(ask, rps=rps, seed=self.random.getrandbits(32), threads=threads, bursts=bursts)

    def settled(self) -> None:
        """Note what the instances use now, once all of their threads have started: G4 compares with it."""
        for each in self.gateways:
            each.start = use_of(each.pids)
            for _ in range(_MOST_LOOKS):
                time.sleep(_BETWEEN_LOOKS_S)
                before, each.start = each.start, use_of(each.pids)
                if before.threads == each.start.threads and each.start.mib < before.mib + 1:
                    break

    # The end.

    def judge(self) -> None:
        """Check G1 to G5, and stop everything."""
        try:
            self._probes()
            self._answers()
            self._use()
        finally:
            self.ends.close()
        self._logs()

    def _answers(self) -> None:
        self.check("G1, G5: every answer is well formed", self.ledger.wrong_count == 0, list(self.ledger.wrong))
        for each in self.gateways:
            if each.program.process.poll() is None and not each.probes.is_excused:
                with contextlib.suppress(requests.RequestException):
                    text = requests.get(f"{each.url}/metrics", timeout=20).text
                    found = invariants.leaks(text, self.ledger.secrets)
                    self.check("G2: no secret in a metric", not found, dict(found))

    def _probes(self) -> None:
        for each in self.gateways:
            each.probes.stop()
        took_s = [took for each in self.gateways for took in each.probes.health_s]
        failed = {f"{each.name} {what}": n for each in self.gateways for what, n in each.probes.failed.items()}
        found, allowed = percentile(took_s, 99), invariants.HEALTH_S * self.patience + self.slack_s()
        self.figure("health p99", f"{found * 1000:.1f} ms")
        self.figure("machine p99", f"{self.slack_s() * 1000:.1f} ms")
        self.check("G3: /health answers in time", found <= allowed, f"{found * 1000:.0f} of {allowed * 1000:.0f} ms")
        forgiven = sum(each.probes.forgiven for each in self.gateways)
        self.check("G3: probes are answered", sum(failed.values()) <= forgiven, failed)

    def _use(self) -> None:
        for each in self.gateways:
            each.client.close()
            for front in self.fronts:
                front.client.close()
            if each.start is None or each.program.process.poll() is not None:
                continue
            start = each.start
            with contextlib.suppress(AssertionError):
                eventually(
                    lambda each=each, start=start: not invariants.grown(start, use_of(each.pids)),  # type: ignore[misc]
                    within_s=10 * min(self.patience, 3.0),
                )
            told = invariants.grown(start, use_of(each.pids))
            self.check(f"G4: {each.name} gives back what it used", not told, told)

    def _logs(self) -> None:
        for each in self.gateways:
            text = each.program.output
            found = invariants.leaks(text, self.ledger.secrets)
            self.check("G2: no secret in a log", not found, dict(found))
            broken = sum(line.get("status") == 500 for line in invariants.log_lines(text))
            self.check("G1: no 500", broken == 0, broken)


@dataclass
class Front:
    """nginx in front of instances."""

    client: Client
    folder: Path
    process: subprocess.Popen[bytes]
    configure: Callable[[Sequence[int]], None]

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.client.port

    def point_to(self, ports: Sequence[int]) -> None:
        """Send requests to these instances from now on, and let those under way finish."""
        self.configure(ports)
        self.process.send_signal(signal.SIGHUP)


_CONF: Final = """
pid {folder}/pid;
error_log {folder}/error.log;
daemon off;
worker_processes 1;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  map $http_x_real_ip $lab_address {{ "" $remote_addr; default $http_x_real_ip; }}
  upstream gateways {{ {servers} keepalive 64; }}
  server {{
    listen 127.0.0.1:{port};
    keepalive_requests 100000;
    location / {{
      proxy_pass http://gateways;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Real-IP {address};
      proxy_connect_timeout 2s;
      {more}
    }}
  }}
}}
"""


@contextlib.contextmanager
def front(lab: Lab, ports: Sequence[int], *, address: str, more: str) -> Any:
    """Run nginx within the block."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if binary is None:
        raise CannotRun("no nginx: install Debian's nginx-light")
    port = free_port()
    folder = lab.folder / f"nginx-{port}"
    folder.mkdir()

    def configure(ports: Sequence[int]) -> None:
        servers = " ".join(f"server 127.0.0.1:{each} max_fails=1 fail_timeout=1s;" for each in ports)
        text = _CONF.format(folder=folder, port=port, servers=servers, address=address, more=more)
        (folder / "nginx.conf").write_text(text, "utf-8")

    configure(ports)
    command = [binary, "-p", str(folder), "-c", "nginx.conf", "-e", str(folder / "error.log")]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # nginx closes kept connections when it is pointed elsewhere, and a request may be on its way.
    client = Client(port, lab.ledger, keeps=False)
    try:
        eventually(lambda: client.ask("GET", "/health").status == 200, or_say=(folder / "error.log").read_text)
        yield Front(client, folder, process, configure)
    finally:
        client.close()
        process.terminate()
        process.wait(PATIENCE_S)


def merged(*environments: Mapping[str, str]) -> dict[str, str]:
    """Return settings one over the other."""
    return {name: value for environment in environments for name, value in environment.items()}
