"""Warm connections: the rules by hand-moved clock, the sockets against a server that closes what is idle."""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from tests.fixtures.rude import Behaviour, Rude, answer, hangs, says, says_and_closes
from tests.waiting import PATIENCE_S, eventually
from velro_auth.upstream.transport.keep_warm import KeepWarm
from velro_auth.upstream.transport.transport import Transport


@dataclass
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass(eq=False)
class FakeSpare:
    opened_s: float
    used_s: float
    is_connected: bool = True


@dataclass
class FakeSpares:
    """A pool whose server is up or down, and closes what was idle for too long; a router only forgets it."""

    clock: Clock
    closes_after_s: float = float("inf")
    forgotten_after_s: float = float("inf")
    is_up: bool = True
    kept: list[FakeSpare] = field(default_factory=list)
    did: list[str] = field(default_factory=list)

    def idle(self) -> tuple[FakeSpare, ...]:
        for spare in self.kept:
            spare.is_connected = spare.is_connected and self.clock() - spare.used_s < self.closes_after_s
        return tuple(sorted(self.kept, key=lambda spare: spare.used_s))

    def open(self) -> None:
        self.did.append("open")
        if not self.is_up:
            raise ConnectionRefusedError
        self.kept.append(FakeSpare(self.clock(), self.clock()))

    def check(self, connection: FakeSpare) -> None:
        self.did.append("check")
        if self.clock() - connection.used_s >= self.forgotten_after_s:
            self.kept.remove(connection)
            raise TimeoutError
        connection.used_s = self.clock()

    def discard(self, connection: FakeSpare) -> None:
        self.did.append("discard")
        self.kept.remove(connection)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def idle_connections(clock: Clock) -> FakeSpares:
    return FakeSpares(clock)


@pytest.fixture
def keep_warm(idle_connections: FakeSpares, clock: Clock) -> KeepWarm[FakeSpare]:
    return KeepWarm(idle_connections, connections=2, every_s=30, max_age_s=600, clock=clock, jitter=lambda: 1.0)


def look_for(keep_warm: KeepWarm[FakeSpare], clock: Clock, seconds: int) -> None:
    for _ in range(seconds):
        clock.now_s += 1
        keep_warm.look()


def test_the_first_look_opens_what_is_wanted_and_the_next_ones_nothing(
    keep_warm: KeepWarm[FakeSpare], clock: Clock, idle_connections: FakeSpares
) -> None:
    look_for(keep_warm, clock, 20)

    assert idle_connections.did == ["open", "open"]


def test_idle_connections_are_tried_and_kept(
    keep_warm: KeepWarm[FakeSpare], clock: Clock, idle_connections: FakeSpares
) -> None:
    look_for(keep_warm, clock, 100)

    assert idle_connections.did == ["open", "open", *["check"] * 6]


def test_connections_in_use_are_not_tried(
    keep_warm: KeepWarm[FakeSpare], clock: Clock, idle_connections: FakeSpares
) -> None:
    for _ in range(100):
        look_for(keep_warm, clock, 1)
        for spare in idle_connections.kept:
            spare.used_s = clock()

    assert idle_connections.did == ["open", "open"]


def test_the_last_idle_connection_is_replaced_and_never_taken_away(clock: Clock, idle_connections: FakeSpares) -> None:
    """A login that comes while it is tried would have to open one."""
    keep_warm = KeepWarm(idle_connections, connections=1, every_s=30, clock=clock)

    look_for(keep_warm, clock, 40)

    assert idle_connections.did == ["open", "open", "discard"]


def test_old_connections_are_replaced_after_their_successors_are_open(
    keep_warm: KeepWarm[FakeSpare], clock: Clock, idle_connections: FakeSpares
) -> None:
    look_for(keep_warm, clock, 1)
    first = set(map(id, idle_connections.kept))
    for _ in range(600):
        look_for(keep_warm, clock, 1)
        for spare in idle_connections.kept:
            spare.used_s = clock()

    assert idle_connections.did == ["open", "open", "open", "discard", "open", "discard"]
    assert not first & set(map(id, idle_connections.kept))


def test_what_a_burst_left_behind_is_closed(
    keep_warm: KeepWarm[FakeSpare], clock: Clock, idle_connections: FakeSpares
) -> None:
    """Connections that nobody tries go stale, and the next burst would find them first."""
    idle_connections.kept += [FakeSpare(clock(), clock()) for _ in range(10)]

    look_for(keep_warm, clock, 60)

    assert len(idle_connections.kept) == 2


def test_a_server_that_closes_idle_connections_sooner_is_met_by_trying_sooner(
    keep_warm: KeepWarm[FakeSpare], clock: Clock, idle_connections: FakeSpares
) -> None:
    idle_connections.closes_after_s = 5
    look_for(keep_warm, clock, 10)
    idle_connections.did.clear()

    for _ in range(300):
        look_for(keep_warm, clock, 1)
        assert any(spare.is_connected for spare in idle_connections.idle())

    assert set(idle_connections.did) == {"check"}


