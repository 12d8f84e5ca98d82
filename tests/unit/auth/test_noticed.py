"""Small changes to the handling of tokens and sessions that no other test would notice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.conftest import ENVIRONMENT
from tests.fixtures.tokens import HandClock, HeldKeys, SigningKey, claims_at, rules
from velro_auth.auth.denylist import MemoryDenyList
from velro_auth.auth.introspection import RemoteIntrospector, TokenIntrospector
from velro_auth.auth.keys import Key
from velro_auth.auth.models import Session
from velro_auth.auth.refresh import Refreshes
from velro_auth.auth.sessions import Sessions
from velro_auth.auth.verifier import TokenVerifier
from velro_auth.config.settings import Settings
from velro_auth.context import RequestContext
from velro_auth.errors import Busy, TokenInvalid
from velro_auth.guards import Guards
from velro_auth.guards.failure_delay import FailureDelay
from velro_auth.upstream.identity import SupabaseIdentity
from velro_auth.wiring.guards import build_guards, open_guards

KEY = SigningKey("key")


class NeverAsked(HeldKeys):
    """Fails the test when a key is looked up."""

    def find(self, kid: str) -> Key:
        pytest.fail(f"the key {kid!r} was looked up")


@pytest.mark.parametrize("algorithm", ["none", "NONE", "HS512", "ES256K", "PS256", ""])
def test_a_token_of_another_algorithm_is_refused_before_its_key_is_looked_up(algorithm: str) -> None:
    """The name of the key is the sender's choice: an unknown one would cost a fetch, and a question to Supabase."""
    clock = HandClock()
    verifier = TokenVerifier(keys=NeverAsked(KEY), rules=rules(clock), clock=clock)

    with pytest.raises(TokenInvalid, match="algorithm"):
        verifier.verify(KEY.token(claims_at(clock()), alg=algorithm, kid="made up"))


@dataclass
class PermitsInUse(SupabaseIdentity):
    """Records which permits a logout holds while Supabase is asked."""

    guards: Guards
    seen: list[dict[str, int]] = field(default_factory=list)

    def sign_out(self, *_: Any, **__: Any) -> float | None:
        self.seen.append(permits_in_use(self.guards))
        return None


def permits_in_use(guards: Guards) -> dict[str, int]:
    free = guards.failure_delay.free
    return {
        "waiting": PERMITS - free,
        "all": guards.asking.bulkhead.in_use,
        "sessions": guards.sessions.bulkhead.in_use,
    }


SETTINGS = Settings.from_environment(ENVIRONMENT)
PERMITS = SETTINGS.waiting_permits


def sessions_with(guards: Guards, identity: PermitsInUse) -> Sessions:
    clock = HandClock()
    verifier = TokenVerifier(keys=HeldKeys(KEY), rules=rules(clock), clock=clock)
    return Sessions(
        identity=identity,
        guards=guards,
        refreshes=Refreshes[Session](clock=clock),
        verifier=verifier,
        introspector=TokenIntrospector(verifier=verifier, remote=RemoteIntrospector(clock=clock, now=clock)),
        denied=MemoryDenyList(now=clock),
        now=clock,
    )


def new_guards() -> Guards:
    return build_guards(SETTINGS, open_guards(SETTINGS))


def log_out(sessions: Sessions) -> None:
    context = RequestContext(request_id="x", address="203.0.113.7", arrived_s=0.0)
    sessions.log_out(KEY.token(claims_at(sessions.now())), "global", context)


def test_a_logout_holds_a_permit_of_each_guard_while_supabase_is_asked() -> None:
    guards = new_guards()
    identity = PermitsInUse(guards)

    log_out(sessions_with(guards, identity))

    assert identity.seen == [{"waiting": 1, "all": 1, "sessions": 1}]
    assert permits_in_use(guards) == {"waiting": 0, "all": 0, "sessions": 0}


def test_a_logout_does_not_ask_when_all_threads_that_may_wait_are_taken() -> None:
    guards = new_guards()
    identity = PermitsInUse(guards)
    FailureDelay(delay_ms=0, permits=0, state=guards.failure_delay.state)

    with pytest.raises(Busy):
        log_out(sessions_with(guards, identity))

    assert identity.seen == []
