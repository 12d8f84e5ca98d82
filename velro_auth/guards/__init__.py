"""The guards that a login passes before Supabase is asked.

The order is: throttle, failure delay, upstream rate limit, bulkhead, circuit breaker.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from velro_auth.errors import UpstreamThrottled
from velro_auth.guards.bulkhead import Bulkhead
from velro_auth.guards.circuit_breaker import CircuitBreaker
from velro_auth.guards.failure_delay import FailureDelay
from velro_auth.guards.sessions import SessionCalls
from velro_auth.guards.throttle import Throttle
from velro_auth.guards.upstream_rate_limit import RateLimitBucket

#: Many callers may wait for the answer about one token, so two calls within the window are enough to open.
CHECKS_MIN_CALLS: Final = 2


@dataclass(frozen=True, kw_only=True)
class Guards:
    """All guards of one process, in the order in which a login passes them.

    Attributes:
        throttle: Stops password guessing.
        failure_delay: Answers refused logins at fixed times.
        rate_limit: Keeps the calls below Supabase's own rate limit.
        bulkhead: Limits how many calls ask Supabase at once.
        breaker: Stops calls while Supabase fails.
        sessions: Limits refreshes, logouts and ``me`` of each network.
        checks: The circuit breaker of token checks. It is a separate one, so that a failing ``GET /user`` does not
            stop logins. It opens sooner, because most tokens can be verified without Supabase.
        data: The circuit breaker of the data API, which may fail while Supabase Auth works.
    """

    throttle: Throttle
    failure_delay: FailureDelay
    rate_limit: RateLimitBucket
    bulkhead: Bulkhead
    breaker: CircuitBreaker
    sessions: SessionCalls
    checks: CircuitBreaker = field(default_factory=lambda: CircuitBreaker(min_calls=CHECKS_MIN_CALLS))
    data: CircuitBreaker = field(default_factory=CircuitBreaker)

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Ask Supabase within the block, with a permit of the bulkhead and through the circuit breaker.

        Raises:
            Busy: No permit became free in time.
            CircuitOpen: The circuit breaker is open.
        """
        try:
            with self.bulkhead.permit(), self.breaker.attempt():
                yield
        except UpstreamThrottled:
            self.rate_limit.upstream_refused()
            raise
