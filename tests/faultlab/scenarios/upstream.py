"""Supabase hangs, drips, breaks, lies."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.faultlab.client import LOGIN, REFRESH
from tests.faultlab.garbling import KINDS, garbling
from tests.faultlab.lab import PASSWORD, Lab
from tests.faultlab.load import last_third, percentile, share, statuses
from tests.faultlab.registry import Guard, scenario

TOKEN = "/auth/v1/token"

#: The deadline of one call, and what the answer takes on top.
ENDS_S = 5.2
SECRET = "sb_secret_of_the_fault_lab_0123456789"


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
        time.sleep(max(9.0, 0.2 * lab.seconds))
        later = last_third(load, cleared_s)
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
        later = last_third(load, cleared_s)
    during = load.between(began_s, cleared_s)
    slow = [reply for reply in during if reply.status != 200]

    lab.fired("drip", drip.fired)
    lab.figure("answers during the fault", dict(statuses(during)))
    lab.within("slowest login", [reply.took_s for reply in slow], 100, ENDS_S)
    lab.check("all are 503", share(slow, 503) == 1.0, statuses(slow))
    lab.check("then all succeed", share(later, 200) == 1.0, statuses(later))
    lab.figure("login p50 afterwards", f"{percentile([reply.took_s for reply in later], 50) * 1000:.0f} ms")


@scenario(
    "S6",
    "Supabase's edge answers with a page of HTML, 502 and 503",
    notices="503 as JSON, at once while the circuit breaker is open",
    bound="every answer is a JSON 503, no byte of the page is passed on, the circuit breaker opens",
    guard=Guard(name="circuit breaker", patch="breaker"),
)
def pages_of_an_edge(lab: Lab) -> None:
    """An edge's 502 is an outage."""
    standin, redis = lab.standin(), lab.redis()
    gateway = lab.gateway(**lab.environment(standin, redis))
    with lab.logins(gateway, lab.accounts(standin, 60), rps=20) as load:
        lab.for_s(0.1)
        lab.settled()
        page = standin.faults.on("html", path=TOKEN, status=502)
        began_s = time.monotonic()
        time.sleep(max(7.0, 0.15 * lab.seconds))
        # First the other one on: in between there must be no good answer.
        other = standin.faults.on("html", path=TOKEN, status=503)
        standin.faults.off(page)
        time.sleep(max(4.0, 0.1 * lab.seconds))
        standin.faults.clear()
        cleared_s = time.monotonic()
        time.sleep(9.0)
        later = last_third(load, cleared_s)
    during = load.between(began_s, cleared_s)
    lab.fired("502 pages", page.fired)
    lab.fired("503 pages", other.fired)
    lab.figure("answers during the fault", dict(statuses(during)))
    lab.check("all are 503", share(during, 503) == 1.0, statuses(during))
    lab.check("no HTML is passed on", not any(b"<html" in reply.body for reply in during))
    lab.check("the breaker opened", any(reply.code == "resting" for reply in during), statuses(during))
    lab.check("then all succeed", share(later, 200) == 1.0, statuses(later))


@scenario(
    "S7",
    "Supabase's session is cut at every byte, or is another kind of JSON, or under another content type",
    notices="503 for that login; trying again works",
    bound="never 200 without both tokens, no 500; every offset of a session tried",
    guard=Guard(name="reading of sessions", patch="sessions"),
)
def garbled_sessions(lab: Lab) -> None:
    """What is wrong with an answer is in the address, so that many logins can be under way at once."""
    upstream = lab.ends.enter_context(garbling())
    gateway = lab.gateway(**lab.environment(), SUPABASE_URL=upstream.url, SUPABASE_SECRET_KEY=SECRET)
    whole = len(upstream.body_of("good-0@lab.example.com"))
    step = max(1, round(40 / lab.seconds))
    bad = [f"cut-{at}@lab.example.com" for at in range(0, whole, step)]
    bad += [f"{kind}-{number}@lab.example.com" for kind in KINDS for number in range(5)]
    lab.settled()
    numbers = {"good": 0, "bad": 0}
    failures: list[str] = []

    def ask(email: str) -> None:
        reply = gateway.client.ask("POST", LOGIN, {"email": email, "password": PASSWORD}, address=lab.address())
        told = reply.json if reply.status == 200 else {}
        numbers["bad" if reply.status != 200 else "good"] += 1
        is_right = (reply.status == 200) == email.startswith("good-")
        if reply.status == 200 and not (told.get("access_token") and told.get("refresh_token")):
            is_right = False
        if not is_right or reply.status not in {200, 502, 503}:
            failures.append(f"{email}: {reply.status} {reply.code}")

    # Two good ones for each bad one keep the circuit breaker closed, in one process.
    asked = [
        each
        for number, email in enumerate(bad)
        for each in (f"good-{2 * number}@lab.example.com", email, f"good-{2 * number + 1}@lab.example.com")
    ]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(ask, asked))
    lab.fired("garbled answers", upstream.garbled)
    lab.figure("garbled sessions", len(bad))
    lab.figure("bytes of a session", whole)
    lab.check("never 200 without a whole session", not failures, failures[:5])
    lab.check("each was answered by its own", upstream.garbled == len(bad), upstream.garbled)


