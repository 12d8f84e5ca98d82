"""First logins of other people while a service is attacked, with and without challenges: a simulation.

Run ``python -m benchmarks.fairness``. The throttle and its limits are the real ones; time is made up (an hour takes a
minute or two), and so is the work: instead of solving, a caller waits for as long as a core would take that makes
``ITERATIONS_PER_S`` iterations of PBKDF2. What to look for: at least 95 % of the people get in, and an account sees no
more guesses than without challenges.
"""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NoReturn

from velro_auth.errors import InvalidCredentials, Throttled
from velro_auth.guards.attempts import MemoryAttempts
from velro_auth.guards.challenges import Challenges, GuessRate
from velro_auth.guards.keys import Caller, Keyring
from velro_auth.guards.limits import HOUR_S, Limits
from velro_auth.guards.throttle import Challenged, Throttle

#: Of PBKDF2-HMAC-SHA-256 a second, on one core of the machine that the tables were made on.
ITERATIONS_PER_S: Final = 1.65e6

#: The people: one first login every ten seconds, each at an account and from a network of its own.
PERSON_EVERY_S: Final = 10.0

#: A person gives up when a challenge takes longer than it is good for.
PATIENCE_S: Final = 120.0

NETWORKS: Final = 2000
SPRAY_PER_S: Final = 150.0


class Priced(Challenges):
    """Challenges whose solution is known: it is the number of the challenge, and the time is counted instead."""

    def __init__(self, *, chance: random.Random, clock: Callable[[], float]) -> None:
        super().__init__(secret=b"simulated", guess_rate=GuessRate(clock=clock), clock=clock)
        self._chance = chance
        self._numbers = itertools.count()
        self._open: dict[str, Caller] = {}

    def issue(self, caller: Caller, *, failures: int) -> Mapping[str, Any]:
        """Return a challenge that says how long its solution takes: tries until a prefix is found are geometric."""
        prefix, iterations = self._work[self.level(failures)]
        tries = self._chance.expovariate(1 / 16 ** len(prefix))
        name = str(next(self._numbers))
        self._open[name] = caller
        return {"solution": name, "takes_s": tries * iterations / ITERATIONS_PER_S}

    def check(self, caller: Caller, solution: str) -> str:
        """Accept each solution once, from the caller to whom the challenge was issued."""
        return "" if self._open.pop(solution, None) == caller else "wrong"


