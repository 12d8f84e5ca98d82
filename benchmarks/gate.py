"""Compares the gate with a fixed and with an adaptive size: ``python benchmarks/gate.py``.

Logins arrive at random (Poisson) and go through a gate to an upstream of a few cores. ``modelled`` sleeps for
the 76 ms of a password hash while it holds a core; ``bcrypt`` computes a real one, in processes of its own. After a
calm phase comes an overload, then a phase in which the upstream is three times slower, then calm again.

Printed per phase: the answered logins per second, how many were turned away, and the times of the answered ones.
"""

# ruff: noqa: T201 - a program of its own, which prints

from __future__ import annotations

import argparse
import dataclasses
import functools
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Final

import bcrypt

from velro_auth.errors import Busy
from velro_auth.guards.gate import Gate
from velro_auth.guards.size import AdaptiveSize, FixedSize, Size

SLOTS: Final = 24
WAIT_S: Final = 0.25
MAX_WAITING: Final = 4
HASH_S: Final = 0.076
CORES: Final = 2
COST: Final = 10
PASSWORD: Final = b"correct horse battery staple"

SIZES: Final[dict[str, Callable[[], Size]]] = {
    "fixed": lambda: FixedSize(SLOTS),
    "adaptive": lambda: AdaptiveSize(least=4, most=SLOTS),
}


@dataclasses.dataclass(frozen=True)
class Phase:
    """One part of a run.

    Attributes:
        name: What it is called.
        load: Arrivals per second, as a multiple of what the upstream can do.
        slowness: How many times slower the upstream is.
    """

    name: str
    load: float
    slowness: float = 1.0


PHASES: Final = (
    Phase("calm", 0.5),
    Phase("busy", 0.9),
    Phase("overload", 2.0),
    Phase("slow upstream", 0.5, slowness=3.0),
    Phase("calm again", 0.5),
)


class Modelled:
    """An upstream that sleeps for a password hash on one of its cores."""

    def __init__(self, cores: int = CORES) -> None:
        self.per_second = cores / HASH_S
        self.slowness = 1.0
        self._cores = threading.Semaphore(cores)

    def login(self) -> None:
        """Take as long as a login does."""
        with self._cores:
            time.sleep(HASH_S * self.slowness)


class Bcrypt:
    """An upstream that computes the real hash, in another process; one core is left to the clients."""

    def __init__(self, pool: ProcessPoolExecutor, hashed: bytes) -> None:
        started = time.perf_counter()
        self._pool, self._hashed = pool, hashed
        self.slowness = 1.0
        for _ in range(5):
            self.login()
        self.per_second = 5 / (time.perf_counter() - started)

    def login(self) -> None:
        """Check a password, as often as the upstream is slow."""
        self._pool.submit(_check, self._hashed, round(self.slowness)).result()


def _check(hashed: bytes, times: int) -> bool:
    return all(bcrypt.checkpw(PASSWORD, hashed) for _ in range(times))


@dataclasses.dataclass
class Outcome:
    """What became of the logins of one phase.

    Attributes:
        ends: When the phase ends; what is answered later was waiting and does not count as done in it.
        took_s: How long each answered login took.
        in_time: How many were answered before the end.
        turned_away: How many were not let in.
    """

    ends: float
    took_s: list[float] = dataclasses.field(default_factory=list)
    in_time: int = 0
    turned_away: int = 0


def run(upstream: Modelled | Bcrypt, size: Size, phase_s: float) -> Iterator[tuple[Phase, Outcome]]:
    """Send all phases through one gate."""
    gate = Gate(size=size, wait_s=WAIT_S, max_waiting=MAX_WAITING)
    # One seed for both sizes: they see the same arrivals.
    chance = random.Random(1)  # noqa: S311
    for phase in PHASES:
        upstream.slowness = phase.slowness
        outcome = Outcome(time.monotonic() + phase_s)
        with ThreadPoolExecutor(max_workers=256) as clients:
            visit = functools.partial(_visit, gate, upstream, outcome)
            per_second = phase.load * upstream.per_second
            _arrive(clients, visit, chance=chance, per_second=per_second, seconds=phase_s)
        yield phase, outcome


def _arrive(
    clients: ThreadPoolExecutor,
    visit: Callable[[], None],
    *,
    chance: random.Random,
    per_second: float,
    seconds: float,
) -> None:
    at, started = 0.0, time.monotonic()
    while at < seconds:
        time.sleep(max(0.0, started + at - time.monotonic()))
        clients.submit(visit)
        at += chance.expovariate(per_second)


def _visit(gate: Gate, upstream: Modelled | Bcrypt, outcome: Outcome) -> None:
    started = time.perf_counter()
    try:
        with gate.slot():
            upstream.login()
    except Busy:
        outcome.turned_away += 1
        return
    outcome.took_s.append(time.perf_counter() - started)
    outcome.in_time += time.monotonic() < outcome.ends


def _row(phase: Phase, size: str, outcome: Outcome, slots: int, phase_s: float) -> str:
    times = sorted(outcome.took_s) or [float("nan")]
    p95 = times[int(0.95 * (len(times) - 1))]
    arrived = len(outcome.took_s) + outcome.turned_away
    return (
        f"| {phase.name} | {size} | {outcome.in_time / phase_s:.1f} | {outcome.turned_away / arrived:.0%} |"
        f" {statistics.median(times) * 1000:.0f} | {p95 * 1000:.0f} | {slots} |"
    )


def main() -> None:
    """Print one table per upstream."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=12.0, help="length of each phase")
    parser.add_argument("--cost", type=int, default=COST, help="of the bcrypt hash")
    arguments = parser.parse_args()
    hashed = bcrypt.hashpw(PASSWORD, bcrypt.gensalt(arguments.cost))
    with ProcessPoolExecutor(1) as pool:
        for upstream in (Modelled(), Bcrypt(pool, hashed)):
            name = type(upstream).__name__.lower()
            print(f"\n{name}: {upstream.per_second:.0f} logins per second at most\n")
            print("| phase | size | answered/s | turned away | median ms | p95 ms | slots at the end |")
            print("| --- | --- | --- | --- | --- | --- | --- |")
            runs = {size: make() for size, make in SIZES.items()}
            found: dict[str, list[str]] = {size: [] for size in runs}
            for label, size in runs.items():
                for phase, outcome in run(upstream, size, arguments.seconds):
                    found[label].append(_row(phase, label, outcome, size.slots, arguments.seconds))
            for rows in zip(*found.values(), strict=True):
                print(*rows, sep="\n", flush=True)


if __name__ == "__main__":
    main()
