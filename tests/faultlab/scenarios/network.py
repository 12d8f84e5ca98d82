"""The way to Supabase: lost connections, names that cannot be resolved, certificates that are wrong."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from tests.faultlab.certificates import certificate
from tests.faultlab.client import Reply
from tests.faultlab.hosts import NAME, Hosts
from tests.faultlab.lab import Lab
from tests.faultlab.load import share, statuses
from tests.faultlab.proxies import Resetting, TcpProxy
from tests.faultlab.registry import Guard, scenario
from tests.fixtures.rude import Rude, answer, says
from tests.waiting import eventually

TOKEN = "/auth/v1/token"


@scenario(
    "S3",
    "connections to Supabase are reset, then swallowed without a word",
    notices="nothing after a reset; one login may wait 5 s if it meets a swallowed connection before the check does",
    bound="0 failed logins after a reset of all idle connections; swallowed ones are found within the check's interval"
    " and 5 s, then logins wait for no dead connection; no login is sent twice",
    guard=Guard(name="check of idle connections", settings={"UPSTREAM_WARM_CONNECTIONS": "0"}),
)
def connections_are_lost(lab: Lab) -> None:
    """Idle connections are tried every second here, every 30 s as shipped."""
    standin = lab.standin()
    proxy = TcpProxy(int(standin.url.rpartition(":")[2]))
    lab.ends.callback(proxy.close)
    environment = lab.environment(standin) | {"SUPABASE_URL": f"http://127.0.0.1:{proxy.port}", "WEB_CONCURRENCY": "1"}
    gateway = lab.gateway(**environment | {"UPSTREAM_WARM_EVERY_S": "1", "AUTH_ISSUERS": f"{standin.url}/auth/v1"})
    accounts = lab.accounts(standin, 40)
    lab.log_in(gateway, accounts[0], lab.address())
    lab.settled()
    standin.requests.clear()

    replies = []
    for account in accounts[:20]:
        proxy.reset()
        replies.append(lab.log_in(gateway, account, lab.address()))
    lab.fired("reset connections", proxy.cut)
    lab.check("no login fails after a reset", share(replies, 200) == 1.0, statuses(replies))

    proxy.lose()
    lab.fired("swallowed connections", proxy.lost)
    connected, began_s = proxy.connected, time.monotonic()
    # The check waits for the whole deadline before it gives a connection up.
    with_patience = 9.0 * lab.patience
    while proxy.connected < connected + 2 and time.monotonic() < began_s + with_patience:
        time.sleep(0.05)
    lab.figure("found after", f"{time.monotonic() - began_s:.1f} s")
    replies = [lab.log_in(gateway, account, lab.address()) for account in accounts[20:]]
    lab.check("then no login fails", share(replies, 200) == 1.0, statuses(replies))
    lab.within("logins afterwards, slowest", [reply.took_s for reply in replies], 100, 1.0)
    posts = len(standin.requests.of(TOKEN))
    lab.check("no login is sent twice", posts <= len(accounts), posts)


@scenario(
    "S4",
    "Supabase's name cannot be resolved, then resolves to an address without a way there",
    notices="nothing while pooled connections live; then 503 within 1 s (no such name) or 2 s (no way)",
    bound="pooled connections go on; 503 ≤ 1 s without the name, ≤ 2.3 s without a way; first success ≤ 5 s after",
    guard=Guard(
        name="time limit for connecting", settings={"UPSTREAM_CONNECT_TIMEOUT_S": "15", "UPSTREAM_DEADLINE_S": "15"}
    ),
)
def names_fail(lab: Lab) -> None:
    """The resolver of the service's processes is made to fail and to lie."""
    standin = lab.standin()
    proxy = TcpProxy(int(standin.url.rpartition(":")[2]))
    lab.ends.callback(proxy.close)
    hosts = Hosts(lab.folder / "hosts")
    gateway = lab.gateway(
        **lab.environment(standin)
        | {"SUPABASE_URL": f"http://{NAME}:{proxy.port}", "FAULTLAB_HOSTS": str(hosts.path), "WEB_CONCURRENCY": "1"}
        | {"AUTH_ISSUERS": f"{standin.url}/auth/v1"}
    )
    accounts = lab.accounts(standin, 60)

    def some(first: int, count: int = 8) -> list[float]:
        replies.extend(lab.log_in(gateway, account, lab.address()) for account in accounts[first : first + count])
        return [reply.took_s for reply in replies[-count:]]

    replies: list[Reply] = []
    some(0)
    lab.settled()
    hosts.answer("")
    some(8)
    lab.check("pooled connections go on", share(replies, 200) == 1.0, statuses(replies))
    _fails(lab, "without a name", lambda: (proxy.reset(), some(16))[1], replies, 1.0)
    _recovers(lab, hosts, "the name", lambda: lab.log_in(gateway, accounts[24], lab.address()).status)
    # A network for documentation: nobody answers, as behind a firewall that drops. Where the machine knows no way at
    # all the refusal comes at once, so packets are sent to a listener whose queue is full.
    hosts.answer(_dead_end(lab, proxy))
    _fails(lab, "without a way", lambda: (proxy.reset(), some(32, 3))[1], replies, 2.3)
    _recovers(lab, hosts, "the way", lambda: lab.log_in(gateway, accounts[40], lab.address()).status)
    asked = Path(f"{hosts.path}.asked").read_text("ascii").count("?")
    lab.fired("resolved names", asked)


