"""Somebody guesses passwords."""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

from tests.faultlab.client import Reply
from tests.faultlab.lab import Account, Lab
from tests.faultlab.load import Turns, percentile, share, statuses
from tests.faultlab.registry import Guard, scenario
from tests.faultlab.storm import storming
from velro_auth.ops.cli.timing_test import LIFTED
from velro_auth.ops.enumeration import ROUTES, Target, gather
from velro_auth.ops.timing_comparison import compare

TOKEN = "/auth/v1/token"
#: What a login with a real hash takes, so that +20 % is more than noise.
HASH_S = 0.076
#: Guesses that one network has at once (guards.limits, ``network``), and one a 36 s.
NETWORK = 50
#: Guesses at one account that strangers have before the first wait (``strangers.free``).
FREE = 10
LOGIN_KINDS = ("unknown", "wrong", "banned")

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
    # Both in processes of their own: the time that logins take is compared, and the storm would take some of it.
    standin, redis = lab.standin_process(), lab.redis()
    gateway = lab.gateway(**lab.environment(standin, redis))
    standin.be_late(TOKEN, HASH_S)
    accounts, attacker = lab.accounts(standin, 10), lab.address()

    storm = lab.ends.enter_context(storming(gateway.port, address=attacker, rps=200, seed=lab.random.getrandbits(32)))
    with lab.logins(gateway, accounts, rps=20) as load:
        lab.settled()
        reached_before, began_s, turns = standin.answered_late(), time.monotonic(), Turns(load)
        for _ in range(5):
            time.sleep(max(2.5, 0.07 * lab.seconds))
            with turns.fault(), storm.guesses():
                lab.for_s(0.1)
        time.sleep(max(2.5, 0.07 * lab.seconds))
        ended_s = time.monotonic()
    # After the load has ended: what hangs counts too.
    good, usual = turns.during(), turns.usual()
    refused = [reply for reply in storm.replies if reply.status == 429]
    logins = sum(reply.status == 200 for reply in load.replies if reply.at_s >= began_s)
    reached = standin.answered_late() - reached_before - logins

    lab.fired("guesses", len(storm.replies))
    lab.check("every guess has an answer", all(reply.status for reply in storm.replies), statuses(storm.replies))
    lab.figure("guesses that reached Supabase", reached)
    lab.check("few reach Supabase", 0 < reached <= NETWORK + (ended_s - began_s) / 36 + 1, reached)
    lab.within("429, p95", [reply.took_s for reply in refused], 95, 0.020)
    lab.check("others log in", share(good, 200) >= 0.99, statuses(good))
    usual_s = percentile([reply.took_s for reply in usual], 95)
    lab.within("logins of others, p95", [reply.took_s for reply in good], 95, 1.2 * usual_s)
    lab.check("no damage lasts", not turns.has_lasting_damage())


@scenario(
    "S11",
    "wrong passwords for one account from 2,000 networks",
    notices="the owner: nothing at home; from a new network 429 with the seconds to wait",
    bound="at most 16 guesses an hour reach Supabase; the owner logs in from a known network all the time; no wait is"
    " longer than an hour",
    guard=THROTTLE,
)
def many_addresses_one_account(lab: Lab) -> None:
    """A botnet with one victim."""
    standin, redis = lab.standin(), lab.redis()
    gateway = lab.gateway(**lab.environment(standin, redis))
    owner, home = lab.account(standin), lab.address()
    networks = [lab.address() for _ in range(2000)]
    lab.check("the owner was at home before", lab.log_in(gateway, owner, home).status == 200)
    lab.settled()
    standin.requests.clear()

    def guess(number: int, due_s: float) -> Reply:
        return lab.guess(gateway, owner.email, networks[number % len(networks)], due_s)

    owners: list[Reply] = []
    with lab.load(guess, rps=200) as storm:
        ends_s = time.monotonic() + 0.7 * lab.seconds
        while time.monotonic() < ends_s:
            owners.append(lab.log_in(gateway, owner, home))
            time.sleep(0.5)
    reached = len(standin.requests.of(TOKEN)) - len(owners)
    abroad = lab.log_in(gateway, owner, lab.address())

    lab.fired("guesses", len(storm.replies))
    lab.figure("guesses that reached Supabase", reached)
    lab.check("at most 16 an hour, and one a success of the owner's", reached <= 16 + 3, reached)
    lab.check("the owner always logs in at home", share(owners, 200) == 1.0, statuses(owners))
    lab.figure("wait of the owner abroad", f"{abroad.retry_after} s")
    lab.check(
        "no lock lasts", abroad.status == 429 and int(abroad.retry_after) <= 3600, (abroad.status, abroad.retry_after)
    )


