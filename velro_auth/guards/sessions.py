"""Bounds refreshes, logouts and ``me`` for each network, apart from the logins."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Literal, TypeAlias

from velro_auth.errors import Busy, Throttled, VelroAuthError
from velro_auth.guards.bulkhead import Bulkhead
from velro_auth.guards.keys import network_of

Kind: TypeAlias = Literal["refresh", "logout", "me"]

#: Refreshes of one network per second in the long run. An access token lives an hour by default, so this serves
#: 72,000 live sessions behind one /24. Supabase itself takes one call in two seconds from one address.
PER_S: Final = 20.0

#: Kind → its pace, as a multiple. Pages ask for ``me`` with every view.
_PACES: Final[Mapping[Kind, float]] = {"refresh": 1.0, "logout": 1.0, "me": 5.0}

#: So many seconds' worth may come at once: 600 devices that wake up together.
BURST_S: Final = 30.0

#: Paces that are remembered, one for each kind and network: 2.5 MB. The one unused for longest gives way.
MAX_PACES: Final = 10_000

#: When to try again after too many at the same time, in seconds: they take a fraction of it.
_RETRY_S: Final = 1.0


class SessionCallsState:
    """What each network has under way and made before; survives a settings reload.

    Attributes:
        in_flight: Network → its calls under way.
        full_until: Kind and network → when its bucket is full again; the one unused for longest comes first.
        refused: Calls that were refused; for a metric.
        lock: Held to change the others.
    """

    def __init__(self) -> None:
        self.in_flight: Counter[str] = Counter()
        self.full_until: OrderedDict[tuple[Kind, str], float] = OrderedDict()
        self.refused = 0
        self.lock = threading.Lock()


class SessionCalls:
    """Lets one network (/24, or /64 of IPv6) make so many calls about sessions; per process.

    Made-up refresh tokens cost Supabase a call each, and cost this process a place that others wait for. Two limits
    for each network: how many calls are under way, all kinds together, and how many come per second, each kind
    apart. All networks together share a gate with fewer slots than that of the logins, so that logins always have
    the rest. Only calls that ask Supabase count: a shared answer costs nothing here.

    Args:
        bulkhead: Lets so many of these calls ask at once.
        in_flight: How many calls of one network may ask, or wait in the gate.
        per_s: Refreshes, and logouts, of one network per second in the long run; of ``me`` five times as many.
        max_paces: How many paces are remembered.
        clock: Seconds that never go back.
        state: That of the object before, at a settings reload.
    """

    def __init__(
        self,
        *,
        bulkhead: Bulkhead,
        in_flight: int,
        per_s: float = PER_S,
        max_paces: int = MAX_PACES,
        clock: Callable[[], float] = time.monotonic,
        state: SessionCallsState | None = None,
    ) -> None:
        #: Lets so many of these calls ask at once.
        self.bulkhead: Final = bulkhead
        self._per_s, self._most, self._max_paces = per_s, in_flight, max_paces
        self._clock = clock
        self.state: Final = state or SessionCallsState()

    @contextlib.contextmanager
    def place(self, kind: Kind, address: str) -> Iterator[None]:
        """Ask within the block.

        Raises:
            Busy: The network of *address* made too many refreshes. Never the error of 429: clients end the session
                on that (contract, section 7). Or no slot came free in time, for a call of any kind.
            Throttled: It made too many calls of another kind.
        """
        network = network_of(address)
        wait_s = self._enter(kind, network)
        if wait_s > 0:
            raise _refusal(kind, wait_s)
        try:
            with self.bulkhead.slot():
                yield
        finally:
            self._leave(network)

    def _enter(self, kind: Kind, network: str) -> float:
        """Count one call in; return for how many seconds to wait instead, 0 for none."""
        state = self.state
        with state.lock:
            wait_s = _RETRY_S if state.in_flight[network] >= self._most else self._wait_s(kind, network)
            if wait_s > 0:
                state.refused += 1
            else:
                state.in_flight[network] += 1
            return wait_s

    def _wait_s(self, kind: Kind, network: str) -> float:
        """Take one call out of a bucket that fills again (GCRA), unless it is empty. Called under the lock."""
        interval_s, now = 1 / (self._per_s * _PACES[kind]), self._clock()
        buckets = self.state.full_until
        full_until = max(now, buckets.pop((kind, network), now)) + interval_s
        wait_s = full_until - now - max(BURST_S, interval_s)
        buckets[kind, network] = full_until if wait_s <= 0 else full_until - interval_s
        if len(buckets) > self._max_paces:
            buckets.popitem(last=False)
        return wait_s

    def _leave(self, network: str) -> None:
        in_flight = self.state.in_flight
        with self.state.lock:
            in_flight[network] -= 1
            if not in_flight[network]:
                del in_flight[network]


def _refusal(kind: Kind, wait_s: float) -> VelroAuthError:
    reason = f"too many calls of {kind} from one network"
    return (Busy if kind == "refresh" else Throttled)(reason, retry_after_s=wait_s)
