"""Several replicas behind nginx: restarts, more and fewer of them, one with a wrong clock, one without Redis."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Self

from supabase_standin import Standin
from tests.faultlab.client import LOGOUT, VERIFY, Reply
from tests.faultlab.clock import Clock
from tests.faultlab.lab import Front, Gateway, Lab
from tests.faultlab.load import percentile, share, statuses
from tests.faultlab.proxies import TcpProxy
from tests.faultlab.registry import Guard, scenario
from tests.fixtures.redis import RedisServer
from tests.waiting import eventually

SHARED = Guard(name="logouts shared by Redis", settings={"REDIS_URL": ""})


@dataclass
class Fleet:
    """Replicas of two processes behind nginx."""

    lab: Lab
    standin: Standin
    redis: RedisServer
    replicas: list[Gateway] = field(default_factory=list)
    front: Front | None = None

    @classmethod
    def of(cls, lab: Lab, count: int, **changes: dict[str, str]) -> Fleet:
        """Start *count* replicas; changes of settings are given as ``r0={…}``."""
        fleet = cls(lab, lab.standin(), lab.redis())
        for number in range(count):
            fleet.add(**changes.get(f"r{number}", {}))
        fleet.front = lab.nginx([each.port for each in fleet.replicas])
        return fleet

    def add(self, **changes: str) -> Gateway:
        """Start one more replica, without sending requests to it yet."""
        replica = self.lab.gateway(**self.lab.environment(self.standin, self.redis) | changes)
        self.replicas.append(replica)
        return replica

    def remove(self, replica: Gateway) -> int:
        """Take a replica out, as a platform does: no new requests, then SIGTERM; return its exit status."""
        self.replicas.remove(replica)
        self.point()
        replica.expect_to_end()
        # nginx's old worker process finishes what it sent before.
        time.sleep(0.5)
        replica.signal(signal.SIGTERM)
        return replica.program.process.wait(60)

    def point(self) -> None:
        """Send requests to the present replicas."""
        assert self.front is not None
        self.front.point_to([each.port for each in self.replicas])


class Logouts:
    """Sessions that are begun, ended and asked about, each at another replica, until it is stopped."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.ended = self.late = self.lost = 0

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._stopped.set()
        self._thread.join()

    def _work(self) -> None:
        lab, fleet = self._fleet.lab, self._fleet
        while not self._stopped.wait(0.2):
            replicas = list(fleet.replicas)
            here = replicas[self.ended % len(replicas)]
            session = lab.log_in(here, lab.account(fleet.standin), lab.address())
            if session.status != 200:
                continue
            bearer = {"Authorization": f"Bearer {session.json['access_token']}"}
            if here.client.ask("POST", LOGOUT, {}, headers=bearer).status != 200:
                continue
            self.ended += 1
            if not self._is_known(replicas, bearer):
                # A logout waits a quarter of a second for the confirmations of all processes, and no longer.
                self.late += 1
                time.sleep(2.0 * lab.patience)
                self.lost += not self._is_known(replicas, bearer)

    @staticmethod
    def _is_known(replicas: list[Gateway], bearer: dict[str, str]) -> bool:
        asked = [each.client.ask("GET", VERIFY, headers=bearer).status for each in replicas for _ in range(2)]
        return 200 not in asked


def judged(lab: Lab, replies: list[Reply], logouts: Logouts, *, spared: int = 0) -> None:
    """Check what holds for every fleet: no failed login beyond those in flight, no lost logout."""
    failed = [reply for reply in replies if reply.status != 200]
    lab.figure("logins", len(replies))
    lab.figure("failed logins", dict(statuses(failed)))
    lab.figure("logouts", logouts.ended)
    lab.figure("logouts confirmed late", logouts.late)
    lab.check("no login fails", len(failed) <= spared, statuses(replies))
    lab.check("there were logouts", logouts.ended > 0)
    lab.check("no logout is lost", logouts.lost == 0, logouts.lost)


@scenario(
    "R1",
    "three replicas are restarted one after the other under load",
    notices="nothing",
    bound="0 failed logins, 0 lost logouts, every replica ends with status 0",
    guard=SHARED,
)
def rolling_restart(lab: Lab) -> None:
    """A new one first, then an old one goes."""
    fleet = Fleet.of(lab, 3)
    assert fleet.front is not None
    restarts, ended = 0, []
    with lab.logins(fleet.front, lab.accounts(fleet.standin, 60), rps=20) as load, Logouts(fleet) as logouts:
        lab.for_s(0.1)
        for old in list(fleet.replicas):
            fleet.add()
            fleet.point()
            ended.append(fleet.remove(old))
            restarts += 1
            lab.for_s(0.1)
    lab.fired("restarts", restarts)
    lab.check("each ends with status 0", ended == [0, 0, 0], ended)
    judged(lab, load.replies, logouts)