@scenario(
    "S8",
    "Supabase answers 429, with every kind of Retry-After",
    notices="429 `upstream_throttled` with the seconds to wait; a refresh gets 503 and keeps its session",
    bound="Retry-After is 1 to 300 s, no call is repeated, the circuit breaker stays closed",
    guard=Guard(name="limits of Retry-After", patch="retry_after"),
)
def throttled_by_supabase(lab: Lab) -> None:
    """A date, a negative number, ten digits: clients believe what we say."""
    standin, redis = lab.standin(), lab.redis()
    gateway = lab.gateway(**lab.environment(standin, redis), AUTH_UPSTREAM_QUOTA="off")
    accounts = lab.accounts(standin, 30)
    session = lab.log_in(gateway, accounts[0], lab.address()).json
    lab.settled()
    values = (None, "7", "0", "-5", "1000000000", "Fri, 27 Nov 2026 10:00:00 GMT", "abc", "2.5", "9" * 40)
    fired = 0
    for value in values:
        options: dict[str, Any] = {} if value is None else {"retry_after": value}
        switch = standin.faults.on("throttled", path=TOKEN, **options)
        replies = [lab.log_in(gateway, account, lab.address()) for account in accounts]
        lab.check(f"{value}: 429", share(replies, 429) == 1.0, statuses(replies))
        waits = {reply.retry_after for reply in replies}
        lab.check(f"{value}: 1 to 300 s", all(w.isdigit() and 1 <= int(w) <= 300 for w in waits), waits)
        refresh = gateway.client.ask("POST", REFRESH, {"refresh_token": session["refresh_token"]})
        lab.check(f"{value}: a refresh keeps its session", refresh.status == 503, refresh.status)
        lab.check(f"{value}: nothing is repeated", switch.fired == len(accounts) + 1, switch.fired)
        fired += switch.fired
        standin.faults.clear()
        good = lab.log_in(gateway, accounts[0], lab.address())
        lab.check(f"{value}: the breaker is closed", good.status == 200, good.code)
    lab.fired("429", fired)
    lab.figure("kinds of Retry-After", len(values))


@scenario(
    "S9",
    "30 % of Supabase's answers are 500",
    notices="30 % of logins are 503; trying again works",
    bound="≤ 31 % of logins fail, at most 10 % more calls than logins, the circuit breaker stays closed",
    guard=Guard(name="circuit breaker's share of failures", patch="nervous_breaker"),
)
def brown_out(lab: Lab) -> None:
    """Half of the calls have to fail before all are refused."""
    standin, redis = lab.standin(), lab.redis()
    gateway = lab.gateway(**lab.environment(standin, redis))
    with lab.logins(gateway, lab.accounts(standin, 100), rps=30) as load:
        lab.for_s(0.1)
        lab.settled()
        standin.requests.clear()
        brown = standin.faults.on("failure", path=TOKEN, share=0.3)
        began_s = time.monotonic()
        time.sleep(max(10.0, 0.6 * lab.seconds))
        standin.faults.clear()
        ended_s = time.monotonic()
    during = load.between(began_s, ended_s)
    failed = 1 - share(during, 200)
    lab.fired("500", brown.fired)
    lab.figure("logins that failed", f"{failed:.1%}")
    lab.figure("calls per login", len(standin.requests.of(TOKEN)) / len(during))
    lab.check("≤ 31 % fail", failed <= 0.31, f"{failed:.3f} {statuses(during)}")
    lab.check("no storm of retries", len(standin.requests.of(TOKEN)) <= 1.1 * len(during) + 5)
    lab.check("the breaker stays closed", not any(r.code == "resting" for r in during), statuses(during))
