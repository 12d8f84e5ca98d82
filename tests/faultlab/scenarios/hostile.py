"""Clients that send what no client should."""

from __future__ import annotations

import contextlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor

from tests.faultlab import bodies, raw
from tests.faultlab.client import LOGIN, LOGOUT, VERIFY, Reply
from tests.faultlab.invariants import leaks, log_lines, use_of
from tests.faultlab.lab import Lab
from tests.faultlab.registry import Guard, scenario
from tests.fixtures import garbled

TOKEN = "/auth/v1/token"


@scenario(
    "S24",
    "hostile JSON: 10 MB, nested 100,000 deep, a million digits, two of one member, broken UTF-8, gzip bombs",
    notices="nothing",
    bound="≥ 2,000 bodies, 0 answers of 5xx, 400 to 422 in < 50 ms (p95), memory grows by less than 10 MB",
    guard=Guard(name="limit of the body", settings={"AUTH_MAX_BODY_BYTES": "1048576"}),
)
def hostile_bodies(lab: Lab) -> None:
    """None of them reaches Supabase."""
    standin = lab.standin()
    gateway = lab.gateway(**lab.environment(standin))
    count = max(400, min(2200, int(60 * lab.seconds)))
    made = [*bodies.known(), *bodies.generated(lab.random, count - len(bodies.known()))]
    gateway.client.ask("POST", LOGIN, b"{}")
    lab.settled()
    standin.requests.clear()
    before = use_of(gateway.pids)

    def send(body: bodies.Body) -> Reply:
        headers = {"Content-Encoding": body.coding} if body.coding else {}
        return gateway.client.ask("POST", LOGIN, body.data, headers=headers, address=lab.address())

    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(send, made))
    grown = use_of(gateway.pids).mib - before.mib
    wrong = {
        body.name: reply.status
        for body, reply in zip(made, replies, strict=True)
        if reply.status not in range(400, 432)
    }
    large = {body.name: reply.status for body, reply in zip(made, replies, strict=True) if len(body.data) > 20_000}
    lab.fired("bodies", len(replies))
    lab.figure("bodies", len(replies))
    lab.figure("memory", f"+{grown:.0f} MiB")
    lab.check("400 to 431", not wrong, list(wrong.items())[:5])
    lab.check("large ones are 413", set(large.values()) <= {413}, list(large.items())[:5])
    lab.within("refusals, p95", [reply.took_s for reply in replies], 95, 0.05)
    lab.check("memory grows by less than 10 MB", grown < 10.0, grown)
    through = [body.name for body, reply in zip(made, replies, strict=True) if reply.status == 401]
    lab.check("none reaches Supabase", not standin.requests.of(TOKEN), through[:9])


@scenario(
    "S25",
    "heads and bodies that two servers read differently: two lengths, length and chunks, folded lines, twin names",
    notices="nothing",
    bound="refused or closed; never two answers to one request; `X_Real_IP` never counts as `X-Real-IP`",
    guard=Guard(name="names with _ are dropped", patch="underscores"),
)
def smuggling(lab: Lab) -> None:
    """As bytes, straight to the service and through nginx."""
    standin = lab.standin()
    gateway = lab.gateway(**lab.environment(standin))
    front = lab.nginx([gateway.port])
    lab.settled()
    refused: list[str] = []
    for name, request in garbled.GARBLED.items():
        answer = garbled.ask(gateway.url, request)
        try:
            garbled.assert_refused(name, answer)
        except (AssertionError, ValueError) as error:
            refused.append(f"{name}: {error}")
    lab.check("garbled requests are refused", not refused, refused[:3])
    twice: dict[str, int] = {}
    served: dict[str, str] = {}
    for port in (gateway.port, front.port):
        for name, request in raw.SMUGGLING.items():
            answer = raw.send(port, request)
            if (number := answer.count(b"HTTP/1.1 ")) > 1:
                twice[f"{name} at {port}"] = number
            if port == gateway.port and answer.startswith(b"HTTP/1.1 2"):
                served[name] = answer[:40].decode("latin-1")
    lab.check("never two answers", not twice, twice)
    lab.check("refused or closed", not served, served)
    lab.fired("garbled requests", len(garbled.GARBLED) + 2 * len(raw.SMUGGLING))
    lab.figure("requests", len(garbled.GARBLED) + 2 * len(raw.SMUGGLING))
    # Header splitting: nothing that is reflected may begin a line.
    for value in ("a%0d%0aX-Evil: 1", "a\\r\\nX-Evil: 1", "\u010d\u010aX-Evil: 1"):
        reply = gateway.client.ask("GET", "/health", headers={"X-Request-ID": value.encode("utf-8").decode("latin-1")})
        lab.check("no header is injected", "x-evil" not in reply.headers, reply.headers)
    addresses = {lab.address() for _ in range(8)}
    standin.requests.clear()
    for address in addresses:
        head = f"X-Real-IP: 198.51.100.7\r\nX_Real_IP: {address}\r\n"
        raw.send(gateway.port, raw.login("twin@lab.example.com", "canary-twin", head))
    seen = {request.headers.get("Sb-Forwarded-For") for request in standin.requests.of(TOKEN)}
    lab.check("twin names do not count", seen == {"198.51.100.7"}, seen)


