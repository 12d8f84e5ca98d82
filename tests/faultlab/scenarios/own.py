"""Faults of the parts that came later: cookies, mails, Supabase's own clients, chains of proxies, settings."""

from __future__ import annotations

import contextlib
import functools
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import requests

from supabase_standin import Standin
from tests.faultlab import raw
from tests.faultlab.client import LOGIN, LOGOUT, ME, VERIFY, Client, Reply
from tests.faultlab.lab import WRONG, Account, Gateway, Lab
from tests.faultlab.load import share, statuses
from tests.faultlab.registry import Guard, scenario
from tests.faultlab.scenarios.guessing import THROTTLE
from tests.waiting import eventually

TOKEN = "/auth/v1/token"
FORGOT = "/api/v1/auth/password/forgot"
APP = "https://app.lab.example.com"
SAME = {"Sec-Fetch-Site": "same-origin"}
COOKIES = {"AUTH_COOKIE_SESSIONS": "1", "AUTH_PUBLIC_URL": "http://localhost:8000"}


def cookie_of(reply: Reply) -> str:
    """Return the cookies that an answer sets, as a browser sends them."""
    lines = reply.headers.get("set-cookie", "").split("\n")
    return "; ".join(line.partition(";")[0] for line in lines if line)


def cookie_login(gateway: Gateway, account: Account, address: str) -> str:
    """Log in as a browser does."""
    return cookie_of(gateway.client.ask("POST", LOGIN, account.body, headers=SAME, address=address))


def refreshes(standin: Standin) -> int:
    """Return how many refreshes Supabase was asked for."""
    return sum(request.query == "grant_type=refresh_token" for request in standin.requests)


@scenario(
    "S33",
    "50 page loads at once with a cookie whose session must be refreshed, over two replicas of two processes",
    notices="nothing",
    bound="all 200, one refresh at Supabase each time, every cookie that was handed out works",
    guard=Guard(name="refreshes shared by Redis", settings={"REDIS_URL": ""}),
)
def cookie_storm(lab: Lab) -> None:
    """Supabase takes a second use of a refresh token for theft."""
    standin, redis = lab.standin(jwt_lifetime_s=50), lab.redis()
    settings = lab.environment(standin, redis) | COOKIES
    replicas = [lab.gateway(**settings), lab.gateway(**settings)]
    for each in replicas:
        # The first `me` of each process imports the client of the data API.
        cookie = cookie_login(each, lab.account(standin), lab.address())
        with ThreadPoolExecutor(20) as pool:
            ask = functools.partial(each.client.ask, "GET", ME, headers={**SAME, "Cookie": cookie})
            list(pool.map(lambda _, ask=ask: ask(), range(60)))
    lab.settled()
    standin.faults.on("latency", path=TOKEN, seconds=0.2)
    rounds, storms = max(2, min(8, int(lab.seconds / 5))), 0
    for number in range(rounds):
        cookie = cookie_login(replicas[number % 2], lab.account(standin), lab.address())
        standin.requests.clear()

        def load(each: int, cookie: str = cookie) -> Reply:
            path = ME if each % 3 == 0 else VERIFY
            return replicas[each % 2].client.ask("GET", path, headers={**SAME, "Cookie": cookie})

        with ThreadPoolExecutor(50) as pool:
            replies = list(pool.map(load, range(50)))
        storms += len(replies)
        lab.check("all are 200", share(replies, 200) == 1.0, statuses(replies))
        lab.check("one refresh", refreshes(standin) == 1, refreshes(standin))
        handed = {cookie_of(reply) for reply in replies} - {""}
        again = [replicas[0].client.ask("GET", VERIFY, headers={**SAME, "Cookie": each}) for each in handed]
        lab.check("every cookie works", bool(again) and share(again, 200) == 1.0, statuses(again))
    lab.fired("page loads", storms)
    lab.figure("storms of 50", rounds)