@scenario(
    "S12",
    "one password tried at thousands of accounts from 2,000 networks, 200 a second",
    notices="users at home: nothing; from a new network perhaps a proof of work",
    bound="at most 300 guesses, and one a second, reach Supabase; the rule VelroAuthGuessing is met within 30 s; real"
    " logins ≥ 95 % good",
    guard=THROTTLE,
)
def spray(lab: Lab) -> None:
    """No account and no network fails often: only the service as a whole sees it."""
    standin, redis = lab.standin(), lab.redis()
    gateway = lab.gateway(**lab.environment(standin, redis))
    accounts = lab.accounts(standin, 20)
    homes = [lab.address() for _ in accounts]
    networks = [lab.address() for _ in range(2000)]
    for account, home in zip(accounts, homes, strict=True):
        lab.check("everybody was at home before", lab.log_in(gateway, account, home).status == 200)

    def log_in(number: int, due_s: float) -> Reply:
        which = number % len(accounts)
        return lab.log_in(gateway, accounts[which], homes[which], due_s)

    def guess(number: int, due_s: float) -> Reply:
        return lab.guess(gateway, f"sprayed{number}@lab.example.com", networks[number % len(networks)], due_s)

    lab.settled()
    standin.requests.clear()
    began_s = time.monotonic()
    noticed_s = 0.0
    with lab.load(log_in, rps=10) as load, lab.load(guess, rps=200) as storm:
        while time.monotonic() < began_s + max(20.0, 0.7 * lab.seconds):
            time.sleep(0.5)
            took_s = time.monotonic() - began_s
            if not noticed_s and gateway.metric("velro_auth_throttle_refusals_total") > 300:
                noticed_s = took_s
    lasted_s = time.monotonic() - began_s
    reached = len(standin.requests.of(TOKEN)) - sum(reply.status == 200 for reply in load.replies)

    lab.fired("guesses", len(storm.replies))
    lab.figure("guesses that reached Supabase", reached)
    lab.figure("300 refusals in the metric after", f"{noticed_s:.0f} s")
    lab.check("few reach Supabase", reached <= 300 + lasted_s + 1, (reached, statuses(storm.replies)))
    lab.check("the alert's rate is reached within 30 s", 0 < noticed_s <= 30 * lab.patience, noticed_s)
    lab.check("real logins go on", share(load.replies, 200) >= 0.95, statuses(load.replies))


@scenario(
    "S13",
    "500 wrong passwords for one account at the same moment, over two replicas of two processes",
    notices="nothing",
    bound="exactly 10 reach Supabase, each time",
    guard=Guard(name="counters shared by Redis", settings={"REDIS_URL": ""}),
)
def race(lab: Lab) -> None:
    """Counted before Supabase is asked, in one atomic step."""
    standin, redis = lab.standin(), lab.redis()
    environment = lab.environment(standin, redis) | {"AUTH_FAILURE_FLOOR_MS": "0", "LOGIN_QUEUE_S": "5"}
    replicas = [lab.gateway(**environment), lab.gateway(**environment)]
    times = max(2, min(20, int(lab.seconds / 2)))
    guesses = 0
    for number in range(times):
        account = lab.account(standin)
        standin.requests.clear()
        start = threading.Barrier(100)

        def some(each: int, account: Account = account, start: threading.Barrier = start) -> list[int]:
            addresses = [lab.address() for _ in range(5)]
            start.wait()
            return [
                lab.guess(replicas[(each + nth) % 2], account.email, address).status
                for nth, address in enumerate(addresses)
            ]

        with ThreadPoolExecutor(100) as pool:
            seen = Counter(status for told in pool.map(some, range(100)) for status in told)
        guesses += sum(seen.values())
        reached = len(standin.requests.of(TOKEN))
        lab.check("exactly 10 reach Supabase", reached == FREE, (reached, seen))
        if not number:
            # The first one grows pools and buffers to the size of a race.
            lab.settled()
    lab.fired("guesses", guesses)
    lab.figure("races", times)


