"""What stands between a caller and Supabase: throttle, failure floor, quota, gate, breaker."""

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
from velro_auth.guards.upstream_rate_limit import UpstreamRateLimit

#: Two in ten seconds, half of them bad: many callers may wait for one question about one token.
CHECKS_MIN_CALLS: Final = 2


@dataclass(frozen=True, kw_only=True)
class Guards:
    """All of them, in the order a login meets them.

    Attributes:
        throttle: Stops password guessing.
        failure_delay: Answers refusals at fixed times.
        rate_limit: Keeps below Supabase's own rate limit.
        bulkhead: Lets so many logins ask at once.
        breaker: Leaves Supabase alone while it fails.
        sessions: Bounds refreshes, logouts and ``me`` of one network.
        checks: The same for questions about tokens. Apart from the other, so that a failing ``GET /user`` does not
            close the login; and quicker to open, because most tokens can be judged without an answer.
    """

    throttle: Throttle
    failure_delay: FailureDelay
    rate_limit: UpstreamRateLimit
    bulkhead: Bulkhead
    breaker: CircuitBreaker
    sessions: SessionCalls
    checks: CircuitBreaker = field(default_factory=lambda: CircuitBreaker(min_calls=CHECKS_MIN_CALLS))

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Ask Supabase within the block: in a slot of the gate, and unless it gets a rest.

        Raises:
            Busy: No slot came free in time.
            CircuitOpen: Supabase gets a rest.
        """
        try:
            with self.bulkhead.slot(), self.breaker.attempt():
                yield
        except UpstreamThrottled:
            self.rate_limit.refused()
            raise
