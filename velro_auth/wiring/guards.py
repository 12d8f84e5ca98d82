"""Builds the guards of the login."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from velro_auth.config.settings import Settings
from velro_auth.guards import CHECKS_MIN_CALLS, Guards
from velro_auth.guards.asking import Asking, Bulkhead, BulkheadState, CircuitBreaker
from velro_auth.guards.attempts import Attempts, MemoryAttempts, MemoryCounters
from velro_auth.guards.budgets import Budgets, MemoryBudgets, MemoryLogs
from velro_auth.guards.challenges import Challenges, challenge_secret
from velro_auth.guards.codes import CodeBudget, FactorBudget
from velro_auth.guards.enforcement import ENFORCED, Enforcement
from velro_auth.guards.failure_delay import FailureDelay, FailureDelayState
from velro_auth.guards.keys import Keyring, throttle_secret
from velro_auth.guards.limits import Limits
from velro_auth.guards.links import LinkBudget
from velro_auth.guards.mail_delay import MailDelay, MailDelayState
from velro_auth.guards.mails import MailBudget, SignUpLimit
from velro_auth.guards.sessions import SessionCalls, SessionCallsState
from velro_auth.guards.throttle import Throttle
from velro_auth.guards.upstream_rate_limit import OneAddress, RateLimitState, RateLimitStates
from velro_auth.health_checks import Finding
from velro_auth.wiring import rate_limits

if TYPE_CHECKING:
    import redis

    from velro_auth.stores.client import SharedStore
    from velro_auth.stores.replicas import Replicas


#: As long as what is made from it (SHA-256).
INSTANCE_KEY_BYTES: Final = 32


@dataclass(frozen=True, kw_only=True)
class GuardState:
    """What the guards share with the guards that replace them at a settings reload.

    Attributes:
        challenges: Makes and verifies challenges; knows the solutions that were used.
        instance_key: Random characters that only this instance knows, where nothing secret is set.
        client: The Redis client of the throttle; None without Redis.
        store: Whether Redis works; None without Redis.
        replicas: Counts the processes that share Redis; None without Redis.
        one_address: Whether Supabase counts all callers as one, although their addresses are forwarded.
        counters: Login tries that were counted in memory.
        failure_delay: Permits of requests that wait for Supabase.
        rate_limit: The calls that were counted against Supabase's rate limit.
        families: The same for the routes that Supabase counts apart from logins.
        bulkhead: Permits of logins in use.
        breaker: The circuit breaker of logins.
        checks: The circuit breaker of token checks.
        data: The circuit breaker of the data API.
        session_bulkhead: Permits of session calls in use.
        session_calls: Session calls of each network.
        logs: Codes, mails and sign-ups that were counted in memory.
        mail_delay: Requests that may send a mail, and calls that go on behind their answers.
    """

    challenges: Challenges
    instance_key: str
    client: redis.Redis | None = None
    store: SharedStore | None = None
    replicas: Replicas | None = None
    one_address: OneAddress = field(default_factory=OneAddress)
    counters: MemoryCounters = field(default_factory=MemoryCounters)
    failure_delay: FailureDelayState = field(default_factory=FailureDelayState)
    rate_limit: RateLimitState = field(default_factory=RateLimitState)
    families: RateLimitStates = field(default_factory=RateLimitStates)
    bulkhead: BulkheadState = field(default_factory=BulkheadState)
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    checks: CircuitBreaker = field(default_factory=lambda: CircuitBreaker(min_calls=CHECKS_MIN_CALLS))
    data: CircuitBreaker = field(default_factory=CircuitBreaker)
    session_bulkhead: BulkheadState = field(default_factory=BulkheadState)
    session_calls: SessionCallsState = field(default_factory=SessionCallsState)
    logs: MemoryLogs = field(default_factory=MemoryLogs)
    mail_delay: MailDelayState = field(default_factory=MailDelayState)

    def check(self) -> Finding:
        """Return the result for ``/health/ready``: a warning while a circuit breaker is not closed."""
        states = {
            "logins": self.breaker.state,
            "checks of tokens": self.checks.state,
            "data API": self.data.state,
        }
        resting = [f"{what} {state}" for what, state in states.items() if state != "closed"]
        return Finding("warn", f"{', '.join(resting)}: Supabase fails and gets a rest") if resting else Finding("pass")


def open_guards(
    settings: Settings,
    *,
    store: SharedStore | None = None,
    one_address: OneAddress | None = None,
    instance_key: str = "",
) -> GuardState:
    """Return the state of guards that have seen no login.

    Args:
        settings: Those that need a restart are read here: Redis and the secret.
        store: Whether Redis works; None without Redis.
        one_address: Whether Supabase counts all callers as one; None: never.
        instance_key: Random characters that only this instance knows; made here if empty.
    """
    instance_key = instance_key or secrets.token_hex(INSTANCE_KEY_BYTES)
    client, spent, replicas = None, None, None
    if store is not None:
        # 5 MB that few need.
        from velro_auth.stores.client import connect  # noqa: PLC0415
        from velro_auth.stores.replicas import Replicas  # noqa: PLC0415
        from velro_auth.stores.spent import RedisSpent  # noqa: PLC0415

        client = store.client or connect(settings.redis_url)
        spent = RedisSpent(client=client, backoff=store.counters, prefix=settings.redis_prefix)
        replicas = Replicas(client=client, prefix=settings.redis_prefix)
    # A client that knows this secret can solve challenges beforehand, so it is never made from a publishable key.
    secret = throttle_secret(settings.auth_throttle_secret, api_key=settings.supabase_secret_key or instance_key)
    return GuardState(
        challenges=Challenges(secret=challenge_secret(secret), spent=spent),
        instance_key=instance_key,
        client=client,
        store=store,
        replicas=replicas,
        one_address=one_address or OneAddress(),
    )


def _ignore(_event: str) -> None:
    """Do nothing."""


def build_guards(
    settings: Settings,
    state: GuardState,
    *,
    on_refused: Callable[[str], None] = _ignore,
    on_challenge: Callable[[str], None] = _ignore,
    on_withheld: Callable[[str, str, str], None] = lambda _limit, _account, _address: None,
    enforcement: Enforcement = ENFORCED,
) -> Guards:
    """Build the guards, with the numbers of *settings* and everything that earlier guards counted.

    Args:
        settings: The settings in force.
        state: Shared with earlier guards, which still serve the requests under way.
        on_refused: Called with the limit that refused a login.
        on_challenge: Called when a challenge was given or solved, or a solution was wrong.
        on_withheld: Called when a mail is not sent because of the mail budget.
        enforcement: Whether budgets and limits refuse, and what to call when they do.
    """
    enforcement, copy = _shared_report(settings, state, enforcement), rate_limits.mail_rate_limit(settings, state)
    attempts, keyring = _attempts(settings, state), Keyring(_secret(settings, state))
    budgets, rate_limit = _budgets(settings, state), rate_limits.login_rate_limit(settings, state)
    failure_delay, is_challenging = _failure_delay(settings, state), settings.auth_challenge == "auto"
    mails = MailBudget(
        budgets=budgets, keyring=keyring, attempts=attempts, copy=copy, enforcement=enforcement, on_withheld=on_withheld
    )
    return Guards(
        failure_delay=failure_delay,
        throttle=Throttle(
            attempts=attempts,
            keyring=keyring,
            challenges=state.challenges,
            is_challenging=is_challenging,
            on_refused=on_refused,
            on_challenge=on_challenge,
            enforcement=enforcement,
        ),
        rate_limit=rate_limit,
        families=rate_limits.family_rate_limits(settings, state, mails),
        asking=Asking(bulkhead=_bulkhead(settings, state), breaker=state.breaker, rate_limit=rate_limit),
        sessions=_session_calls(settings, state),
        checks=state.checks,
        data=state.data,
        codes=CodeBudget(budgets=budgets, keyring=keyring, enforcement=enforcement),
        links=_links(state, mails, on_challenge, is_challenging=is_challenging),
        factors=FactorBudget(budgets=budgets, keyring=keyring, attempts=attempts, enforcement=enforcement),
        mails=mails,
        sign_ups=SignUpLimit(budgets=budgets, keyring=keyring, enforcement=enforcement),
        mail_delay=_mail_delay(settings, state, mails, failure_delay),
    )


def _links(
    state: GuardState, mails: MailBudget, on_challenge: Callable[[str], None], *, is_challenging: bool
) -> LinkBudget:
    return LinkBudget(
        budgets=mails.budgets,
        keyring=mails.keyring,
        attempts=mails.attempts,
        challenges=state.challenges,
        is_challenging=is_challenging,
        on_challenge=on_challenge,
        enforcement=mails.enforcement,
    )


def _mail_delay(settings: Settings, state: GuardState, mails: MailBudget, permits: FailureDelay) -> MailDelay:
    return MailDelay(
        delay_ms=settings.auth_mail_delay_ms,
        places=settings.mail_waiting_permits,
        permits=permits,
        is_acquainted=mails.is_acquainted,
        state=state.mail_delay,
    )


def _failure_delay(settings: Settings, state: GuardState) -> FailureDelay:
    return FailureDelay(
        delay_ms=settings.auth_failure_floor_ms,
        permits=settings.waiting_permits,
        reserved=settings.waiting_permits - settings.session_waiting_permits,
        known_reserved=settings.waiting_permits // 8,
        state=state.failure_delay,
    )


def _bulkhead(settings: Settings, state: GuardState) -> Bulkhead:
    return Bulkhead(
        permits=settings.login_permits,
        wait_s=settings.login_queue_s,
        max_waiting=settings.waiting_permits - settings.login_permits,
        state=state.bulkhead,
    )


def _session_calls(settings: Settings, state: GuardState) -> SessionCalls:
    return SessionCalls(
        bulkhead=Bulkhead(
            permits=settings.session_permits,
            wait_s=settings.login_queue_s,
            max_waiting=settings.session_waiting_permits - settings.session_permits,
            state=state.session_bulkhead,
        ),
        in_flight=settings.session_calls_per_network,
        per_s=settings.auth_session_calls_per_s,
        state=state.session_calls,
    )


def _secret(settings: Settings, state: GuardState) -> bytes:
    """Return the key of the counters' names, which are the same in all processes that share a Redis.

    There they are made from a publishable key if nothing else is set; ``Settings.advice`` tells.
    """
    shared = settings.upstream_key if settings.redis_url else settings.supabase_secret_key
    return throttle_secret(settings.auth_throttle_secret, api_key=shared or state.instance_key)


def _attempts(settings: Settings, state: GuardState) -> Attempts:
    """Count in Redis if there is one; in memory each process has its share of the limits."""
    limits, processes = Limits().scaled(settings.auth_throttle_scale), rate_limits.processes_of(settings, state)
    memory = MemoryAttempts(limits=limits.scaled(1 / processes), counters=state.counters)
    if state.client is None or state.store is None:
        return memory
    from velro_auth.stores.attempts import RedisAttempts  # noqa: PLC0415 - 5 MB that few need

    return RedisAttempts(
        client=state.client,
        limits=limits,
        fallback=memory,
        backoff=state.store.counters,
        recent=state.store.recent,
        prefix=settings.redis_prefix,
    )


def _shared_report(settings: Settings, state: GuardState, enforcement: Enforcement) -> Enforcement:
    """Count what would have been refused in Redis too, for ``velro-auth guard report``."""
    if enforcement.is_on or state.client is None or state.store is None:
        return enforcement
    from velro_auth.stores.report import RedisReport  # noqa: PLC0415 - 5 MB that few need

    return RedisReport(state.client, state.store.counters, prefix=settings.redis_prefix).beside(enforcement)


def _budgets(settings: Settings, state: GuardState) -> Budgets:
    """Count in Redis if there is one; in memory each process has its share of the budgets."""
    limits = rate_limits.budget_limits(settings)
    memory = MemoryBudgets(limits=limits.scaled(1 / rate_limits.processes_of(settings, state)), logs=state.logs)
    if state.client is None or state.store is None:
        return memory
    from velro_auth.stores.budgets import RedisBudgets  # noqa: PLC0415 - 5 MB that few need

    return RedisBudgets(
        client=state.client,
        limits=limits,
        fallback=memory,
        backoff=state.store.counters,
        prefix=settings.redis_prefix,
    )
