"""Proof-of-work challenges, for callers who are refused only because others used up a shared limit.

The challenges are those of ALTCHA, version 2 (https://altcha.org): the client looks for a counter whose PBKDF2 key
begins with a given prefix. The key that signs a challenge is made from the caller's account and network, so the
solution of another caller is not accepted. A challenge expires, and allows one try.

The cheap checks come first: signature, expiry and single use cost microseconds. Only then one key is derived.
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

#: Work per level: the prefix of the key, and the iterations of PBKDF2 for each counter. Each level is twice the work of
#: the one before; 256 or 4,096 counters are tried on average. A check costs as much as one counter.
WORK: Final = (("00", 2000), ("00", 4000), ("000", 500), ("000", 1000), ("000", 2000))

#: Failures from the caller's own network for each level.
FAILURES_PER_LEVEL: Final = 4

#: For how long a wrong password after a solved challenge raises the work for all callers.
GUESS_RATE_S: Final = 60.0

#: Used challenges in memory; about 150 bytes each. Each cost its sender the work of a challenge.
MAX_SPENT: Final = 50_000

ALGORITHM: Final = "PBKDF2/SHA-256"


def challenge_secret(throttle_secret: bytes) -> bytes:
    """Return the key of the challenges. Processes with one throttle secret accept each other's challenges."""
    return hmac.digest(throttle_secret, b"velro-auth challenges", "sha256")


class Spent(Protocol):
    """Remembers which challenges were used, and other names that may be used once."""

    def spend(self, name: str, until_s: float) -> bool:
        """Use a challenge, which expires at *until_s* (wall clock); return whether it was unused. Never raises."""

    def forget(self, name: str) -> None:
        """Forget that it was used. Never raises."""


class MemorySpent:
    """At most *max_spent* challenges used in this process; the oldest are dropped. *clock* is the wall clock."""

    def __init__(self, *, clock: Callable[[], float] = time.time, max_spent: int = MAX_SPENT) -> None:
        self._clock = clock
        self._max_spent = max_spent
        self._spent: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def spend(self, name: str, until_s: float) -> bool:
        """Use a challenge; return whether it was unused."""
        with self._lock:
            if name in self._spent:
                return False
            self._spent[name] = until_s
            now = self._clock()
            while len(self._spent) > self._max_spent or next(iter(self._spent.values()), now) < now:
                self._spent.popitem(last=False)
            return True

    def forget(self, name: str) -> None:
        """Forget that it was used."""
        with self._lock:
            self._spent.pop(name, None)


class GuessRate:
    """The rate of wrong passwords after solved challenges, with exponential decay; *clock* is monotonic."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._count, self._at_s = 0.0, clock()

    def add(self) -> None:
        """Count one."""
        with self._lock:
            self._count, self._at_s = self._decayed() + 1.0, self._clock()

    def per_second(self) -> float:
        """Return the rate, averaged over about a minute."""
        with self._lock:
            return self._decayed() / GUESS_RATE_S

    def _decayed(self) -> float:
        return self._count * math.exp(min(0.0, self._at_s - self._clock()) / GUESS_RATE_S)


class Challenges:
    """Issues challenges and checks solutions.

    Args:
        secret: Signs the challenges; see ``challenge_secret``.
        spent: Remembers which challenges were used.
        guess_rate: The rate of wrong passwords after solved challenges.
        clock: The wall clock.
        work: Prefix and iterations per level.
        derive: Derives the key of a counter: the costly part.
    """

    def __init__(
        self,
        *,
        secret: bytes,
        spent: Spent | None = None,
        guess_rate: GuessRate | None = None,
        clock: Callable[[], float] = time.time,
        work: Sequence[tuple[str, int]] = WORK,
        derive: Derive = altcha.derive_key_pbkdf2,
    ) -> None:
        self._secret = secret
        self.spent: Final = spent or MemorySpent(clock=clock)
        self._guess_rate = guess_rate or GuessRate()
        self._clock = clock
        self._work = work
        self._derive = derive

    def issue(self, caller: Caller, *, failures: int) -> Mapping[str, Any]:
        """Return a new challenge for *caller*, as JSON values; *failures* are those of the caller's own network."""
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
        """Return the level of work for a network with so many failures, at the present guess rate."""
        raised = int(math.log2(1.0 + self._guess_rate.per_second()))
        return min(len(self._work) - 1, raised + failures // FAILURES_PER_LEVEL)

    def check(self, caller: Caller, solution: str) -> str:
        """Return why *solution* (base64 of JSON, from ALTCHA's widget) is refused; empty if it is right.

        After a right or a wrong solution the challenge is used and cannot be sent again.
        """
        try:
            payload = altcha.Payload.from_base64(solution)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return "unreadable"
        parameters, reasons = payload.challenge.parameters, list[str]()
        until_s = parameters.expires_at
        if type(until_s) is not int or until_s < self._clock():
            return "expired"

        def derive_once(given: altcha.ChallengeParameters, salt: bytes, password: bytes) -> bytes:
            # Called only after the signature was verified, so the name and the expiry are ours.
            if not self.spent.spend(given.nonce, until_s):
                reasons.append("used before")
                return b""
            return self._derive(given, salt, password)

        result = altcha.verify_solution(payload, self._key(caller), derive_once)
        if result.verified:
            return ""
        if result.invalid_signature:
            return "not for this caller"
        return reasons[0] if reasons else "wrong"

    def password_refused(self) -> None:
        """Count a wrong password after a solved challenge."""
        self._guess_rate.add()

    def _key(self, caller: Caller) -> str:
        bound = f"{caller.account}\0{caller.network}".encode()
        return hmac.digest(self._secret, bound, "sha256").hex()