@dataclasses.dataclass
class Person:
    """What became of the first logins of other people.

    Attributes:
        tried: How many there were.
        at_once: How many got in without a challenge.
        solved: How many got in with one.
        work_s: How long each of those took.
    """

    tried: int = 0
    at_once: int = 0
    solved: int = 0
    work_s: list[float] = dataclasses.field(default_factory=list)

    @property
    def share(self) -> float:
        """How many of a hundred got in."""
        return 100 * (self.at_once + self.solved) / max(1, self.tried)

    def __str__(self) -> str:
        """Return one line of the report."""
        work = sorted(self.work_s) or [0.0]
        median, p95 = work[len(work) // 2], work[min(len(work) - 1, len(work) * 95 // 100)]
        return (
            f"{self.at_once + self.solved} of {self.tried} people let in ({self.share:.1f} %): {self.at_once} at once,"
            f" {self.solved} with a challenge (median {median:.2f} s, 95 % below {p95:.2f} s)"
        )


class World:
    """A service, its clock, and those who use it.

    Args:
        is_challenging: Whether challenges are given.
        seed: Makes a run repeatable.
    """

    def __init__(self, *, is_challenging: bool, seed: int = 20261126) -> None:
        self.now = 1_000_000.0
        chance = random.Random(seed)  # noqa: S311 - a simulation
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self.people, self.guesses = Person(), Counter[str]()
        self.refused = Counter[str]()
        self.throttle = Throttle(
            attempts=MemoryAttempts(limits=Limits(), clock=self._clock),
            keyring=Keyring(b"simulated"),
            challenges=Priced(chance=chance, clock=self._clock),
            is_challenging=is_challenging,
            on_refused=lambda scope: self.refused.update([scope]),
        )

    def _clock(self) -> float:
        return self.now

    def at(self, time_s: float, what: Callable[[], object]) -> None:
        """Have *what* happen at a time."""
        heapq.heappush(self._events, (time_s, next(self._order), what))

    def every(self, period_s: float, seconds: float, what: Callable[[int], object]) -> None:
        """Have *what* happen again and again, with its number."""

        def again(number: int) -> None:
            what(number)
            if number * period_s < seconds:
                self.at(self.now + period_s, lambda: again(number + 1))

        self.at(self.now + period_s, lambda: again(1))

    def run(self) -> None:
        """Let everything happen."""
        while self._events:
            self.now, _, what = heapq.heappop(self._events)
            what()

    def guess(self, account: str, address: str, solution: str | None = None) -> Challenged | Throttled | None:
        """Try a wrong password; return what refused it."""
        try:
            with self.throttle.attempt(account, address, solution=solution):
                self._refuse(account)
        except InvalidCredentials:
            return None
        except Throttled as refused:
            return refused
        raise AssertionError("a wrong password was taken")

    def _refuse(self, account: str) -> NoReturn:
        self.guesses[account] += 1
        raise InvalidCredentials

    def person(self, number: int) -> None:
        """Log in for the first time with the right password; solve one challenge if it is given."""
        account, address = f"person{number}@example.com", f"198.{18 + number // 250}.{number % 250}.7"
        self.people.tried += 1
        try:
            with self.throttle.attempt(account, address):
                self.people.at_once += 1
        except Challenged as refused:
            work_s, solution = refused.challenge["takes_s"], refused.challenge["solution"]
            if work_s < PATIENCE_S:
                self.at(self.now + work_s, lambda: self._second_try(account, address, solution, work_s))
        except Throttled:
            pass

    def _second_try(self, account: str, address: str, solution: str, work_s: float) -> None:
        try:
            with self.throttle.attempt(account, address, solution=solution):
                self.people.solved += 1
                self.people.work_s.append(work_s)
        except Throttled:
            pass


def one_56(*, is_challenging: bool, seconds: float = HOUR_S) -> World:
    """Two guesses a second from one IPv6 /56, each at another account from another /64."""
    world = World(is_challenging=is_challenging)
    world.every(0.5, seconds, lambda n: world.guess(f"{n}@example.com", f"2001:db8:0:{n % 256:x}::1"))
    world.every(PERSON_EVERY_S, seconds, world.person)
    world.run()
    return world


def spray(*, is_challenging: bool, is_paying: bool = False, seconds: float = HOUR_S, networks: int = NETWORKS) -> World:
    """Guesses at all accounts from many networks, 150 a second or as fast as they can pay for.

    Args:
        is_challenging: Whether challenges are given.
        is_paying: Whether each network has a core that solves them.
        seconds: How long it lasts.
        networks: From how many networks.
    """
    world = World(is_challenging=is_challenging)
    ends_s = world.now + seconds
    addresses = list(itertools.islice(attackers(), networks))
    accounts = (f"{number}@example.com" for number in itertools.count())
    if is_paying:
        for address in addresses:
            _pay(world, address, accounts, ends_s)
    else:
        world.every(1 / SPRAY_PER_S, seconds, lambda n: world.guess(next(accounts), addresses[n % networks]))
    world.every(PERSON_EVERY_S, seconds, world.person)
    world.run()
    return world


def one_account(*, is_challenging: bool, seconds: float = HOUR_S, networks: int = NETWORKS) -> World:
    """Guesses at one account from many networks, each with a core, while a spray has used the service up."""
    world = World(is_challenging=is_challenging)
    ends_s = world.now + seconds
    others = (f"{number}@example.com" for number in itertools.count())
    world.every(1.0, seconds, lambda n: world.guess(next(others), f"100.{n // 250}.{n % 250}.1"))
    for address in itertools.islice(attackers(), networks):
        _pay(world, address, itertools.repeat("victim@example.com"), ends_s)
    world.run()
    return world


def attackers() -> Iterator[str]:
    """Name an address in each of the attackers' networks."""
    return (f"10.{number // 250}.{number % 250}.1" for number in range(NETWORKS))


def _pay(world: World, address: str, accounts: Iterator[str], ends_s: float) -> None:
    """Have an attacker guess as fast as it can, solving what it is given."""

    def step(account: str, solution: str | None = None) -> None:
        refused = world.guess(account, address, solution)
        if isinstance(refused, Challenged):
            found: str = refused.challenge["solution"]
            later(refused.challenge["takes_s"], lambda: step(account, found))
        else:
            later(max(0.1, refused.retry_after_s or 0.1) if refused else 0.1, lambda: step(next(accounts)))

    def later(seconds: float, what: Callable[[], object]) -> None:
        if world.now + seconds < ends_s:
            world.at(world.now + seconds, what)

    later(0.1, lambda: step(next(accounts)))


def main() -> None:
    """Run the attacks and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=HOUR_S)
    seconds = parser.parse_args().seconds
    for is_challenging in (False, True):
        print("\nwith challenges" if is_challenging else "\nwithout challenges")  # noqa: T201 - a report
        attacks: dict[str, World] = {
            "one /56, 2 a second": one_56(is_challenging=is_challenging, seconds=seconds),
            "2,000 networks, 150 a second": spray(is_challenging=is_challenging, seconds=seconds),
        }
        if is_challenging:
            attacks["2,000 networks, a core each"] = spray(is_challenging=True, is_paying=True, seconds=seconds)
        for name, world in attacks.items():
            print(f"  {name}: {world.people}")  # noqa: T201
            print(f"    guesses: {sum(world.guesses.values()):,}; refused: {dict(world.refused)}")  # noqa: T201
        victim = one_account(is_challenging=is_challenging, seconds=seconds).guesses["victim@example.com"]
        print(f"  2,000 networks, a core each, at one account: {victim} guesses")  # noqa: T201


if __name__ == "__main__":
    main()
