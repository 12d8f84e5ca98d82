"""The guards that a login passes before Supabase is asked.

The order is: throttle, failure delay, upstream rate limit, bulkhead, circuit breaker.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from velro_auth.guards.asking import Asking, CircuitBreaker
from velro_auth.guards.codes import CodeBudget, FactorBudget
from velro_auth.guards.failure_delay import FailureDelay
from velro_auth.guards.links import LinkBudget
from velro_auth.guards.mail_delay import MailDelay
from velro_auth.guards.mails import MailBudget, SignUpLimit
from velro_auth.guards.sessions import SessionCalls
from velro_auth.guards.throttle import Throttle
from velro_auth.guards.upstream_rate_limit import RateLimitBucket, RateLimits

#: Many callers may wait for the answer about one token, so two calls within the window are enough to open.
CHECKS_MIN_CALLS: Final = 2


@dataclass(frozen=True, kw_only=True)
class Guards:
    """All guards of one process, in the order in which a login passes them.

    Attributes:
        throttle: Stops password guessing.
        failure_delay: Answers refused logins at fixed times.
        rate_limit: Keeps the calls below Supabase's own rate limit.
        families: Does the same for the routes that Supabase counts apart from logins.
        asking: Bulkhead and circuit breaker: ``with guards.asking(context):`` around each call of Supabase.
        sessions: Limits the calls of users with a session, of each network.
        checks: The circuit breaker of token checks. It is a separate one, so that a failing ``GET /user`` does not
            stop logins. It opens sooner, because most tokens can be verified without Supabase.
        data: The circuit breaker of the data API, which may fail while Supabase Auth works.
        codes: Stops guessing of mailed codes.
        links: Stops guessing of mailed links.
        factors: Stops guessing of the codes of second factors.
        mails: Stops floods of mails.
        sign_ups: Limits sign-ups that need no mail.
        mail_delay: Answers requests that may send a mail at fixed times.
    """

    throttle: Throttle
    failure_delay: FailureDelay
    rate_limit: RateLimitBucket
    families: RateLimits
    asking: Asking
    sessions: SessionCalls
    codes: CodeBudget
    links: LinkBudget
    factors: FactorBudget
    mails: MailBudget
    sign_ups: SignUpLimit
    mail_delay: MailDelay
    checks: CircuitBreaker = field(default_factory=lambda: CircuitBreaker(min_calls=CHECKS_MIN_CALLS))
    data: CircuitBreaker = field(default_factory=CircuitBreaker)
