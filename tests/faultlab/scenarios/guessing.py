"""Somebody guesses passwords."""

from __future__ import annotations

import time

from tests.faultlab.client import Reply
from tests.faultlab.lab import Lab
from tests.faultlab.load import percentile, share, statuses
from tests.faultlab.registry import Guard, scenario

TOKEN = "/auth/v1/token"
#: What a login with a real hash takes, so that +20 % is more than noise.
HASH_S = 0.076
#: Guesses that one network has at once (guards.limits, ``network``), and one a 36 s.
NETWORK = 50

THROTTLE = Guard(name="throttle", settings={"AUTH_THROTTLE_SCALE": "100000"})


@scenario(
    "S10",
    "wrong passwords for many accounts from one address, 200 a second",
    notices="users elsewhere: nothing; users behind the same network: 429 until the guessing stops",
    bound="at most 50 guesses, and one each 36 s, reach Supabase; 95 % of the 429 take < 20 ms; other networks'"
    " logins ≥ 99 % good, p95 at most 20 % slower",
    guard=THROTTLE,
)
def one_address_guesses(lab: Lab) -> None:
    """The network's own limit stops it, before Supabase is asked."""
    standin, redis = lab.standin(), lab.redis()
    gateway = lab.gateway(**lab.environment(standin, redis))
    standin.faults.on("latency", path=TOKEN, seconds=HASH_S)
    accounts, attacker = lab.accounts(standin, 10), lab.address()

    def guess(number: int, due_s: float) -> Reply:
        return lab.guess(gateway, f"victim{number}@lab.example.com", attacker, due_s)

    with lab.logins(gateway, accounts, rps=10) as load:
        lab.for_s(0.2)
        lab.settled()
        standin.requests.clear()
        began_s = time.monotonic()
        with lab.load(guess, rps=200) as storm:
            lab.for_s(0.6)
        ended_s = time.monotonic()
    good = load.between(began_s, ended_s)
    refused = [reply for reply in storm.replies if reply.status == 429]
    reached = len(standin.requests.of(TOKEN)) - sum(reply.status == 200 for reply in good)

    lab.fired("guesses", len(storm.replies))
    lab.figure("guesses that reached Supabase", reached)
    lab.check("few reach Supabase", reached <= NETWORK + (ended_s - began_s) / 36 + 1, reached)
    lab.within("429, p95", [reply.took_s for reply in refused], 95, 0.020)
    lab.check("others log in", share(good, 200) >= 0.99, statuses(good))
    before_s = percentile([reply.took_s for reply in load.between(0, began_s)], 95)
    lab.within("logins of others, p95", [reply.took_s for reply in good], 95, 1.2 * before_s)
