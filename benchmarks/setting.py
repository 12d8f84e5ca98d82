"""What every measure needs: processes, an amount of effort, and somebody to tell how it goes."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from benchmarks.servers import Contender, Fleet
from benchmarks.wire import Question, login

T = TypeVar("T")

#: Users who take turns: enough that no two logins of one are on their way at a time, few enough to be remembered.
USERS: Final = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long to measure.

    Attributes:
        rounds: Times that everything is measured, in turn.
        closed_s: Each throughput, in seconds.
        open_s: Requests a second → how long, in seconds.
        starts: Times that each server is started.
        memory_logins: Logins between the two looks at memory.
        slow_rounds: The same for what takes long: idle time, one login a second, a hanging upstream.
        idle_s: How long everybody is left alone.
        seldom_s: How long at 1 request a second.
        often_s: How long at 10.
        endurance_logins: Logins of the long run.
        endurance_s: How long it lasts at most.
        hung_s: How long probes are sent while the upstream hangs.
    """

    rounds: int
    closed_s: float
    open_s: dict[int, float]
    starts: int
    memory_logins: int
    slow_rounds: int
    idle_s: float
    seldom_s: float
    often_s: float
    endurance_logins: int
    endurance_s: float
    hung_s: float


FULL: Final = Effort(
    rounds=5,
    closed_s=2.0,
    open_s={10: 6.0, 50: 4.0, 100: 4.0},
    starts=5,
    memory_logins=300,
    slow_rounds=5,
    idle_s=6.5,
    seldom_s=30.0,
    often_s=6.0,
    endurance_logins=100_000,
    endurance_s=180.0,
    hung_s=5.0,
)

QUICK: Final = Effort(
    rounds=2,
    closed_s=1.0,
    open_s={10: 2.0, 50: 1.5, 100: 1.5},
    starts=2,
    memory_logins=100,
    slow_rounds=1,
    idle_s=5.5,
    seldom_s=10.0,
    often_s=3.0,
    endurance_logins=5000,
    endurance_s=15.0,
    hung_s=3.0,
)


@dataclass(frozen=True, slots=True)
class Setting:
    """Where and how thoroughly to measure.

    Attributes:
        fleet: Starts processes.
        effort: How long.
        folder: For files that are needed meanwhile.
        tell: Told what is being measured.
    """

    fleet: Fleet
    effort: Effort
    folder: Path
    tell: Callable[[str], None]


def logins(contender: Contender) -> Iterator[Question]:
    """Return the logins of many users, without end."""
    ask = functools.partial(login, path=contender.login_path)
    return map(ask, itertools.cycle(range(USERS)))


def in_turn(items: Sequence[T], round_number: int) -> Sequence[T]:
    """Return *items* in an order that turns round by round, so that nobody always comes first."""
    return items if round_number % 2 == 0 else items[::-1]


def titles(contenders: Sequence[Contender]) -> dict[str, str]:
    """Return contender → title."""
    return {contender.name: contender.title for contender in contenders}
