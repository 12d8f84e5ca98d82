"""Redis is away, slow, full, or holds nonsense."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.faultlab.lab import Lab
from tests.faultlab.load import percentile, share, statuses
from tests.faultlab.proxies import TcpProxy
from tests.faultlab.registry import Guard, scenario
from tests.fixtures.redis import RedisServer

FREE = 10


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
    with lab.logins(gateway, lab.accounts(standin, 100), rps=25) as load:
        time.sleep(max(3.0, 0.1 * lab.seconds))
        lab.settled()
        began_s = time.monotonic()
        for name, begin, end in _troubles(redis, proxy):
            begin()
            troubles += 1
            victim = lab.account(standin)
            guesses = [lab.guess(gateway, victim.email, lab.address()) for _ in range(FREE + 4)]
            time.sleep(max(2.5, 0.13 * lab.seconds))
            end()
            guesses += [lab.guess(gateway, victim.email, lab.address()) for _ in range(FREE + 4)]
            worst[name] = sum(reply.status == 401 for reply in guesses)
            lab.check(f"{name}: guesses get 401 or 429", share(guesses, 401, 429) == 1.0, statuses(guesses))
        ended_s = time.monotonic()
    before, during = load.between(0, began_s), load.between(began_s, ended_s)
    lab.fired("troubles", troubles)
    lab.figure("guesses answered", worst)
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
