"""Redis is away, slow, full, or holds nonsense."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.faultlab.client import Reply
from tests.faultlab.lab import Lab
from tests.faultlab.load import percentile, share, statuses
from tests.faultlab.proxies import TcpProxy
from tests.faultlab.registry import Guard, scenario
from tests.fixtures.redis import RedisServer
from tests.fixtures.redis_cluster import PRIMARIES, ClusterGroup

FREE = 10
#: To a Redis that is away, a second: the deny-list, the probes and the count of processes of two processes.
MOST_CONNECTIONS = 20
#: Logins that may wait for a cluster while it fails over.
MOST_LATE = 10


@scenario(
    "S19",
    "Redis is killed, flaps, hangs, answers 2 s late, is full, holds values of the wrong type",
    notices="nothing; one login in a while takes half a second longer",
    bound="≥ 99 % of logins good; 90 % at most 20 ms slower, none more than 0.7 s; at most twice the guesses",
    guard=Guard(name="pause after a failure of Redis", patch="no_backoff"),
)
def redis_in_trouble(lab: Lab) -> None:
    """One request in a pause asks Redis and waits for its half second; the others count alone."""
    standin, redis = lab.standin(), lab.redis()
    proxy = TcpProxy(str(redis.socket))
    lab.ends.callback(proxy.close)
    gateway = lab.gateway(**lab.environment(standin, f"redis://127.0.0.1:{proxy.port}"))
    troubles = 0
    worst: dict[str, int] = {}
    asked: dict[str, float] = {}
    with lab.logins(gateway, lab.accounts(standin, 100), rps=25) as load:
        lab.settled()
        warm_s = time.monotonic()
        time.sleep(max(3.0, 0.1 * lab.seconds))
        began_s = time.monotonic()
        for name, begin, end in _troubles(redis, proxy):
            begin()
            troubles += 1
            connected, trouble_s = proxy.connected, time.monotonic()
            victim = lab.account(standin)
            guesses = [lab.guess(gateway, victim.email, lab.address()) for _ in range(FREE + 4)]
            time.sleep(max(2.5, 0.13 * lab.seconds))
            asked[name] = (proxy.connected - connected) / (time.monotonic() - trouble_s)
            end()
            guesses += [lab.guess(gateway, victim.email, lab.address()) for _ in range(FREE + 4)]
            worst[name] = sum(reply.status == 401 for reply in guesses)
            lab.check(f"{name}: guesses get 401 or 429", share(guesses, 401, 429) == 1.0, statuses(guesses))
        ended_s = time.monotonic()
    before, during = load.between(warm_s, began_s), load.between(began_s, ended_s)
    lab.fired("troubles", troubles)
    lab.figure("guesses answered", worst)
    # Two processes look for it in the background; a login would ask twice.
    lab.figure("connections to a killed Redis, a second", asked["killed"])
    lab.check("a Redis that is away is left alone", asked["killed"] <= MOST_CONNECTIONS, asked)
    lab.check("at most twice the guesses", max(worst.values()) <= 2 * FREE, worst)
    lab.check("logins go on", share(during, 200) >= 0.99, statuses(during))
    usual_s = percentile([reply.took_s for reply in before], 95)
    took_s = [reply.took_s for reply in during]
    lab.within("logins meanwhile, p90", took_s, 90, usual_s + 0.02)
    lab.within("slowest login meanwhile", took_s, 99.9, usual_s + 0.7)


def _troubles(redis: RedisServer, proxy: TcpProxy) -> list[tuple[str, Callable[[], object], Callable[[], object]]]:
    def nonsense() -> None:
        with redis.client() as client:
            for key in client.keys("*"):
                client.delete(key)
                client.set(key, "nonsense")

    def set_memory(value: str) -> None:
        with redis.client() as client:
            client.config_set("maxmemory", value)

    def slow() -> None:
        proxy.delay_s = 2.0

    def quick() -> None:
        proxy.delay_s = 0.0
        proxy.reset()

    def flap() -> None:
        for _ in range(3):
            redis.kill()
            time.sleep(0.3)
            redis.start()
            time.sleep(0.3)

    def nothing() -> None:
        """Nonsense is overwritten."""

    return [
        ("wrong types", nonsense, nothing),
        ("full", lambda: set_memory("1"), lambda: set_memory("0")),
        ("hangs", redis.pause, redis.resume),
        ("slow", slow, quick),
        ("killed", redis.kill, redis.start),
        ("flaps", flap, nothing),
    ]


@scenario(
    "S35",
    "a primary of a Redis Cluster is killed (SIGKILL) and its replica takes over, under 50 logins a second",
    notices="nothing; logins of one second take up to half a second longer",
    bound="0 failed logins; at most 10 logins of more than 50 ms beyond the usual, within 1 s; guesses at most the"
    " limit and the share of the processes",
    guard=Guard(name="pause after a failure of Redis", patch="no_backoff"),
)
def cluster_fails_over(lab: Lab) -> None:
    """Three primaries with a replica each; a node counts as lost after a second."""
    # In a process of its own: in the lab's, single logins are 50 ms late without any fault.
    standin = lab.standin_process()
    folder = lab.folder / "cluster"
    folder.mkdir()
    cluster = ClusterGroup(folder, replicas=1, node_timeout_ms=1000)
    lab.ends.callback(cluster.kill)
    cluster.start()
    gateway = lab.gateway(**lab.environment(standin, cluster.url))
    accounts = lab.accounts(standin, 150)
    guesses: list[Reply] = []
    # Without bursts: where 13 logins happen to come within a tenth of a second, they are 50 ms late without any fault.
    with lab.logins(gateway, accounts, rps=50, bursts=False) as load:
        lab.settled()
        warm_s = time.monotonic()
        time.sleep(max(4.0, 0.1 * lab.seconds))
        victim = lab.account(standin)
        guesses += [lab.guess(gateway, victim.email, lab.address()) for _ in range(FREE + 2)]
        killed_s = time.monotonic()
        next(node for node in cluster.nodes if node.role() == "master").kill()
        time.sleep(max(8.0, 0.4 * lab.seconds))
        ended_s = time.monotonic()
        guesses += [lab.guess(gateway, victim.email, lab.address()) for _ in range(FREE + 2)]
    before, during = load.between(warm_s, killed_s), load.between(killed_s, ended_s)
    usual_s = percentile([reply.took_s for reply in before], 95)
    late = [reply for reply in during if reply.took_s > usual_s + 0.05 * lab.patience]
    times_s = [reply.at_s for reply in late] or [0.0]
    window_s = max(times_s) - min(times_s)
    answered = sum(reply.status == 401 for reply in guesses)
    lab.fired("failovers", sum(node.role() == "master" for node in cluster.nodes) == PRIMARIES)
    lab.figure("logins", len(load.replies))
    lab.figure("late logins", len(late))
    lab.figure("they lie within", f"{window_s:.1f} s")
    lab.figure("guesses answered", answered)
    lab.check("no login fails", share(load.replies, 200) == 1.0, statuses(load.replies))
    lab.check("late ones lie within a second", window_s <= 1.0 * lab.patience, window_s)
    # Each process asks once in a pause, beside what was under way: 0 to 4 in all. Without the pause 32 wait, or more.
    lab.check("few are late", len(late) <= MOST_LATE * lab.patience, len(late))
    # Each of the two processes has half of the limit while it counts alone.
    lab.check("guesses are bounded", answered <= 2 * FREE, answered)