@scenario(
    "S27",
    "10,000 requests with made-up addresses in X-Forwarded-For and X-Real-IP",
    notices="nothing",
    bound="all of them count for the true peer: at most 50 reach Supabase, each as the true peer's",
    guard=Guard(name="only trusted proxies name the client", settings={"TRUSTED_PROXIES": "0.0.0.0/0,::/0"}),
)
def spoofed_addresses(lab: Lab) -> None:
    """Loopback is not trusted here, so the peer is the client."""
    standin, redis = lab.standin(), lab.redis()
    gateway = lab.gateway(**lab.environment(standin, redis) | {"TRUSTED_PROXIES": "10.0.0.0/8"})
    lab.settled()
    standin.requests.clear()
    many = min(10_000, int(250 * lab.seconds))

    def guess(number: int) -> int:
        spoofed = raw.address(lab.random)
        headers = {"X-Forwarded-For": spoofed, "X-Real-IP": spoofed, "Forwarded": f"for={spoofed}"}
        headers |= {"CF-Connecting-IP": spoofed, "True-Client-IP": spoofed, "X-Client-IP": spoofed}
        body = {"email": f"spoofed{number}@lab.example.com", "password": "canary-spoofed"}
        return gateway.client.ask("POST", LOGIN, body, headers=headers).status

    with ThreadPoolExecutor(6) as pool:
        seen = list(pool.map(guess, range(many)))
    asked = standin.requests.of(TOKEN)
    told = {request.headers.get("Sb-Forwarded-For") for request in asked}
    lab.fired("spoofed requests", len(seen))
    lab.figure("reached Supabase", len(asked))
    lab.check("one bucket", len(asked) <= 52, len(asked))
    lab.check("Supabase hears the true peer", told == {"127.0.0.1"}, sorted(map(str, told))[:5])
    lab.check("401 or 429", set(seen) <= {401, 429, 503}, set(seen))


@scenario(
    "S28",
    "pages of other sites: look-alike origins, null, ports, and posts with a session cookie",
    notices="nothing",
    bound="no allowed origin but the listed ones, never `*`; state-changing calls of other sites are 403",
    guard=Guard(name="exact origins", settings={"CORS_ORIGIN_REGEX": "https?://.*"}),
)
def other_sites(lab: Lab) -> None:
    """The service's own address is https://auth.lab.example.com, the app's https://app.lab.example.com."""
    standin = lab.standin()
    app, own = "https://app.lab.example.com", "https://auth.lab.example.com"
    settings = {"CORS_ORIGINS": app, "AUTH_COOKIE_SESSIONS": "1", "AUTH_PUBLIC_URL": own}
    gateway = lab.gateway(**lab.environment(standin) | settings)
    account = lab.account(standin)
    lab.settled()
    ask, allowed, count = gateway.client.ask, [], 0
    for origin in raw.origins(app):
        for method, path in (("OPTIONS", LOGIN), ("POST", LOGIN), ("GET", VERIFY), ("GET", "/health")):
            headers = {"Origin": origin.encode("utf-8").decode("latin-1"), "Access-Control-Request-Method": "POST"}
            reply = ask(method, path, {} if method == "POST" else None, headers=headers)
            count += 1
            if "access-control-allow-origin" in reply.headers:
                allowed.append(f"{method} {path} {origin}: {reply.headers['access-control-allow-origin']}")
    lab.check("no other origin is allowed", not allowed, allowed[:4])
    good = ask("POST", LOGIN, account.body, headers={"Origin": app, "Sec-Fetch-Site": "same-site"}, address="20.1.1.1")
    lab.check("the app logs in", good.status == 200, (good.status, good.code))
    lab.check("its origin is allowed", good.headers.get("access-control-allow-origin") == app, good.headers)
    lab.check("it sees no token", "access_token" not in (good.json or {}))
    cookies = "; ".join(line.partition(";")[0] for line in good.headers.get("set-cookie", "").split("\n"))
    told = {}
    for site in (
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "null"},
        {"Origin": "https://evil.example.com"},
        {"Origin": f"{app}.evil.example.com"},
    ):
        reply = ask("POST", LOGOUT, {}, headers={"Cookie": cookies, **site})
        count += 1
        told[str(site)] = reply.status
    lab.check("state-changing calls are refused", set(told.values()) == {403}, told)
    still = ask("GET", VERIFY, headers={"Cookie": cookies})
    lab.check("the session lives on", still.status == 200, still.status)
    ended = ask("POST", LOGOUT, {}, headers={"Cookie": cookies, "Origin": app})
    lab.check("the app logs out", ended.status == 200, ended.status)
    lab.fired("calls of other sites", count)
    lab.figure("calls of other sites", count)


