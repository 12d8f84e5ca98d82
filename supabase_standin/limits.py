"""How many requests of one address each route takes: a bucket per route and address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from supabase_standin.config import StandinConfig
from supabase_standin.errors import Failure
from supabase_standin.limiter import Limiter

#: Routes that share a setting, but not a bucket.
MAIL_ROUTES: Final = ("signup", "otp", "recover", "resend", "user")
FACTOR_ROUTES: Final = ("challenge", "factor")


class Limits:
    """The limiters of all routes.

    Args:
        config: The settings.
        clock: Seconds, monotonic.
    """

    def __init__(self, config: StandinConfig, *, clock: Callable[[], float]) -> None:
        limits = {
            "token": config.rate_limit,
            "verify": config.verify_rate_limit,
            "anonymous": config.anonymous_rate_limit,
            **dict.fromkeys(MAIL_ROUTES, config.otp_rate_limit),
            **dict.fromkeys(FACTOR_ROUTES, config.factor_rate_limit),
        }
        self._limiters = {route: Limiter(limit, clock=clock) for route, limit in limits.items()}

    def demand(self, route: str, address: str | None) -> None:
        """Count a request of *address*; None is not counted.

        Raises:
            Failure: There were too many.
        """
        if address is not None and not self._limiters[route].allows(address):
            raise Failure(429, "over_request_rate_limit", "Request rate limit reached")
