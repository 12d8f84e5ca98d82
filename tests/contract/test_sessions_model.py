"""Hostile sequences of logins, refreshes and logouts against a model of what must be valid.

After every step each token ever issued is shown to each process. It is valid exactly when its session was not ended:
once denied, never valid again, and a login after a logout is valid in every process.

``VELRO_SEQUENCES=500 pytest -o timeout=3000 tests/contract/test_sessions_model.py`` plays more of them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

import pytest

from tests.conftest import ENVIRONMENT
from tests.fixtures.faithful import LIFETIME_S, FaithfulSupabase, Issued
from tests.fixtures.redis import RedisServer
from tests.fixtures.tokens import HandClock, HeldKeys, SigningKey, rules
from tests.waiting import eventually
from velro_auth.auth.denylist import DenyList, MemoryDenyList, Scope
from velro_auth.auth.introspection import RemoteIntrospector, TokenIntrospector
from velro_auth.auth.login import Login
from velro_auth.auth.models import Credentials, Session
from velro_auth.auth.refresh import Refreshes
from velro_auth.auth.sessions import Sessions
from velro_auth.auth.tokens import read_claims
from velro_auth.auth.verifier import TokenVerifier
from velro_auth.config.settings import Settings
from velro_auth.context import RequestContext
from velro_auth.errors import SessionExpired, TokenError, TokenExpired, Unready, UpstreamError, VelroAuthError
from velro_auth.stores.client import connect
from velro_auth.stores.denylist import RedisDenyList
from velro_auth.stores.denylist_codec import DenialsInRedis
from velro_auth.wiring.guards import build_guards, open_guards

SEQUENCES = int(os.environ.get("VELRO_SEQUENCES", "25"))
STEPS = 25
LEEWAY_S = 30
KEY = SigningKey("key")
SCOPES: tuple[Scope, ...] = ("global", "others", "local")
GUARDS = Settings.from_environment({**ENVIRONMENT, "AUTH_THROTTLE_SCALE": "1000", "AUTH_UPSTREAM_QUOTA": "off"})

MakeList = Callable[[HandClock], DenyList]


def context() -> RequestContext:
    return RequestContext(request_id="x", address="203.0.113.7", arrived_s=0.0)


class Process:
    """What one process of the service has for sessions."""

    def __init__(self, supabase: FaithfulSupabase, denied: DenyList) -> None:
        clock = supabase.clock
        guards = build_guards(GUARDS, open_guards(GUARDS))
        checked = TokenVerifier(keys=HeldKeys(KEY), rules=rules(clock), denied=denied, clock=clock)
        self.log_in = Login(identity=supabase, guards=guards, denied=denied)
        self.sessions = Sessions(
            identity=supabase,
            guards=guards,
            refreshes=Refreshes[Session](clock=clock),
            verifier=TokenVerifier(keys=HeldKeys(KEY), rules=rules(clock), clock=clock),
            introspector=TokenIntrospector(verifier=checked, remote=RemoteIntrospector(clock=clock, now=clock)),
            denied=denied,
            now=clock,
        )

    def takes(self, token: str) -> bool:
        """Say whether ``verify`` takes a token."""
        try:
            self.sessions.verify(token, context())
        except TokenError:
            return False
        return True


@dataclass
class Model:
    """One sequence.

    Attributes:
        dice: Decides what happens.
        supabase: Knows which sessions live.
        processes: Those of the service.
        ended: Sessions that must be refused, whether or not Supabase knows, and until when if it does not.
        handed_out: Sessions that a client got.
        story: What happened, for a failure.
    """

    dice: random.Random
    supabase: FaithfulSupabase
    processes: list[Process]
    ended: dict[str, float] = field(default_factory=dict)
    issued_tokens: set[str] = field(default_factory=set)
    story: list[str] = field(default_factory=list)

    def run(self) -> None:
        for _ in range(STEPS):
            step = self.dice.choices(
                [self.log_in, self.log_out, self.refresh, self.wait, self.log_in_beside_a_logout], [6, 8, 4, 5, 1]
            )[0]
            step()
            self.check_all()

    def check_all(self) -> None:
        now_s = self.supabase.clock()
        for session_id in [one for one, until_s in self.ended.items() if now_s >= until_s]:
            if self.supabase.sessions[session_id].is_alive:
                # Every token that was denied has ended, and Supabase never heard of the logout.
                self.issued_tokens.discard(session_id)
                del self.ended[session_id]
        for issued in self.supabase.sessions.values():
            for token in issued.tokens:
                is_good = (
                    issued.id in self.issued_tokens - self.ended.keys() and now_s < read_claims(token).exp + LEEWAY_S
                )
                taken = [process.takes(token) for process in self.processes]
                if issued.id in self.issued_tokens | self.ended.keys():
                    assert taken == [is_good] * len(taken), "\n".join([*self.story, f"{issued.id[:4]}: {taken}"])

    def log_in(self) -> None:
        email = self.dice.choice(["ada@example.com", "bob@example.com"])
        session = self._process().log_in(Credentials(email, "x"), context())
        claims = read_claims(session.access_token)
        self.issued_tokens.add(claims.session_id)
        self.story.append(f"{self.supabase.clock():.1f} login of {email[:3]}: {claims.session_id[:4]}")

    def log_in_beside_a_logout(self) -> None:
        """Another process ends all sessions of the user while the login is under way."""
        issued = self._any()
        if issued is not None:
            token, process = self.dice.choice(issued.tokens), self._process()
            self.supabase.meanwhile = lambda: self._ends(process, issued, token, "global", None)
        with suppress(Unready):
            self.log_in()
        self.supabase.meanwhile = None

    def log_out(self) -> None:
        issued = self._any()
        if issued is None:
            return
        self.supabase.is_down = self.dice.random() < 0.2
        self.supabase.date_ahead_s = self.dice.choice([0, 0, 0.4, 1, 2])
        refresh_token = issued.refresh_token if self.dice.random() < 0.3 else None
        token, scope = self.dice.choice(issued.tokens), self.dice.choice(SCOPES)
        self._ends(self._process(), issued, token, scope, refresh_token)
        self.supabase.is_down = False

    def refresh(self) -> None:
        issued = self._any()
        if issued is None:
            return
        self.story.append(f"{self.supabase.clock():.1f} refresh of {issued.id[:4]}")
        try:
            self._process().sessions.refresh(issued.refresh_token, context())
        except SessionExpired:
            assert issued.id in self.ended, "\n".join(self.story)
            assert not issued.is_alive
        else:
            assert issued.id not in self.ended, "\n".join(self.story)

    def wait(self) -> None:
        self.supabase.clock.advance(self.dice.choice([0.1, 0.5, 1, 1, 3, 20, LIFETIME_S - 10, LIFETIME_S + 31]))

    def _ends(self, process: Process, issued: Issued, token: str, scope: Scope, refresh_token: str | None) -> None:
        """Log out, and note what that has to end."""
        now_s, is_down = self.supabase.clock(), self.supabase.is_down
        is_live, exp = issued.id not in self.ended, read_claims(token).exp
        others = {one.id for one in self.supabase.sessions.values() if one.user == issued.user and one is not issued}
        self.story.append(
            f"{now_s:.1f} logout of {issued.id[:4]}, {scope}, live: {is_live}, down: {is_down}, exp {exp},"
            f" refresh: {refresh_token}"
        )
        try:
            process.sessions.log_out(token, scope, context(), refresh_token=lambda: refresh_token)
        except TokenExpired:
            # Supabase has no leeway: a token that it did not take any more has still ended its own session here.
            if is_live and now_s < exp + LEEWAY_S and scope != "others":
                self._note_end(issued.id)
            assert now_s >= exp
            return
        except (UpstreamError, Unready):
            assert is_down
            if is_live and scope != "others" and now_s < exp + LEEWAY_S:
                self._note_end(issued.id)
            return
        if not is_live:
            return
        for session_id in ({issued.id} if scope != "others" else set()) | (others if scope != "local" else set()):
            self._note_end(session_id)

    def _note_end(self, session_id: str) -> None:
        self.ended[session_id] = self.supabase.clock() + LIFETIME_S + LEEWAY_S

    def _process(self) -> Process:
        return self.dice.choice(self.processes)

    def _any(self) -> Issued | None:
        """Return a session, dead or alive, preferably a late one."""
        known = [one for one in self.supabase.sessions.values() if one.id in self.issued_tokens]
        return self.dice.choice(known[-6:]) if known else None


def play(seed: int, lists: list[MakeList]) -> None:
    clock = HandClock()
    supabase = FaithfulSupabase(clock, KEY)
    dice = random.Random(seed)  # noqa: S311 - repeatable
    model = Model(dice, supabase, [Process(supabase, make(clock)) for make in lists])
    try:
        model.run()
    except VelroAuthError as error:
        raise AssertionError("\n".join([f"seed {seed}", *model.story])) from error


def test_what_was_denied_is_never_valid_again_in_memory() -> None:
    for seed in range(SEQUENCES):
        play(seed, [lambda clock: MemoryDenyList(now=clock)])


def test_what_was_denied_is_never_valid_again_in_any_process(redis_server: RedisServer) -> None:
    """One process follows the news, one asks Redis with each token, as it does while it starts."""
    for seed in range(SEQUENCES):
        with ExitStack() as ends:
            play(seed, [follower(ends, redis_server, seed), asker(ends, redis_server, seed)])


def follower(ends: ExitStack, server: RedisServer, seed: int) -> MakeList:
    def make(clock: HandClock) -> DenyList:
        denied = redis_list(ends, server, seed, clock)
        denied.start()
        eventually(lambda: denied.is_live)
        return denied

    return make


def asker(ends: ExitStack, server: RedisServer, seed: int) -> MakeList:
    def make(clock: HandClock) -> DenyList:
        return redis_list(ends, server, seed, clock, Asker)

    return make


class Asker(RedisDenyList):
    """Never gets as far as to listen."""

    def _keep_listening(self) -> None:
        pass


def redis_list(
    ends: ExitStack, server: RedisServer, seed: int, clock: HandClock, kind: type[RedisDenyList] = RedisDenyList
) -> RedisDenyList:
    client = ends.enter_context(connect(server.url, timeout_s=10.0))
    store = DenialsInRedis(client=client, prefix=f"model-{os.getpid()}-{seed}", now=clock)
    denied = kind(store=store, memory=MemoryDenyList(now=clock), ack_s=60, heartbeat_s=0.4)
    ends.callback(denied.close)
    return denied


@pytest.fixture(autouse=True)
def an_empty_redis(redis_server: RedisServer) -> Iterator[None]:
    yield
    with redis_server.client() as client:
        client.flushall()