@scenario(
    "S29",
    "line feeds, escape sequences, JSON and ${jndi:…} in every field; thousands of paths and addresses; secrets",
    notices="nothing",
    bound="each event is one line of JSON; < 200 new series in the metrics; 0 secrets in log, metrics and answers",
    guard=Guard(name="log lines are escaped", patch="plain_log"),
)
def injections(lab: Lab) -> None:
    """What goes in is marked, and is looked for where anything comes out."""
    standin = lab.standin()
    gateway = lab.gateway(**lab.environment(standin), LOG_LEVEL="debug", LOG_PROBES_EVERY="1")
    account, home = lab.account(standin), lab.address()
    # So many guesses use up what strangers may try.
    lab.check("somebody is at home", lab.log_in(gateway, account, home).status == 200)
    before = _series(gateway.port)
    lab.settled()
    many, count = int(40 * lab.seconds), 0
    shown: list[str] = []
    ask = gateway.client.ask
    for number in range(many):
        text = raw.INJECTIONS[number % len(raw.INJECTIONS)]
        mark = f"canary-{number}-"
        headers = {"User-Agent": text, "X-Request-ID": text, "Referer": f"https://{mark}.example.com", "X-Any": text}
        headers = {name: value.encode("utf-8").decode("latin-1") for name, value in headers.items()}
        headers["Authorization"] = f"Bearer {mark}bearer"
        path = f"/nowhere/{number}/{raw.quoted(text)}?token={mark}query"
        replies = [
            ask("GET", path, headers=headers),
            ask("GET", f"{VERIFY}/{number}?access_token={mark}query", headers=headers),
            ask(
                "POST",
                LOGIN,
                {"email": f"{mark}@lab.example.com", "password": f"{mark}{text}"},
                headers=headers,
                address=lab.address(),
            ),
        ]
        count += len(replies)
        shown += [reply.body[:200].decode("utf-8", "replace") for reply in replies if b"canary-" in reply.body]
    failing = standin.faults.on("failure", path=TOKEN, message="canary-of-supabase's text", status=500)
    replies = [lab.log_in(gateway, account, home) for _ in range(5)]
    standin.faults.clear()
    shown += [reply.body.decode() for reply in replies if b"canary-" in reply.body]
    time.sleep(0.5)
    lines = [line for line in gateway.program.output.split("\n") if line]
    whole = list(log_lines(gateway.program.output))
    lab.fired("injections", count)
    lab.fired("500 with a secret text", failing.fired)
    lab.figure("injections", count)
    lab.check(
        "each line is one event", len(lines) - len(whole) <= 1, [line for line in lines if not line.startswith("{")][:3]
    )
    written = sum(str(line.get("logger")) == "velro_auth.access" for line in whole)
    lab.check("each request is one event", written >= count, (written, count))
    lab.check("answers repeat nothing", not shown, shown[:3])
    lab.check("nothing of it in the log", not (found := leaks(gateway.program.output, set())), dict(found))
    series = _series(gateway.port) - before
    lab.figure("new series", series)
    lab.check("few new series", series < 200, series)


def _series(port: int) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            text = b"".join(iter(lambda: client.recv(65536), b"")).decode()
    return sum(bool(line) and not line.startswith("#") for line in text.partition("\r\n\r\n")[2].splitlines())