@scenario(
    "R2",
    "the fleet shrinks from three replicas to one and grows to four under load; one is killed (SIGKILL)",
    notices="logins that the killed replica was answering fail; nothing else",
    bound="0 failed logins beyond those in flight on the killed one, 0 lost logouts; a new replica answers all requests"
    " within 2 s",
    guard=SHARED,
)
def scaling(lab: Lab) -> None:
    """nginx tries the next replica where it could not connect."""
    fleet = Fleet.of(lab, 3)
    assert fleet.front is not None
    warm_s: list[float] = []
    with lab.logins(fleet.front, lab.accounts(fleet.standin, 60), rps=20) as load, Logouts(fleet) as logouts:
        lab.for_s(0.1)
        for _ in range(2):
            fleet.remove(fleet.replicas[0])
            lab.for_s(0.05)
        for _ in range(3):
            added = fleet.add()
            warm_s.append(full_traffic_s(lab, fleet, added))
            fleet.point()
            lab.for_s(0.05)
        victim = fleet.replicas.pop()
        victim.expect_to_end()
        for pid in victim.pids[::-1]:
            kill(pid)
        killed_s = time.monotonic()
        lab.for_s(0.1)
        fleet.point()
    lab.fired("replicas ended", 3)
    lab.fired("replicas started", 3)
    in_flight = sum(reply.status != 200 and abs(reply.at_s - killed_s) < 1.0 for reply in load.replies)
    lab.figure("in flight on the killed one", in_flight)
    lab.figure("full traffic after", f"{max(warm_s):.1f} s")
    lab.check("warm within 2 s", max(warm_s) <= 2.0 * lab.patience, warm_s)
    judged(lab, load.replies, logouts, spared=in_flight)


def kill(pid: int) -> None:
    """Kill a process."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def full_traffic_s(lab: Lab, fleet: Fleet, replica: Gateway) -> float:
    """Return after how long a replica that has just started answers a burst as a warm one does, in seconds."""
    accounts = lab.accounts(fleet.standin, 20)
    began_s = time.monotonic()
    with ThreadPoolExecutor(10) as pool:
        replies = list(pool.map(lambda account: lab.log_in(replica, account, lab.address()), accounts))
    lab.check("a new replica answers its first requests", share(replies, 200) == 1.0, statuses(replies))
    lab.figure("first 20 logins of a new replica, p95", f"{percentile([r.took_s for r in replies], 95) * 1000:.0f} ms")
    return time.monotonic() - began_s


@scenario(
    "R3",
    "the clock of one of three replicas is 30 s ahead, then 30 s behind",
    notices="nothing",
    bound="0 failed logins, 0 tokens refused, 0 lost logouts",
    guard=Guard(name="leeway of 30 s", patch="no_leeway"),
)
def one_clock_is_off(lab: Lab) -> None:
    """Only processes of the lab follow the file; the service knows nothing of it."""
    clock = Clock(lab.folder / "clock")
    fleet = Fleet.of(lab, 3, r1={"FAULTLAB_CLOCK": str(clock.path)})
    assert fleet.front is not None
    checks: list[Reply] = []
    moves = 0
    with lab.logins(fleet.front, lab.accounts(fleet.standin, 60), rps=20) as load, Logouts(fleet) as logouts:
        for ahead_s in (30.0, -30.0):
            clock.set(ahead_s)
            moves += 1
            ends_s = time.monotonic() + 0.3 * lab.seconds
            while time.monotonic() < ends_s:
                fresh = [reply for reply in load.replies[-5:] if reply.status == 200]
                tokens = [reply.json["access_token"] for reply in fresh]
                for token in tokens:
                    bearer = {"Authorization": f"Bearer {token}"}
                    checks += [each.client.ask("GET", VERIFY, headers=bearer) for each in fleet.replicas]
                time.sleep(0.2)
    lab.fired("moves of a clock", moves)
    lab.figure("token checks", len(checks))
    lab.check("no token is refused", share(checks, 200) == 1.0, statuses(checks))
    judged(lab, load.replies, logouts)


@scenario(
    "R4",
    "one of three replicas cannot reach Redis",
    notices="nothing; a logout may be unknown to that replica until it reaches Redis",
    bound="0 failed logins; logouts at the other two are refused there at once, at all three once Redis is reached;"
    " guesses at most the limit and the replica's share",
    guard=Guard(name="share of the limits without Redis", patch="whole_share"),
)
def one_without_redis(lab: Lab) -> None:
    """Its way to Redis is cut; the others keep theirs."""
    standin, redis = lab.standin(), lab.redis()
    proxy = TcpProxy(str(redis.socket))
    lab.ends.callback(proxy.close)
    fleet = Fleet(lab, standin, redis)
    fleet.add()
    fleet.add()
    cut_off = fleet.add(REDIS_URL=f"redis://127.0.0.1:{proxy.port}")
    fleet.front = lab.nginx([each.port for each in fleet.replicas])
    with lab.logins(fleet.front, lab.accounts(standin, 60), rps=20) as load:
        # All replicas have told the store that they are there.
        time.sleep(max(3.0, 0.1 * lab.seconds))
        proxy.target = str(lab.folder / "nowhere")
        cut = proxy.reset()
        connected = Fleet(lab, standin, redis, [each for each in fleet.replicas if each is not cut_off], fleet.front)
        with Logouts(connected) as logouts:
            lab.for_s(0.3)
        victim = lab.account(standin)
        guesses = [lab.guess(fleet.front, victim.email, lab.address()) for _ in range(60)]
        session = lab.log_in(fleet.replicas[0], lab.account(standin), lab.address()).json
        bearer = {"Authorization": f"Bearer {session['access_token']}"}
        fleet.replicas[0].client.ask("POST", LOGOUT, {}, headers=bearer)
        proxy.target = str(redis.socket)
        eventually(
            lambda: all(cut_off.client.ask("GET", VERIFY, headers=bearer).status == 401 for _ in range(6)),
            within_s=40 * lab.patience,
        )
    answered = sum(reply.status == 401 for reply in guesses)
    lab.fired("cut connections", cut)
    lab.figure("guesses answered", answered)
    # Ten for all that share Redis, and for each process without it a sixth of ten, rounded up.
    lab.check("guesses are bounded", answered <= 10 + 2 * 2, (answered, statuses(guesses)))
    judged(lab, load.replies, logouts)
