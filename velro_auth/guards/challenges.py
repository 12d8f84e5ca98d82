"""Proof of work for callers who would be refused for what others did: a challenge opens what a wait would open.

The challenges are those of ALTCHA, version 2 (https://altcha.org): a client looks for a counter whose PBKDF2 key begins
with a given prefix. A challenge is signed with a key that is made from the caller's account and network, so no other
caller's solution passes; it expires, and opens one try.

The cheap checks come first: signature, expiry and single use cost microseconds, and only then one key is derived.
"""

from __future__ import annotations

import hmac
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

import altcha

from velro_auth.guards.keys import Caller

#: How long a challenge can be solved.
GOOD_FOR_S: Final = 120

Derive: TypeAlias = Callable[[altcha.ChallengeParameters, bytes, bytes], bytes]

#: Work per level: the prefix that the key must begin with, and the iterations of PBKDF2 for each counter. Each level is
#: twice the work of the one before; 256 or 4,096 counters are tried on average. A check costs as much as one counter.
WORK: Final = (("00", 2000), ("00", 4000), ("000", 500), ("000", 1000), ("000", 2000))

#: Failures from the caller's own network for each level.
FAILURES_PER_LEVEL: Final = 4

#: How long wrong passwords that were let in by a solution raise the work for all.
PRESSURE_S: Final = 60.0

#: Solutions remembered as spent; about 150 bytes each. Each cost its sender the work of a challenge.
MAX_SPENT: Final = 50_000

ALGORITHM: Final = "PBKDF2/SHA-256"


def challenge_secret(throttle_secret: bytes) -> bytes:
    """Return the key of the challenges: all processes that count alike accept each other's."""
    return hmac.digest(throttle_secret, b"velro-auth challenges", "sha256")


class Spent(Protocol):
    """Remembers which challenges were used."""

    def spend(self, name: str, until_s: float) -> bool:
        """Use a challenge up; return whether it was unused. Never raises.

        Args:
            name: What the challenge is called.
            until_s: When it expires, on the wall clock.
        """


class MemorySpent:
    """Challenges used in this process. The oldest are forgotten when there are too many.

    Args:
        clock: The wall clock.
        max_spent: How many are remembered.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time, max_spent: int = MAX_SPENT) -> None:
        self._clock = clock
        self._max_spent = max_spent
        self._spent: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return how many are remembered."""
        with self._lock:
            return len(self._spent)

    def spend(self, name: str, until_s: float) -> bool:
        """Use a challenge up; return whether it was unused."""
        with self._lock:
            if name in self._spent:
                return False
            self._spent[name] = until_s
            now = self._clock()
            while len(self._spent) > self._max_spent or next(iter(self._spent.values()), now) < now:
                self._spent.popitem(last=False)
            return True


class Pressure:
    """How many wrong passwords solutions let in lately: what a guesser pays for.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._level, self._at = 0.0, clock()

    def add(self) -> None:
        """Count one."""
        with self._lock:
            self._level, self._at = self._faded() + 1.0, self._clock()

    def per_second(self) -> float:
        """Return the rate, averaged over about a minute."""
        with self._lock:
            return self._faded() / PRESSURE_S

    def _faded(self) -> float:
        return self._level * math.exp(min(0.0, self._at - self._clock()) / PRESSURE_S)


class Challenges:
    """Gives challenges and judges solutions.

    Args:
        secret: Signs the challenges; see ``challenge_secret``.
        spent: Remembers which were used.
        pressure: Knows how many wrong passwords solutions let in.
        clock: The wall clock.
        work: Prefix and iterations per level.
        derive: Derives the key of a counter: the costly part.
    """

    def __init__(
        self,
        *,
        secret: bytes,
        spent: Spent | None = None,
        pressure: Pressure | None = None,
        clock: Callable[[], float] = time.time,
        work: Sequence[tuple[str, int]] = WORK,
        derive: Derive = altcha.derive_key_pbkdf2,
    ) -> None:
        self._secret = secret
        self._spent = spent or MemorySpent(clock=clock)
        self._pressure = pressure or Pressure()
        self._clock = clock
        self._work = work
        self._derive = derive

    def give(self, caller: Caller, *, failures: int) -> Mapping[str, Any]:
        """Return a new challenge for *caller*, as JSON values.

        Args:
            caller: Who may solve it.
            failures: How many tries from the caller's own network failed within the last day.
        """
        prefix, iterations = self._work[self.level(failures)]
        challenge = altcha.create_challenge(
            algorithm=ALGORITHM,
            cost=iterations,
            key_prefix=prefix,
            expires_at=math.ceil(self._clock()) + GOOD_FOR_S,
            hmac_secret=self._key(caller),
        )
        return challenge.to_dict()

    def level(self, failures: int) -> int:
        """Return the level of work for a network with so many failures, under the present pressure."""
        pressed = math.log2(1.0 + self._pressure.per_second())
        return min(len(self._work) - 1, int(pressed) + failures // FAILURES_PER_LEVEL)

    def wrong_with(self, caller: Caller, solution: str) -> str:
        """Return what is wrong with a solution; empty when it is right, and used up from then on.

        Args:
            caller: Who sends it.
            solution: What the widget of ALTCHA made: JSON in base64.
        """
        try:
            payload = altcha.Payload.from_base64(solution)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return "unreadable"
        parameters, found = payload.challenge.parameters, list[str]()
        until_s = parameters.expires_at
        if type(until_s) is not int or until_s < self._clock():
            return "expired"

        def derive_once(given: altcha.ChallengeParameters, salt: bytes, password: bytes) -> bytes:
            # Called when the signature was found good, so that name and expiry are ours.
            if not self._spent.spend(given.nonce, until_s):
                found.append("used before")
                return b""
            return self._derive(given, salt, password)

        result = altcha.verify_solution(payload, self._key(caller), derive_once)
        if result.verified:
            return ""
        if result.invalid_signature:
            return "not for this caller"
        return found[0] if found else "wrong"

    def refused(self) -> None:
        """Note that a solution let a wrong password in."""
        self._pressure.add()

    def _key(self, caller: Caller) -> str:
        bound = f"{caller.account}\0{caller.network}".encode()
        return hmac.digest(self._secret, bound, "sha256").hex()