@scenario(
    "S34",
    "forgotten passwords of many people are asked for, from many networks, 20 a second",
    notices="those who never logged in from there may get no mail in that hour; people at home get theirs",
    bound="at most 12 mails for strangers and 25 in all leave in an hour; somebody at home still gets one; all answers"
    " alike",
    guard=Guard(name="mail budget", settings={"AUTH_MAIL_BUDGET_PER_HOUR": "100000", "AUTH_THROTTLE_SCALE": "1000"}),
)
def mail_flood(lab: Lab) -> None:
    """Answers come after a fixed time; the threads that wait are bounded, so some are 503 at once."""
    standin, redis = lab.standin(), lab.redis()
    settings = {"AUTH_MAIL_DELAY_MS": "150", "AUTH_REDIRECT_URLS": APP}
    gateway = lab.gateway(**lab.environment(standin, redis) | settings)
    people, owner, home = lab.accounts(standin, 60), lab.account(standin), lab.address()
    lab.check("somebody was at home before", lab.log_in(gateway, owner, home).status == 200)
    lab.settled()

    def ask(email: str, address: str, due_s: float | None = None) -> Reply:
        return gateway.client.ask("POST", FORGOT, {"email": email}, address=address, due_s=due_s)

    def flood(number: int, due_s: float) -> Reply:
        return ask(people[number % len(people)].email, lab.address(), due_s)

    with lab.load(flood, rps=20) as load:
        time.sleep(max(6.0, 0.4 * lab.seconds))
    sent = len(_mails(standin))
    answers = {reply.body.split(b'"request_id"')[0] for reply in load.replies if reply.status == 202}
    reply = ask(owner.email, home)
    eventually(lambda: _mails(standin, owner.email), within_s=10 * lab.patience, or_say=lambda: reply.body)
    lab.fired("requests for mails", len(load.replies))
    lab.figure("mails to strangers", sent)
    lab.check("few mails leave", 0 < sent <= 12, sent)
    lab.check("answers are alike", len(answers) == 1 and share(load.replies, 202, 503) == 1.0, statuses(load.replies))
    lab.check("the owner gets a mail", len(_mails(standin, owner.email)) == 1)


def _mails(standin: Standin, to: str = "") -> list[object]:
    query = {"to": to} if to else {}
    return list(requests.get(f"{standin.url}/mailbox.json", params=query, timeout=20).json())


@scenario(
    "S37",
    "Supabase fails while Supabase's own client, pointed at the gateway, refreshes its session",
    notices="the client stays logged in, and refreshes once Supabase is back",
    bound="503 with Retry-After, never 401 or 429; at once while the circuit breaker is open; the same refresh token"
    " works afterwards",
    guard=Guard(name="circuit breaker", patch="breaker"),
)
def client_under_breaker(lab: Lab) -> None:
    """supabase-js ends the session on 401 and on 429 of a refresh, and keeps it on 503."""
    standin, redis = lab.standin(), lab.redis()
    gateway = lab.gateway(**lab.environment(standin, redis) | {"AUTH_SUPABASE_API": "1", "WEB_CONCURRENCY": "1"})
    headers = {"apikey": standin.publishable_key, "X-Supabase-Api-Version": "2024-01-01"}

    def token(grant: str, body: dict[str, str]) -> Reply:
        return gateway.client.ask("POST", f"{TOKEN}?grant_type={grant}", body, headers=headers, address=lab.address())

    sessions = [token("password", account.body).json for account in lab.accounts(standin, 20)]
    lab.settled()
    failing = standin.faults.on("failure", path=TOKEN)
    # The logins count too: half of all calls of ten seconds have to fail.
    replies = [token("refresh_token", {"refresh_token": each["refresh_token"]}) for each in sessions * 4]
    resting = replies[-20:]
    lab.fired("500", failing.fired)
    lab.check("503, never 401 or 429", share(replies, 503) == 1.0, statuses(replies))
    lab.check("with Retry-After", all(reply.retry_after.isdigit() for reply in replies))
    lab.check("Supabase gets a rest", failing.fired < len(replies), (failing.fired, len(replies)))
    lab.within("refusals while it rests, p95", [reply.took_s for reply in resting], 95, 0.05)
    standin.faults.clear()
    first = sessions[0]["refresh_token"]
    eventually(lambda: token("refresh_token", {"refresh_token": first}).status == 200, within_s=8 * lab.patience)
    later = [token("refresh_token", {"refresh_token": each["refresh_token"]}) for each in sessions[1:]]
    lab.check("every session lives on", share(later, 200) == 1.0, statuses(later))