def _dead_end(lab: Lab, proxy: TcpProxy) -> str:
    """Return an address of this machine where the proxy's port accepts nothing and answers nothing."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.77", proxy.port))
    listener.listen(0)
    lab.ends.callback(listener.close)
    for _ in range(3):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.77", proxy.port))
        lab.ends.callback(filler.close)
    return "127.0.0.77"


def _fails(lab: Lab, what: str, some: Callable[[], list[float]], replies: list[Reply], bound_s: float) -> None:
    before = len(replies)
    took_s = some()
    failed = replies[before:]
    lab.check(f"503 {what}", share(failed, 503) == 1.0, statuses(failed))
    lab.within(f"503 {what}, slowest", took_s, 100, bound_s)


def _recovers(lab: Lab, hosts: Hosts, what: str, log_in: Callable[[], int]) -> None:
    hosts.answer("127.0.0.1")
    began_s = time.monotonic()
    eventually(lambda: log_in() == 200, within_s=20 * lab.patience)
    took_s = time.monotonic() - began_s
    lab.figure(f"first success with {what}", f"{took_s:.1f} s")
    lab.check(f"a login succeeds within 5 s of {what}", took_s <= 5.0 * lab.patience, took_s)


@scenario(
    "S5",
    "Supabase's certificate is out of date, of another host, of an unknown authority; the handshake is reset",
    notices="503 `upstream_unavailable`, and an error in the log",
    bound="0 bytes of credentials sent, every login 503, the certificate is always verified",
    guard=Guard(name="verification of certificates", patch="tls"),
)
def certificates_are_wrong(lab: Lab) -> None:
    """A good certificate first, or anything that never connects would pass."""
    good = certificate(lab.folder / "good.pem")
    kinds = {
        "good": good,
        "expired": certificate(lab.folder / "expired.pem", days=-1, signed_by=good),
        "other host": certificate(lab.folder / "other.pem", host="evil.example.com", signed_by=good),
        "unknown authority": certificate(lab.folder / "stranger.pem"),
    }
    servers: dict[str, Rude | Resetting] = {name: _server(lab, path) for name, path in kinds.items()}
    servers["reset"] = Resetting()
    lab.ends.callback(servers["reset"].stop)
    proxy = TcpProxy(servers["good"].port)
    lab.ends.callback(proxy.close)
    gateway = lab.gateway(
        SUPABASE_URL=f"https://localhost:{proxy.port}",
        SUPABASE_SECRET_KEY="sb_secret_of_the_fault_lab_0123456789",
        FAULTLAB_TRUST=str(good),
        UPSTREAM_WARM_CONNECTIONS="0",
        AUTH_CAPTCHA="off",
        AUTH_RUN_DIR=str(lab.folder),
    )
    body = {"email": "ada@lab.example.com", "password": "canary-of-tls"}
    for name, server in servers.items():
        proxy.target = server.port
        proxy.reset()
        server.requests.clear()
        replies = [gateway.client.ask("POST", "/api/v1/auth/login", body, address=lab.address()) for _ in range(4)]
        if name == "good":
            lab.settled()
            lab.check("a good certificate is taken", any(b"canary-of-tls" in r for r in server.requests))
            continue
        lab.check(f"{name}: 503", share(replies, 503) == 1.0, statuses(replies))
        lab.check(f"{name}: nothing is sent", not server.requests, len(server.requests))
        lab.figure(name, dict(statuses(replies)))
    lab.fired("handshakes", proxy.connected)


def _server(lab: Lab, certificate_file: Path) -> Rude:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file)
    server = Rude(context)
    server.does(says(answer(b'{"code": "invalid_credentials"}', status="400 Bad Request")))
    lab.ends.callback(server.stop)
    return server
