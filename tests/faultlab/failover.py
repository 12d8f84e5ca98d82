"""Kills or pauses the primary of the shared store while people log in and an attacker guesses.

``python -m tests.faultlab.failover --mode sentinel --times 20`` (or ``cluster``). Real parts: two processes of the
gateway under gunicorn, the local Supabase with a hash cost of 4, and one primary with two replicas and three Sentinels,
or three primaries with a replica each. Logins come evenly, whether or not earlier ones are answered. One row each time:

* logins, and how many of them were not answered 200 (must be 0);
* ``window``: from the first to the last login that took more than 50 ms longer than the slowest one before the fault;
* ``guesses``: the most wrong passwords that reached Supabase for one of the accounts under attack. Ten are allowed. The
  processes together may allow as many once more while they count in memory.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from tests.faultlab.standins import StandinProcess, running_standin
from tests.fixtures.programs import Program, gateway
from tests.fixtures.redis_cluster import ClusterGroup, Node, running_cluster
from tests.fixtures.redis_sentinel import SentinelGroup, running_sentinels
from tests.waiting import eventually
from velro_auth.guards.keys import Keyring, project_prefix, throttle_secret
from velro_auth.guards.limits import Limits

PASSWORD: Final = "correct horse battery staple"
PROCESSES: Final = 2
ADDED_S: Final = 0.050
WINDOW_S: Final = 1.0

#: How long logins go on before the fault, and after the store works again.
BEFORE_S: Final = 4.0
AFTER_S: Final = 3.0
LONGEST_S: Final = 40.0

ALLOWED: Final = Limits().strangers.free
#: What all processes together may allow in memory.
SHARES: Final = PROCESSES * Limits().scaled(1 / PROCESSES).strangers.free

_addresses = itertools.count(1)


@dataclass(frozen=True)
class Sample:
    """One request: when it began, how long it took, its status (0: no answer)."""

    at_s: float
    took_s: float
    status: int


@dataclass(frozen=True)
class Row:
    """One failover.

    Attributes:
        number: Which one.
        fired: Whether another node became the primary.
        logins: How many.
        failed: How many of them were not answered 200.
        failed_before: How many of those began before the fault: then the machine is too busy to say anything.
        median_ms: Of those before the fault.
        slowest_before_ms: The slowest of those before the fault.
        slowest_ms: The slowest of those after it.
        slower: How many after it took 50 ms longer than the slowest before it.
        window_s: From the first to the last of those.
        degraded_s: For how long the processes counted in memory, at least one of them.
        guesses: The most wrong passwords that reached Supabase for one account.
        bound: The most that may.
    """

    number: int
    fired: bool
    logins: int
    failed: int
    failed_before: int
    median_ms: float
    slowest_before_ms: float
    slowest_ms: float
    slower: int
    window_s: float
    degraded_s: float
    guesses: int
    bound: int

    @property
    def passed(self) -> bool:
        """Whether everything promised holds."""
        return self.fired and not self.failed and self.window_s <= WINDOW_S and self.guesses <= self.bound


class Lab:
    """A gateway beside a local Supabase and a store of several nodes."""

    def __init__(self, running: Program, group: SentinelGroup | ClusterGroup, supabase: StandinProcess) -> None:
        self.running, self.group, self.supabase = running, group, supabase
        host, _, port = running.url.removeprefix("http://").partition(":")
        self._host, self._port = host, int(port)
        self._connections = threading.local()
        self._read = self._away = 0
        self._keyring = Keyring(throttle_secret("", api_key=supabase.secret_key))
        self.owners = [(self.new_account(f"owner{number}"), somewhere()) for number in range(20)]

    def new_account(self, name: str) -> str:
        """Make an account and return its address."""
        email = f"{name}-{next(_addresses)}@example.com"
        self.supabase.create_user(email, PASSWORD)
        return email

    def log_in(self, email: str, password: str, address: str) -> int:
        """Log in over a kept connection; return the status, 0 for no answer."""
        connection = getattr(self._connections, "one", None)
        if connection is None:
            connection = self._connections.one = http.client.HTTPConnection(self._host, self._port, timeout=30)
        body = json.dumps({"email": email, "password": password})
        headers = {"Content-Type": "application/json", "X-Real-IP": address}
        try:
            connection.request("POST", "/api/v1/auth/login", body, headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return 0
        return int(answer.status)

    def is_degraded(self) -> bool:
        """Return whether a process said that the store does not answer, and not yet that it does again."""
        with self.running.output_file.open("rb") as output:
            output.seek(self._read)
            lines = output.read()
        self._read += len(lines)
        self._away += lines.count(b"the shared store does not answer") - lines.count(b"the shared store answers again")
        return self._away > 0

    def primaries(self) -> set[int]:
        """Return the ports of the nodes that take writes."""
        return {node.port for node in self.group.nodes if node.is_running and node.role() == "master"}

    def victim_s_primary(self, email: str) -> Node:
        """Return the primary that holds the counters of an account."""
        if isinstance(self.group, SentinelGroup):
            return self.group.primary()
        prefix = project_prefix(self.supabase.url)
        return self.group.primary_of(f"{prefix}{{{self._keyring.account(email)}}}")


def somewhere() -> str:
    """Return an address in a network of its own."""
    number = next(_addresses)
    return f"{100 + number // 65_536}.{number // 256 % 256}.{number % 256}.7"


class Load:
    """Requests at a fixed rate, until it is stopped, whether or not earlier ones were answered."""

    def __init__(self, pool: ThreadPoolExecutor, rate: float, request: Callable[[int], int]) -> None:
        self._pool, self._rate, self._request = pool, rate, request
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.samples: list[Sample] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        begun_s, futures = time.monotonic(), []
        for number in itertools.count():
            due_s = begun_s + number / self._rate
            if self._stop.wait(max(0.0, due_s - time.monotonic())):
                break
            futures.append(self._pool.submit(self._once, number, due_s))
        for future in futures:
            future.result()

    def _once(self, number: int, due_s: float) -> None:
        status = self._request(number)
        self.samples.append(Sample(due_s, time.monotonic() - due_s, status))


def fail_over(lab: Lab, number: int, *, rate: float, fault: str) -> Row:
    """Take the primary away once, under load."""
    early, late = lab.new_account("early"), [lab.new_account("late") for _ in range(3)]
    for email, address in lab.owners:
        # The gateway may be busy with what the last failover left behind.
        eventually(lambda: lab.log_in(email, PASSWORD, address) == 200)  # noqa: B023
    reached: dict[str, int] = dict.fromkeys([early, *late], 0)

    def guess(turn: int) -> int:
        victim = (early, *late)[turn % 4]
        status = lab.log_in(victim, "wrong", somewhere())
        reached[victim] += status == 401
        return status

    def log_in(turn: int) -> int:
        email, address = lab.owners[turn % len(lab.owners)]
        return lab.log_in(email, PASSWORD, address)

    for _ in range(20):
        guess(0)
    with ThreadPoolExecutor(64) as pool, ThreadPoolExecutor(16) as attackers:
        for _ in pool.map(log_in, range(64)):
            pass
        with Load(pool, rate, log_in) as logins, Load(attackers, 8.0, guess):
            time.sleep(BEFORE_S)
            primary, primaries = lab.victim_s_primary(early), lab.primaries()
            fault_s = time.monotonic()
            primary.kill() if fault == "kill" else primary.pause()
            fired = _await(lambda: bool(_others(lab, primary) - primaries))
            _await(lambda: not lab.is_degraded())
            recovered_s = time.monotonic()
            time.sleep(AFTER_S)
    primary.start() if fault == "kill" else primary.resume()
    eventually(lab.group.is_whole, within_s=90)
    before = [one.took_s for one in logins.samples if one.at_s + one.took_s < fault_s]
    after = [one for one in logins.samples if one.at_s + one.took_s >= fault_s]
    slower = sorted(one.at_s for one in after if one.took_s > max(before) + ADDED_S)
    return Row(
        number=number,
        fired=fired,
        logins=len(logins.samples),
        failed=sum(one.status != 200 for one in logins.samples),
        failed_before=sum(one.status != 200 and one.at_s < fault_s for one in logins.samples),
        median_ms=round(1000 * statistics.median(before), 1),
        slowest_before_ms=round(1000 * max(before), 1),
        slowest_ms=round(1000 * max(one.took_s for one in after), 1),
        slower=len(slower),
        window_s=round(slower[-1] - slower[0], 2) if slower else 0.0,
        degraded_s=round(recovered_s - fault_s, 1),
        guesses=max(reached.values()),
        bound=ALLOWED + SHARES,
    )


def _others(lab: Lab, lost: Node) -> set[int]:
    ports = set()
    for node in lab.group.nodes:
        # One that is paused does not answer.
        if node is not lost and node.is_running and node.role() == "master":
            ports.add(node.port)
    return ports


def _await(is_so: Callable[[], bool]) -> bool:
    ends_s = time.monotonic() + LONGEST_S
    while not is_so():
        if time.monotonic() > ends_s:
            return False
        time.sleep(0.25)
    return True


@contextlib.contextmanager
def running_labs(mode: str) -> Iterator[Callable[[], contextlib.AbstractContextManager[Lab]]]:
    """Run the store and the local Supabase; return what runs a gateway beside them.

    Each failover has a gateway of its own: one that lost its store a minute ago waits longer before it asks again.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="velro-failover-")))
        folder.chmod(0o711)
        group: SentinelGroup | ClusterGroup
        if mode == "sentinel":
            group = stack.enter_context(running_sentinels(down_after_ms=1000))
        else:
            group = stack.enter_context(running_cluster(replicas=1, node_timeout_ms=1000))
        supabase = stack.enter_context(running_standin(folder / "standin"))
        environment = {
            "SUPABASE_URL": supabase.url,
            "SUPABASE_SECRET_KEY": supabase.secret_key,
            "SUPABASE_PUBLISHABLE_KEY": supabase.publishable_key,
            "AUTH_FAILURE_FLOOR_MS": "0",
            "AUTH_UPSTREAM_QUOTA": "off",
            "WEB_CONCURRENCY": str(PROCESSES),
            "REDIS_URL": group.url,
        }

        @contextlib.contextmanager
        def running_lab() -> Iterator[Lab]:
            with gateway(folder / "gateway.log", **environment) as running:
                yield Lab(running, group, supabase)

        yield running_lab


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and print one row a failover; 1 if one of them broke a promise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=("sentinel", "cluster"), default="sentinel")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--rate", type=float, default=50.0, help="logins a second")
    parser.add_argument("--fault", choices=("kill", "pause"), default="kill")
    parser.add_argument("--json", type=Path, help="a file for the rows")
    given = parser.parse_args(arguments)
    rows = []
    with running_labs(given.mode) as running_lab:
        for number in range(1, given.times + 1):
            with running_lab() as lab:
                row = fail_over(lab, number, rate=given.rate, fault=given.fault)
                told = [line for line in lab.running.output.splitlines() if "the shared store" in line]
            rows.append(row)
            figures = "  ".join(f"{name} {value}" for name, value in asdict(row).items())
            _say(f"{'pass' if row.passed else 'FAIL'}  {figures}")
            if not row.passed:
                _say("\n".join(told)[-4000:])
    _say(
        f"{sum(row.passed for row in rows)} of {len(rows)} passed: {given.mode}, {given.fault}, {given.rate:g} a second"
    )
    if given.json:
        given.json.write_text(json.dumps([{**asdict(row), "passed": row.passed} for row in rows], indent=1), "utf-8")
    return int(not all(row.passed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