@scenario(
    "S38",
    "a client behind a chain of two proxies sends made-up X-Forwarded-For",
    notices="nothing",
    bound="the address that counts is always the one the outer proxy saw; at most 50 guesses reach Supabase",
    guard=Guard(name="number of trusted proxies", settings={"AUTH_TRUSTED_HOPS": "3"}),
)
def two_proxies(lab: Lab) -> None:
    """nginx before nginx, each of which appends the address that it sees."""
    standin, redis = lab.standin(), lab.redis()
    hops = {"AUTH_CLIENT_IP_HEADER": "X-Forwarded-For", "AUTH_TRUSTED_HOPS": "2"}
    gateway = lab.gateway(**lab.environment(standin, redis) | hops)
    append = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
    inner = lab.nginx([gateway.port], more=append)
    outer = lab.nginx([inner.port], more=append)
    source = "127.0.0.9"
    client = Client(outer.port, lab.ledger, source=source)
    lab.ends.callback(client.close)
    account = lab.account(standin)
    lab.settled()
    standin.requests.clear()
    many, seen = int(20 * lab.seconds), []
    for number in range(many):
        headers = {"X-Forwarded-For": raw.address(lab.random)}
        body = {"email": f"chained{number}@lab.example.com", "password": WRONG}
        seen.append(client.ask("POST", LOGIN, body, headers=headers).status)
    told = {request.headers.get("Sb-Forwarded-For") for request in standin.requests.of(TOKEN)}
    lab.fired("spoofed requests", len(seen))
    lab.check("Supabase hears the client's address", told == {source}, sorted(map(str, told))[:5])
    lab.check("one bucket", len(standin.requests.of(TOKEN)) <= 52, len(standin.requests.of(TOKEN)))
    other = Client(outer.port, lab.ledger, source="127.0.7.9")
    lab.ends.callback(other.close)
    lab.check("another client logs in", other.ask("POST", LOGIN, account.body).status == 200)


@scenario(
    "S39",
    "guesses from thousands of /64 networks of one IPv6 /48, each tried once or twice",
    notices="neighbours in the same /48: perhaps a proof of work; all others nothing",
    bound="at most 100 guesses, and one each 18 s, reach Supabase from a /48, 75 from a /56",
    guard=THROTTLE,
)
def ipv6_spray(lab: Lab) -> None:
    """A /48 is what a customer of a hoster gets: 65,536 networks of /64."""
    standin, redis = lab.standin(), lab.redis()
    gateway = lab.gateway(**lab.environment(standin, redis))
    owner, home = lab.account(standin), "2a02:1234:5:1::7"
    lab.check("somebody elsewhere was at home before", lab.log_in(gateway, owner, home).status == 200)
    lab.settled()
    standin.requests.clear()

    def guess(number: int, due_s: float) -> Reply:
        # Half of them in one /56, half all over the /48.
        network = number % 256 if number % 2 else 256 + number * 7919 % 65_000
        address = f"2001:db8:77:{network:x}::{number:x}"
        return lab.guess(gateway, f"six{number}@lab.example.com", address, due_s)

    began_s, owners = time.monotonic(), []
    with lab.load(guess, rps=120) as storm:
        while time.monotonic() < began_s + 0.6 * lab.seconds:
            owners.append(lab.log_in(gateway, owner, home))
            time.sleep(0.5)
    lasted_s = time.monotonic() - began_s
    reached = len(standin.requests.of(TOKEN)) - len(owners)
    lab.fired("guesses", len(storm.replies))
    lab.figure("guesses that reached Supabase", reached)
    lab.check("few reach Supabase", reached <= 100 + lasted_s / 18 + 1, reached)
    lab.check("others log in", share(owners, 200) == 1.0, statuses(owners))


@scenario(
    "S40",
    "keys are rotated under load: those that seal cookies, and the project's signing keys",
    notices="nothing",
    bound="0 sessions lost, 0 failed checks, before, during and after both rotations",
    guard=Guard(name="older keys still open cookies", by_hand="the old key is left out of AUTH_COOKIE_KEYS"),
)
def keys_are_rotated(lab: Lab) -> None:
    """The new key is told to all first, then it seals."""
    standin, redis = lab.standin(), lab.redis()
    old, new = "o" * 40, "n" * 40
    file = lab.folder / "settings.env"
    file.write_text(f"AUTH_COOKIE_KEYS={old}\n")
    gateway = lab.gateway(**lab.environment(standin, redis) | COOKIES, AUTH_ENV_FILE=str(file))
    cookies = [cookie_login(gateway, account, lab.address()) for account in lab.accounts(standin, 20)]
    people = lab.accounts(standin, 20)

    def check(number: int, due_s: float) -> Reply:
        headers = {**SAME, "Cookie": cookies[number % len(cookies)]}
        return gateway.client.ask("GET", VERIFY, headers=headers, due_s=due_s)

    reloads = 0
    with lab.load(check, rps=40) as checks, lab.logins(gateway, people, rps=5) as logins:
        lab.for_s(0.1)
        lab.settled()
        for keys in (f"{old},{new}", f"{new},{old}") if lab.is_guarded else (new,):
            file.write_text(f"AUTH_COOKIE_KEYS={keys}\n")
            gateway.signal(signal.SIGHUP)
            reloads += 1
            lab.for_s(0.1)
        standin.rotate_keys()
        lab.for_s(0.2)
    later = cookie_login(gateway, people[0], lab.address())
    lab.fired("reloads", reloads)
    lab.fired("rotations of signing keys", 1)
    lab.check("no session is lost", share(checks.replies, 200) == 1.0, statuses(checks.replies))
    lab.check("logins go on", share(logins.replies, 200) == 1.0, statuses(logins.replies))
    lab.check("the new key seals", later != "" and check_once(gateway, later) == 200)