def test_a_connection_that_was_forgotten_on_the_way_takes_its_siblings_with_it(
    keep_warm: KeepWarm[FakeSpare], clock: Clock, idle_connections: FakeSpares
) -> None:
    """Nothing shows it but a timeout, and a login should not be the one to find out."""
    idle_connections.forgotten_after_s = 20
    look_for(keep_warm, clock, 31)
    assert idle_connections.did == ["open", "open", "check", "discard", "open", "open"]
    idle_connections.did.clear()

    look_for(keep_warm, clock, 100)

    assert set(idle_connections.did) == {"check"}


def test_what_was_learned_is_forgotten(
    keep_warm: KeepWarm[FakeSpare], clock: Clock, idle_connections: FakeSpares
) -> None:
    """It may have been a restart."""
    idle_connections.closes_after_s = 5
    look_for(keep_warm, clock, 10)
    idle_connections.closes_after_s = float("inf")
    look_for(keep_warm, clock, 600)
    idle_connections.did.clear()

    look_for(keep_warm, clock, 60)

    assert len(idle_connections.did) == 4


def test_a_server_that_is_down_is_left_alone_longer_and_longer(
    keep_warm: KeepWarm[FakeSpare], clock: Clock, idle_connections: FakeSpares, caplog: pytest.LogCaptureFixture
) -> None:
    idle_connections.is_up = False
    with caplog.at_level(logging.INFO, "velro_auth.upstream"):
        look_for(keep_warm, clock, 3600)
        assert 50 < len(idle_connections.did) < 70
        idle_connections.is_up = True
        look_for(keep_warm, clock, 60)

    assert len(idle_connections.kept) == 2
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_none_are_kept_when_none_are_wanted(clock: Clock, idle_connections: FakeSpares) -> None:
    keep_warm = KeepWarm(idle_connections, connections=0, clock=clock)

    keep_warm.start()
    keep_warm.stop()

    assert idle_connections.did == []


def test_ages_are_told(keep_warm: KeepWarm[FakeSpare], clock: Clock, idle_connections: FakeSpares) -> None:
    look_for(keep_warm, clock, 1)
    clock.now_s += 10
    idle_connections.kept[0].used_s = clock() - 4

    assert sorted((age.age_s, age.idle_s) for age in keep_warm.ages()) == [(10, 4), (10, 10)]


# -- with sockets -----------------------------------------------------------------------------------------------------

Ask = Callable[[], int]


@contextlib.contextmanager
def transport_to(url: str, trust: ssl.SSLContext | None = None) -> Iterator[Transport]:
    made = Transport(url, key="k" * 20, pool_size=4, connect_timeout_s=2, deadline_s=2, tls=trust)
    try:
        yield made
    finally:
        made.close()


def log_in(transport: Transport) -> int:
    return transport.send(transport.prepare("POST", "/auth/v1/token"), b"{}").status


def test_the_first_login_finds_an_open_connection(rude: Rude) -> None:
    rude.does(says(answer()))
    with transport_to(rude.url) as transport:
        keep_warm = KeepWarm(transport.idle_connections(), connections=2)
        keep_warm.look()
        assert (rude.connected, len(keep_warm.ages())) == (2, 2)

        assert log_in(transport) == 200

        assert rude.connected == 2
        assert rude.requests[0].startswith(b"GET /auth/v1/health HTTP/1.1\r\n")
        assert b"\r\napikey: kkkkkkkkkkkkkkkkkkkk\r\n" in rude.requests[0]