@scenario(
    "S14",
    "a storm of refusals: wrong passwords, 400, 401, 403, 422, 429, in random order",
    notices="nothing: refusals are not outages",
    bound="the circuit breaker stays closed in 10,000 random sequences and in a storm of 100 a second; real logins"
    " ≥ 99 % good",
    guard=Guard(name="only outages count as failures", patch="refusals_are_failures"),
)
def storm_of_refusals(lab: Lab) -> None:
    """The sequences run against the circuit breaker itself, the storm against the whole."""
    standin, redis = lab.standin(), lab.redis()
    # The throttle would stop the storm before Supabase, and Supabase's 429 would bring the copy of its limit in force.
    open_limits = {"AUTH_THROTTLE_SCALE": "100000", "AUTH_UPSTREAM_QUOTA": "off", "AUTH_FAILURE_FLOOR_MS": "0"}
    gateway = lab.gateway(**lab.environment(standin, redis) | open_limits)
    kinds = ((400, "invalid_credentials"), (403, "user_banned"), (422, "validation_failed"), (400, "bad_json"))
    networks = [lab.address() for _ in range(200)]

    def guess(number: int, due_s: float) -> Reply:
        return lab.guess(gateway, f"stormed{number}@lab.example.com", networks[number % 200], due_s)

    lab.settled()
    fired = 0
    good: list[Reply] = []
    accounts = lab.accounts(standin, 10)
    with lab.load(guess, rps=100) as storm:
        for status, code in (*kinds, (429, "over_request_rate_limit"), (401, "")):
            switch = standin.faults.on("failure", path=TOKEN, status=status, code=code)
            lab.for_s(0.07)
            standin.faults.clear()
            fired += switch.fired
            good += [lab.log_in(gateway, account, lab.address()) for account in accounts]
    lab.fired("refusals", fired)
    lab.figure("refusals of Supabase", fired)
    told = statuses(storm.replies)
    lab.check("the breaker stays closed", not any(reply.code == "resting" for reply in storm.replies), told)
    lab.check("real logins go on", share(good, 200) >= 0.99, statuses(good))
    opened = sequences(lab)
    lab.check("no sequence opens the breaker", opened == 0, opened)


def sequences(lab: Lab) -> int:
    """Return how many of 10,000 random sequences of refusals open a circuit breaker."""
    from tests.faultlab import guards_off  # noqa: PLC0415
    from velro_auth import errors  # noqa: PLC0415
    from velro_auth.guards.asking import CircuitBreaker  # noqa: PLC0415

    breaker_class: type[CircuitBreaker] = CircuitBreaker
    if lab.guard is not None:
        breaker_class = guards_off.breaker_that_counts_refusals()
    kinds = (errors.InvalidCredentials, errors.UpstreamThrottled, errors.SessionExpired, errors.TokenInvalid)
    opened, count = 0, 10_000
    for _ in range(count):
        times = itertools.accumulate(iter(lab.random.random, 2.0))
        breaker = breaker_class(clock=functools.partial(next, times))
        for _ in range(lab.random.randint(20, 40)):
            with contextlib.suppress(errors.VelroAuthError), breaker.attempt():
                raise lab.random.choice(kinds)("refused")
        opened += breaker.state != "closed"
    lab.figure("random sequences", count)
    return opened


@scenario(
    "S15",
    "somebody compares answers and times to find out who has an account",
    notices="refused logins take 350 ms, or a multiple of it",
    bound="status, headers and body are equal; the times differ by no more than chance (AUC, Kolmogorov-Smirnov)",
    guard=Guard(name="failure delay", settings={"AUTH_FAILURE_FLOOR_MS": "0"}),
)
def enumeration(lab: Lab) -> None:
    """Supabase takes 75 ms longer where there is a password to hash; the test is that of ``velro-auth prove``."""
    standin = lab.standin(bcrypt_cost=10)
    known, banned = lab.account(standin), lab.account(standin, banned=True)
    gateway = lab.gateway(**lab.environment(standin) | LIFTED)
    lab.settled()
    target = Target(f"{gateway.url}/api/v1/auth", ROUTES["login"])
    rounds = max(60, min(1000, int(8 * lab.seconds)))
    standin.requests.clear()
    found = gather(target, {"wrong": known.email, "banned": banned.email}, rounds=rounds, parallel=4)
    lab.fired("requests that reached Supabase", len(standin.requests.of(TOKEN)))
    lab.figure("samples of each kind", rounds)
    for what in ("status", "headers", "body"):
        values = {kind: {getattr(each, what) for each in found if each.kind == kind} for kind in LOGIN_KINDS}
        alike = len({frozenset(each) for each in values.values()}) == 1
        lab.check(f"{what} is equal", alike, {kind: len(each) for kind, each in values.items()})
    for first, second in combinations(LOGIN_KINDS, 2):
        times = [[each.took_s for each in found if each.kind == kind] for kind in (first, second)]
        told = compare(*times)
        lab.figure(f"{first}/{second}", f"AUC {told.auc:.3f}, KS {told.distance:.3f}")
        # Twice what is chance in one of eight tests: a real difference is far beyond.
        apart = abs(told.auc - 0.5) > 2 * told.auc_margin or told.distance > 2 * told.most_distance
        lab.check(f"{first} and {second} take equally long", not apart, told)
