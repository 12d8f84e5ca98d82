"""``me``: what it does before it takes a place."""

from __future__ import annotations

from collections.abc import Mapping

from tests.conftest import ENVIRONMENT
from tests.fixtures.tokens import USER_ID, HandClock, HeldKeys, SigningKey, claims_at, rules
from velro_auth.auth.denylist import MemoryDenyList
from velro_auth.auth.introspection import RemoteIntrospector, TokenIntrospector
from velro_auth.auth.models import Profile, Session
from velro_auth.auth.refresh import Refreshes
from velro_auth.auth.sessions import Sessions
from velro_auth.auth.verifier import TokenVerifier
from velro_auth.config.settings import Settings
from velro_auth.context import RequestContext
from velro_auth.guards import Guards
from velro_auth.upstream.calls import RefusingCalls
from velro_auth.upstream.identity import SupabaseIdentity
from velro_auth.wiring.guards import build_guards, open_guards

KEY = SigningKey("key")


class Watching:
    """Profiles that look at what is taken while they work."""

    def __init__(self, guards: Guards) -> None:
        self._guards = guards
        self.seen: list[tuple[str, int, int]] = []

    def load(self) -> None:
        self._look("load")

    def of(self, access_token: str, user_id: str) -> Profile | None:
        assert user_id == USER_ID
        self._look("of")
        return None

    def change(self, access_token: str, user_id: str, values: Mapping[str, str | None]) -> Profile | None:
        raise NotImplementedError

    def _look(self, what: str) -> None:
        self.seen.append((what, self._guards.asking.bulkhead.in_use, self._guards.sessions.bulkhead.in_use))


def test_the_package_for_profiles_is_loaded_before_a_slot_is_taken() -> None:
    """The first import takes a third of a second, and seconds on a busy machine. Others need the slot meanwhile."""
    clock = HandClock()
    settings = Settings.from_environment(ENVIRONMENT)
    guards = build_guards(settings, open_guards(settings))
    profiles = Watching(guards)
    verifier = TokenVerifier(keys=HeldKeys(KEY), rules=rules(clock), clock=clock)
    sessions = Sessions(
        identity=SupabaseIdentity(RefusingCalls("not asked")),
        guards=guards,
        refreshes=Refreshes[Session](clock=clock),
        verifier=verifier,
        introspector=TokenIntrospector(verifier=verifier, remote=RemoteIntrospector(clock=clock, now=clock)),
        denied=MemoryDenyList(now=clock),
        profiles=profiles,
    )

    sessions.me(KEY.token(claims_at(clock())), RequestContext(request_id="x", address="203.0.113.7", arrived_s=0.0))

    assert profiles.seen == [("load", 0, 0), ("of", 1, 1)]
