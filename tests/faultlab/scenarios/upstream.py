"""Supabase hangs, drips, breaks, lies."""

from __future__ import annotations

import time

from tests.faultlab.lab import Lab
from tests.faultlab.load import percentile, share, statuses
from tests.faultlab.registry import Guard, scenario

TOKEN = "/auth/v1/token"

#: The deadline of one call, and what the answer takes on top.
ENDS_S = 5.2


@scenario(
    "S1",
    "Supabase accepts logins and never answers",
    notices="503 with `Retry-After`, after 5 s at first, then at once; logins work again within 5 s after the fault",
    bound="every login ends within 5.2 s; while the circuit breaker is open 95 % of refusals take < 50 ms;"
    " first success ≤ 5 s after the fault",
    guard=Guard(name="circuit breaker", patch="breaker"),
)
def upstream_hangs(lab: Lab) -> None:
    """20 a second over two processes: each needs 20 calls in ten seconds to judge."""
    standin, redis = lab.standin(), lab.redis()
    gateway = lab.gateway(**lab.environment(standin, redis))
    with lab.logins(gateway, lab.accounts(standin, 100), rps=20) as load:
        lab.for_s(0.1)
        lab.settled()
        hang = standin.faults.on("hang", path=TOKEN)
        began_s = time.monotonic()
        time.sleep(max(18.0, 0.4 * lab.seconds))
        standin.faults.off(hang)
        cleared_s = time.monotonic()
        time.sleep(max(8.0, 0.2 * lab.seconds))
    during = load.between(began_s, cleared_s)
    resting = [reply for reply in during if reply.code == "resting"]
    first = min((r.at_s + r.took_s for r in load.replies if r.at_s > began_s and r.status == 200), default=1e9)

    lab.fired("hang", hang.fired)
    lab.figure("answers during the fault", dict(statuses(during)))
    lab.within("slowest login", [reply.took_s for reply in during], 100, ENDS_S)
    lab.check("all are 503", share(during, 503) == 1.0, statuses(during))
    lab.check("the breaker opened", resting, statuses(during))
    lab.within("refusals while it rests, p95", [reply.took_s for reply in resting], 95, 0.05)
    lab.figure("first success after the fault", f"{first - cleared_s:.1f} s")
    lab.check("a login succeeds within 5 s after it", first - cleared_s <= 5.0 * lab.patience, first - cleared_s)
    later = load.between(cleared_s + 6 * lab.patience, time.monotonic())
    lab.check("then all succeed", share(later, 200) == 1.0, statuses(later))


@scenario(
    "S2",
    "Supabase sends one byte a second",
    notices="503 after 5 s",
    bound="every login ends within 5.2 s: the deadline is for the whole answer; all threads are free afterwards",
    guard=Guard(name="deadline of the whole answer", settings={"UPSTREAM_DEADLINE_S": "60"}),
)
def upstream_drips(lab: Lab) -> None:
    """The deadline must not start anew with each byte."""
    standin, redis = lab.standin(), lab.redis()
    gateway = lab.gateway(**lab.environment(standin, redis))
    accounts = lab.accounts(standin, 60)
    with lab.logins(gateway, accounts, rps=10) as load:
        lab.for_s(0.1)
        lab.settled()
        drip = standin.faults.on("trickle", path=TOKEN, interval_s=1.0)
        began_s = time.monotonic()
        time.sleep(max(7.0, 0.2 * lab.seconds))
        standin.faults.clear()
        cleared_s = time.monotonic()
        time.sleep(max(9.0, 0.2 * lab.seconds))
    during = load.between(began_s, cleared_s)
    slow = [reply for reply in during if reply.status != 200]
    later = load.between(cleared_s + 7 * lab.patience, time.monotonic())

    lab.fired("drip", drip.fired)
    lab.figure("answers during the fault", dict(statuses(during)))
    lab.within("slowest login", [reply.took_s for reply in slow], 100, ENDS_S)
    lab.check("all are 503", share(slow, 503) == 1.0, statuses(slow))
    lab.check("then all succeed", share(later, 200) == 1.0, statuses(later))
    lab.figure("login p50 afterwards", f"{percentile([reply.took_s for reply in later], 50) * 1000:.0f} ms")