def check_once(gateway: Gateway, cookie: str) -> int:
    """Return the status of a check with this cookie."""
    return gateway.client.ask("GET", VERIFY, headers={**SAME, "Cookie": cookie}).status


@scenario(
    "S41",
    "the disk is full: the audit trail cannot be written",
    notices="nothing; the operator sees a warning and a metric",
    bound="100 % of logins good, every lost record counted, /health/ready warns",
    guard=Guard(name="records are queued, and lost ones counted", patch="blocking_log"),
)
def disk_is_full(lab: Lab) -> None:
    """``/dev/full`` fails every write as a full disk does."""
    standin, redis = lab.standin(), lab.redis()
    gateway = lab.gateway(**lab.environment(standin, redis), AUDIT_FILE="/dev/full")
    with lab.logins(gateway, lab.accounts(standin, 40), rps=20) as load:
        lab.for_s(0.1)
        lab.settled()
        lab.for_s(0.4)
    with contextlib.suppress(AssertionError):
        # Each worker adds to its counters every few seconds.
        eventually(
            lambda: gateway.metric("velro_auth_audit_records_lost_total") >= len(load.replies),
            within_s=15 * lab.patience,
        )
    lost = gateway.metric("velro_auth_audit_records_lost_total")
    ready = gateway.client.ask("GET", "/health/ready")
    lab.fired("lost records", int(lost))
    lab.figure("logins", len(load.replies))
    lab.check("logins go on", share(load.replies, 200) == 1.0, statuses(load.replies))
    lab.check("every lost record is counted", lost >= len(load.replies), (lost, len(load.replies)))
    lab.check("/health/ready warns", ready.status == 200 and ready.json["status"] == "warn", ready.body[:300])


@scenario(
    "S42",
    "one of two replicas still has the old settings: limits, origins, cookie keys",
    notices="nothing",
    bound="0 failed logins, 0 lost logouts, cookies of either replica work at both; guesses within the looser limit",
    guard=Guard(name="logouts shared by Redis", settings={"REDIS_URL": ""}),
)
def old_settings(lab: Lab) -> None:
    """A deploy that stopped half-way."""
    standin, redis = lab.standin(), lab.redis()
    old, new = "o" * 40, "n" * 40
    shared = lab.environment(standin, redis) | COOKIES
    replicas = [
        lab.gateway(**shared, AUTH_COOKIE_KEYS=f"{old},{new}", CORS_ORIGINS=APP),
        lab.gateway(**shared, AUTH_COOKIE_KEYS=f"{new},{old}", AUTH_THROTTLE_SCALE="0.5"),
    ]
    front = lab.nginx([each.port for each in replicas])
    accounts = lab.accounts(standin, 40)
    lost, handed = 0, 0
    with lab.logins(front, accounts, rps=20) as load:
        lab.for_s(0.1)
        lab.settled()
        ends_s, number = time.monotonic() + 0.5 * lab.seconds, 0
        while time.monotonic() < ends_s:
            here, there = replicas[number % 2], replicas[(number + 1) % 2]
            cookie = cookie_login(here, lab.account(standin), lab.address())
            if check_once(there, cookie) == 200:
                handed += 1
            here.client.ask("POST", LOGOUT, {}, headers={**SAME, "Cookie": cookie})
            lost += sum(check_once(there, cookie) == 200 for _ in range(4))
            number += 1
    victim = lab.account(standin)
    standin.requests.clear()
    guesses = [lab.guess(front, victim.email, lab.address()) for _ in range(60)]
    reached = len(standin.requests.of(TOKEN))
    lab.fired("logouts at the one, asked at the other", number)
    lab.figure("guesses that reached Supabase", reached)
    lab.check("no login fails", share(load.replies, 200) == 1.0, statuses(load.replies))
    lab.check("no logout is lost", lost == 0, lost)
    lab.check("cookies work at both", handed == number, (handed, number))
    lab.check("guesses within the looser limit", reached <= 10, (reached, statuses(guesses)))
