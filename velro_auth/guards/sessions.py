"""Limits calls of users with a session, of each network, separately from the logins."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Literal, TypeAlias

from velro_auth.context import RequestContext
from velro_auth.errors import Busy, Throttled
from velro_auth.guards.asking import Bulkhead
from velro_auth.guards.keys import networks_of, uses_up

Kind: TypeAlias = Literal["refresh", "logout", "me", "change", "factors", "sessions", "sign_up", "proof"]

#: Refreshes of one network per second in the long run. An access token lives an hour by default, so this serves
#: 72,000 live sessions behind one /24. Supabase itself accepts one call in two seconds from one address.
PER_S: Final = 20.0

#: Kind → its rate, as a multiple of the rate of refreshes. Pages ask for ``me`` with every view.
_RATES: Final[Mapping[Kind, float]] = {
    "refresh": 1.0,
    "logout": 1.0,
    "me": 5.0,
    "change": 1.0,
    "factors": 1.0,
    "sessions": 1.0,
    # Sign-ups without a mail; mailed links and codes, and the end of a sign-in with a provider. People do these once,
    # so a tenth is plenty.
    "sign_up": 0.1,
    "proof": 0.1,
}

#: The burst, in seconds' worth of calls: 600 devices that wake up together.
BURST_S: Final = 30.0

#: Buckets in memory, one for each kind and network: 2.5 MB. The least recently used one is dropped.
MAX_BUCKETS: Final = 10_000

#: ``Retry-After`` when too many calls are in flight, in seconds: they take a fraction of it.
_RETRY_S: Final = 1.0


class SessionCallsState:
    """The session calls of each network; survives a settings reload.

    Attributes:
        in_flight: Network → its calls in flight.
        full_until: Kind and network → when its bucket is full; the least recently used one comes first.
        refused: Calls that were refused; for a metric.
        lock: Held to change the others.
    """

    def __init__(self) -> None:
        self.in_flight: Counter[str] = Counter()
        self.full_until: OrderedDict[tuple[Kind, str], float] = OrderedDict()
        self.refused = 0
        self.lock = threading.Lock()


class SessionCalls:
    """Limits the session calls of each network (/24, or /64 of IPv6); per process.

    A made-up refresh token costs Supabase a call, and costs this process a permit. Each network has two limits: how
    many calls are in flight, all kinds together, and how many come per second, each kind separately. The calls in
    flight of a /56 and a /48 are limited too, since one subscriber may have one (RFC 6177). All networks
    together share a bulkhead with fewer permits than that of the logins, so that logins always have the rest. Only
    calls that ask Supabase count: an answer shared with another call is free.

    Args:
        bulkhead: Limits these calls of all networks together.
        in_flight: How many calls of one network may ask Supabase, or wait in the bulkhead.
        per_s: Refreshes of one network per second in the long run; the other kinds have multiples of it.
        max_buckets: How many buckets are kept in memory.
        clock: A monotonic clock, in seconds.
        state: The state of the object before, at a settings reload; calls in flight go on.
    """

    def __init__(
        self,
        *,
        bulkhead: Bulkhead,
        in_flight: int,
        per_s: float = PER_S,
        max_buckets: int = MAX_BUCKETS,
        clock: Callable[[], float] = time.monotonic,
        state: SessionCallsState | None = None,
    ) -> None:
        self.bulkhead: Final = bulkhead
        self._per_s, self._max_in_flight, self._max_buckets = per_s, in_flight, max_buckets
        self._clock = clock
        self.state: Final = state or SessionCallsState()

    @contextlib.contextmanager
    def permit(self, kind: Kind, address: str, context: RequestContext | None = None) -> Iterator[None]:
        """Ask Supabase within the block.

        Args:
            kind: What is asked.
            address: Who asks.
            context: The request that this serves. Its wait counts towards the deadline of the call.

        Raises:
            Busy: The network of *address* made too many refreshes. Never the error of 429: clients end the session
                on that (contract, section 7). Or no permit became free in time, for a call of any kind.
            Throttled: The network made too many calls of another kind.
        """
        wait_s = self._enter(kind, address)
        if wait_s > 0:
            error = Busy if kind == "refresh" else Throttled
            raise error(f"too many calls of {kind} from one network", retry_after_s=wait_s)
        try:
            with self.bulkhead.permit(context):
                yield
        finally:
            self._leave(address)

    def _enter(self, kind: Kind, address: str) -> float:
        """Count one call in flight and return 0, or return for how many seconds the caller has to wait."""
        state = self.state
        with state.lock:
            is_full = uses_up(state.in_flight, address, self._max_in_flight)
            wait_s = _RETRY_S if is_full else self._wait_s(kind, networks_of(address)[0])
            if wait_s > 0:
                state.refused += 1
            else:
                state.in_flight.update(networks_of(address))
            return wait_s

    def _wait_s(self, kind: Kind, network: str) -> float:
        """Add one call to its bucket (GCRA), unless the bucket is full. Called under the lock."""
        interval_s, now = 1 / (self._per_s * _RATES[kind]), self._clock()
        buckets = self.state.full_until
        full_until = max(now, buckets.pop((kind, network), now)) + interval_s
        wait_s = full_until - now - max(BURST_S, interval_s)
        buckets[kind, network] = full_until if wait_s <= 0 else full_until - interval_s
        if len(buckets) > self._max_buckets:
            buckets.popitem(last=False)
        return wait_s

    def _leave(self, address: str) -> None:
        state = self.state
        with state.lock:
            state.in_flight.subtract(networks_of(address))
            # Without those that have none.
            state.in_flight = +state.in_flight
