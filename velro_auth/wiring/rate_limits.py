"""Builds the copies of Supabase's rate limits, and the numbers of the budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from velro_auth.config.settings import Settings
from velro_auth.guards.budgets import BudgetLimits
from velro_auth.guards.mails import MailBudget
from velro_auth.guards.upstream_rate_limit import (
    ANONYMOUS_REFILL_S,
    BURST,
    MAIL_REFILL_S,
    OneAddress,
    RateLimitBucket,
    RateLimits,
    RateLimitState,
)

if TYPE_CHECKING:
    from velro_auth.wiring.guards import GuardState


def processes_of(settings: Settings, state: GuardState) -> int:
    """Return how many processes share a limit of the project: as set, else as many as were seen in Redis."""
    if settings.auth_replicas:
        return settings.web_concurrency * settings.auth_replicas
    seen = state.replicas.processes if state.replicas else 0
    return max(settings.web_concurrency, seen)


def budget_limits(settings: Settings) -> BudgetLimits:
    """Return the budgets of *settings*, for all processes together."""
    return BudgetLimits.with_mails(settings.auth_mail_budget_per_hour).scaled(settings.auth_throttle_scale)


def login_rate_limit(settings: Settings, state: GuardState) -> RateLimitBucket:
    """Build the copy for logins and refreshes."""
    burst, refill_s = settings.upstream_quota_burst, settings.upstream_quota_refill_s
    return _rate_limit(settings, state, state.rate_limit, burst=burst, refill_s=refill_s)


def mail_rate_limit(settings: Settings, state: GuardState) -> RateLimitBucket:
    """Build the copy for mails."""
    return _rate_limit(settings, state, state.families.mails, refill_s=MAIL_REFILL_S)


def family_rate_limits(settings: Settings, state: GuardState, mails: MailBudget) -> RateLimits:
    """Build the copies for the other routes; *mails* has the one for mails."""
    return RateLimits(
        mails=mails.copy,
        proofs=_rate_limit(settings, state, state.families.proofs, refill_s=MAIL_REFILL_S),
        anonymous=_rate_limit(settings, state, state.families.anonymous, refill_s=ANONYMOUS_REFILL_S),
        is_acquainted=mails.is_acquainted,
    )


def _rate_limit(
    settings: Settings, state: GuardState, counted: RateLimitState, *, burst: int = BURST, refill_s: float
) -> RateLimitBucket:
    """Build a copy: always in force, never, or while Supabase counts all callers as one."""
    in_force: OneAddress | None = state.one_address
    if settings.keeps_quota:
        in_force = None
    elif settings.auth_upstream_quota == "off":
        in_force = OneAddress()
    return RateLimitBucket(
        one_address=in_force, burst=burst, refill_s=refill_s, processes=processes_of(settings, state), state=counted
    )