def test_logins_at_once_find_one_each(rude: Rude) -> None:
    together = threading.Barrier(3)

    def when_all_are_here(connection: socket.socket) -> None:
        together.wait(PATIENCE_S)
        connection.sendall(answer())

    with transport_to(rude.url) as transport:
        rude.does(says(answer()))
        KeepWarm(transport.idle_connections(), connections=3).look()
        rude.does(when_all_are_here)
        threads = [threading.Thread(target=log_in, args=(transport,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert rude.connected == 3


def test_a_server_that_closes_after_five_idle_seconds_is_still_met_warm_after_a_minute(
    tls_rude: Rude, authority: object
) -> None:
    """Everything ten times as fast: the server closes after half a second, the clock runs ten times as fast."""
    tls_rude.does(says_then_closes_after(0.5))
    trust = ssl.create_default_context(cafile=str(authority))
    clock = Fast(speed=10)
    with transport_to(tls_rude.url, trust) as transport:
        idle_connections = transport.idle_connections()
        keep_warm = KeepWarm(InFastTime(idle_connections, clock), connections=2, every_s=30, clock=clock)
        started_s = clock()
        while clock() - started_s < 60:
            keep_warm.look()
            time.sleep(0.05)
        connected = tls_rude.connected

        assert log_in(transport) == 200

        assert tls_rude.connected == connected
        # Two opened, both lost once and replaced, and hardly one more.
        assert connected <= 6


@dataclass
class Fast:
    """A clock that runs *speed* times as fast as the real one."""

    speed: float

    def __call__(self) -> float:
        return self.of(time.monotonic())

    def of(self, real_s: float) -> float:
        return real_s * self.speed


class FastSpare:
    def __init__(self, spare: object, clock: Fast) -> None:
        self.spare: object = spare
        self.opened_s = clock.of(spare.opened_s)  # type: ignore[attr-defined]
        self.used_s = clock.of(spare.used_s)  # type: ignore[attr-defined]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FastSpare) and other.spare is self.spare

    def __hash__(self) -> int:
        return id(self.spare)

    @property
    def is_connected(self) -> bool:
        return bool(self.spare.is_connected)  # type: ignore[attr-defined]


class InFastTime:
    """Real connections whose times are told in fast time."""

    def __init__(self, idle_connections: object, clock: Fast) -> None:
        self._idle_connections: object = idle_connections
        self._clock = clock

    def idle(self) -> tuple[FastSpare, ...]:
        return tuple(FastSpare(spare, self._clock) for spare in self._idle_connections.idle())  # type: ignore[attr-defined]

    def open(self) -> None:
        self._idle_connections.open()  # type: ignore[attr-defined]

    def check(self, connection: FastSpare) -> None:
        self._idle_connections.check(connection.spare)  # type: ignore[attr-defined]

    def discard(self, connection: FastSpare) -> None:
        self._idle_connections.discard(connection.spare)  # type: ignore[attr-defined]


def says_then_closes_after(idle_s: float) -> Behaviour:
    def behave(connection: socket.socket) -> None:
        connection.sendall(answer())
        if not select.select([connection], [], [], idle_s)[0]:
            connection.close()

    return behave


def test_a_connection_that_was_only_opened_ahead_is_replaced_when_it_dies_under_a_login(rude: Rude) -> None:
    """Therefore each is asked on once when it is opened."""
    rude.does(says(answer()), says_and_closes(b""), says(answer()))
    with transport_to(rude.url) as transport:
        KeepWarm(transport.idle_connections(), connections=1).look()

        assert log_in(transport) == 200


def test_a_restarted_server_is_met_on_new_connections(rude: Rude) -> None:
    rude.does(says(answer()))
    with transport_to(rude.url) as transport:
        keep_warm = KeepWarm(transport.idle_connections(), connections=2)
        keep_warm.look()
        rude.close_connections()
        eventually(lambda: not any(spare.is_connected for spare in transport.idle_connections().idle()))
        keep_warm.look()
        connected = rude.connected

        log_in(transport)

        assert (connected, rude.connected) == (4, 4)


@pytest.mark.parametrize(
    "behaviour",
    [
        says_and_closes(answer(headers=("Connection: close",))),
        says_and_closes(b""),
        says(answer(b"x" * 100_000)),
        says(b"nonsense\r\n\r\n"),
        hangs,
    ],
    ids=["closes", "says nothing", "says too much", "speaks no HTTP", "hangs"],
)
def test_a_server_that_leaves_nothing_to_keep_is_asked_once_and_then_rests(rude: Rude, behaviour: Behaviour) -> None:
    rude.does(behaviour)
    with transport_to(rude.url) as transport:
        keep_warm = KeepWarm(transport.idle_connections(), connections=2)
        for _ in range(5):
            keep_warm.look()

        assert (len(rude.requests), keep_warm.ages()) == (1, ())


def test_a_full_pool_takes_no_more(rude: Rude) -> None:
    rude.does(says(answer()))
    with transport_to(rude.url) as transport:
        idle_connections = transport.idle_connections()
        for _ in range(6):
            idle_connections.open()

        assert (rude.connected, len(idle_connections.idle())) == (4, 4)


def test_what_somebody_else_took_is_left_alone(rude: Rude) -> None:
    rude.does(says(answer()))
    with transport_to(rude.url) as transport:
        idle_connections = transport.idle_connections()
        idle_connections.open()
        (connection,) = idle_connections.idle()
        idle_connections.discard(connection)

        idle_connections.check(connection)
        idle_connections.discard(connection)

        assert (len(rude.requests), idle_connections.idle()) == (1, ())
        assert log_in(transport) == 200


def test_the_thread_starts_when_told_and_stops_when_told(rude: Rude) -> None:
    rude.does(says(answer()))
    with transport_to(rude.url) as transport:
        keep_warm = KeepWarm(transport.idle_connections(), connections=2)
        assert not any(thread.name == "warmth" for thread in threading.enumerate())
        keep_warm.start()
        keep_warm.start()
        eventually(lambda: len(keep_warm.ages()) == 2)
        assert [thread.name for thread in threading.enumerate()].count("warmth") == 1

        keep_warm.stop()

        assert not any(thread.name == "warmth" for thread in threading.enumerate())


def test_the_thread_survives_what_nobody_thought_of(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeSpares):
        def open(self) -> None:
            super().open()
            raise LookupError

    idle_connections = Broken(clock)
    keep_warm = KeepWarm(idle_connections, connections=1, clock=clock)
    keep_warm.start()
    eventually(lambda: bool(caplog.records))

    assert any(thread.name == "warmth" for thread in threading.enumerate())
    keep_warm.stop()
