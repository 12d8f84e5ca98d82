"""Processes that are killed, stopped, blocked, besieged and overloaded."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from tests.faultlab.client import VERIFY, Reply
from tests.faultlab.invariants import use_of
from tests.faultlab.lab import Gateway, Lab
from tests.faultlab.load import Load, Turns, percentile, share, statuses
from tests.faultlab.registry import Guard, scenario
from tests.fixtures.programs import ROOT, clean_environment
from tests.waiting import eventually
from velro_auth.upstream.answers import MOST_SESSIONS

TOKEN = "/auth/v1/token"
HASH_S = 0.076
#: How long strangers wait after ten wrong passwords for one account (guards.limits, ``first_delay_s``).
FIRST_WAIT_S = 30.0
#: A soak of so many seconds looks for growth of memory.
LONG_S = 570.0


def audit_verdict(trail: str) -> int:
    """Return the exit status of ``velro-auth audit verify``."""
    command = [sys.executable, "-m", "velro_auth", "audit", "verify", trail]
    return subprocess.run(command, cwd=ROOT, env=clean_environment(), capture_output=True, check=False).returncode


@scenario(
    "S17",
    "a worker process is killed (SIGKILL) every 5 s",
    notices="logins that the killed process was answering fail; all others succeed",
    bound="at most 32 failed logins a kill, ≥ 97 % good, guesses stay counted, the audit trail verifies",
    guard=Guard(name="counters outside of the process (Redis)", settings={"REDIS_URL": ""}),
)
def workers_are_killed(lab: Lab) -> None:
    """gunicorn starts another one."""
    standin, redis = lab.standin(), lab.redis()
    trail = lab.folder / "audit.jsonl"
    gateway = lab.gateway(**lab.environment(standin, redis), AUDIT_FILE=str(trail))
    victim = lab.account(standin)
    guesses = [lab.guess(gateway, victim.email, lab.address()) for _ in range(15)]
    lab.check("the throttle refuses", guesses[-1].status == 429, statuses(guesses))
    guessed_s = time.monotonic()
    kills = 0
    with lab.logins(gateway, lab.accounts(standin, 60), rps=20) as load:
        lab.for_s(0.1)
        lab.settled()
        ends_s = time.monotonic() + max(11.0, 0.7 * lab.seconds)
        while time.monotonic() < ends_s:
            workers = gateway.workers
            if workers:
                gateway.probes.forgiven += 2
                os.kill(lab.random.choice(workers), signal.SIGKILL)
                kills += 1
            time.sleep(5.0)
        eventually(lambda: len(gateway.workers) == 2)
    failed = [reply for reply in load.replies if reply.status != 200]
    again = [lab.guess(gateway, victim.email, lab.address()) for _ in range(5)]
    lab.fired("killed workers", kills)
    lab.figure("logins", len(load.replies))
    lab.figure("failed", dict(statuses(failed)))
    lab.check(
        "few fail",
        len(failed) <= 32 * kills and share(load.replies, 200) >= 1 - 0.03 * lab.patience,
        statuses(load.replies),
    )
    # After the first wait one more guess is answered; the next wait is twice as long.
    answered = int(time.monotonic() - guessed_s >= FIRST_WAIT_S)
    lab.check("guesses stay counted", sum(reply.status != 429 for reply in again) <= answered, statuses(again))
    lab.check("the audit trail verifies", audit_verdict(str(trail)) == 0)


@scenario(
    "S18",
    "SIGTERM while 30 logins of 2 s each are under way; the same with SIGKILL after 3 s",
    notices="nothing, if the platform waits: logins under way finish; with 3 s logins of more than 3 s are lost",
    bound="30 of 30 finish, exit status 0; new connections are refused or answered",
    guard=Guard(name="graceful stop", settings={"GUNICORN_CMD_ARGS": "--graceful-timeout 1"}),
)
def instances_are_stopped(lab: Lab) -> None:
    """What Railway's shortest wait costs is only noted."""
    standin, redis = lab.standin(), lab.redis()
    # The system may give most of the logins to one of the two processes.
    environment = lab.environment(standin, redis) | {"GUNICORN_THREADS": "64"}
    accounts = lab.accounts(standin, 30)

    def stopped(seconds: float, kill_after_s: float | None) -> tuple[list[Reply], int]:
        gateway = lab.gateway(**environment)
        lab.settled()
        slow = standin.faults.on("latency", path=TOKEN, seconds=seconds)
        with ThreadPoolExecutor(30) as pool:
            logins = [pool.submit(lab.log_in, gateway, account, lab.address()) for account in accounts]
            eventually(lambda: slow.fired >= 30)
            gateway.expect_to_end()
            gateway.signal(signal.SIGTERM)
            if kill_after_s is not None:
                time.sleep(kill_after_s)
                for pid in gateway.pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            replies = [login.result() for login in logins]
        standin.faults.clear()
        return replies, gateway.program.process.wait(60)

    replies, status = stopped(2.0, None)
    lab.fired("SIGTERM", 1)
    lab.check("30 of 30 finish", share(replies, 200) == 1.0, statuses(replies))
    lab.check("exit status 0", status == 0, status)
    replies, _ = stopped(4.0, 3.0)
    lab.figure("lost of 30 logins of 4 s when killed after 3 s", sum(reply.status != 200 for reply in replies))


@scenario(
    "S23",
    "nobody reads the log: stdout is blocked; then it is on a full disk",
    notices="nothing",
    bound="≥ 99 % good, 95 % of logins at most 50 ms slower; lost lines are counted in a metric",
    guard=Guard(name="log lines are queued", patch="blocking_log"),
)
def log_is_blocked(lab: Lab) -> None:
    """A pipe holds 64 KiB, up to the last whole line; more than that is written meanwhile."""
    standin, redis = lab.standin(), lab.redis()
    environment = lab.environment(standin, redis) | {"LOG_PROBES_EVERY": "1"}
    gateway, pipe = lab.piped_gateway(**environment)
    accounts = lab.accounts(standin, 60)
    with lab.logins(gateway, accounts, rps=40) as load:
        lab.settled()
        turns = Turns(load)
        for part in (0.1, 0.45):
            time.sleep(max(3.0, 0.1 * lab.seconds))
            with turns.fault():
                pipe.pause()
                time.sleep(max(8.0, part * lab.seconds))
                pipe.resume()
        lab.for_s(0.1)
    # After the load has ended: what hangs counts too.
    during, usual = turns.during(), turns.usual()
    lab.fired("bytes that waited", pipe.waited_bytes)
    lab.check("the pipe was full", pipe.was_full, pipe.waited_bytes)
    lab.check("logins go on", share(during, 200) >= 0.99, statuses(during))
    usual_s = percentile([reply.took_s for reply in usual], 95)
    lab.within("logins while it is blocked, p95", [reply.took_s for reply in during], 95, usual_s + 0.05)
    lab.check("no damage lasts", not turns.has_lasting_damage())
    full = lab.gateway(stdout="/dev/full", **environment)
    replies = [lab.log_in(full, account, lab.address()) for account in accounts]
    lab.check("logins go on with a full disk", share(replies, 200) >= 0.99, statuses(replies))
    eventually(lambda: full.metric("velro_auth_log_lines_dropped_total") > 0, within_s=20 * lab.patience)
    dropped = full.metric("velro_auth_log_lines_dropped_total")
    lab.fired("lines lost on a full disk", int(dropped))


@scenario(
    "S26",
    "500 clients send a byte in ten seconds",
    notices="nothing",
    bound="real logins ≥ 99 % good, p95 at most 20 % slower; the slow ones are cut within 15 s",
    guard=Guard(
        name="waiting clients hold no thread, and have a deadline", settings={"GUNICORN_WORKER_CLASS": "gthread"}
    ),
)
def slow_clients(lab: Lab) -> None:
    """The first bytes of a request, and then hardly anything."""
    standin, redis = lab.standin(), lab.redis()
    gateway = lab.gateway(**lab.environment(standin, redis))
    standin.faults.on("latency", path=TOKEN, seconds=HASH_S)
    cut_s: list[float] = []
    with lab.logins(gateway, lab.accounts(standin, 60), rps=10) as load, contextlib.ExitStack() as slow:
        lab.settled()
        turns = Turns(load)
        time.sleep(max(4.0, 0.15 * lab.seconds))
        began_s = time.monotonic()
        with turns.fault():
            clients = [slow.enter_context(socket.create_connection(("127.0.0.1", gateway.port))) for _ in range(500)]
            for client in clients:
                client.sendall(b"POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\nX-Slow: ")
            next_byte_s = began_s + 5
            while len(cut_s) < 500 and time.monotonic() < began_s + 16 * lab.patience:
                if time.monotonic() >= next_byte_s:
                    next_byte_s += 10
                    _send_a_byte(clients)
                alive = [client for client in clients if not _is_closed(client)]
                cut_s += [time.monotonic() - began_s] * (len(clients) - len(alive))
                clients = alive
                time.sleep(0.1)
        time.sleep(max(4.0, 0.15 * lab.seconds))
    during, usual = turns.during(), turns.usual()
    lab.fired("slow clients", 500)
    lab.figure("cut", len(cut_s))
    lab.figure("the last one after", f"{max(cut_s, default=0.0):.1f} s")
    lab.check("all are cut within 15 s", len(cut_s) == 500 and max(cut_s) <= 15 * lab.patience, len(cut_s))
    lab.check("logins go on", share(during, 200) >= 0.99, statuses(during))
    usual_s = percentile([reply.took_s for reply in usual], 95)
    lab.within("logins meanwhile, p95", [reply.took_s for reply in during], 95, 1.2 * usual_s)
    lab.check("no damage lasts", not turns.has_lasting_damage())


def _send_a_byte(clients: list[socket.socket]) -> None:
    for client in clients:
        with contextlib.suppress(OSError):
            client.sendall(b"a")


def _is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(4096, socket.MSG_DONTWAIT | socket.MSG_PEEK) == b"" or _drain(client)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _drain(client: socket.socket) -> bool:
    client.recv(4096, socket.MSG_DONTWAIT)
    return False


@scenario(
    "S30",
    "three times as many logins as Supabase can compute, then 0.8 times",
    notices="two of three get 503 `busy` at once; the others log in as usual; afterwards everything is as before",
    bound="goodput ≥ 80 % of Supabase's capacity; accepted logins p95 < 500 ms; refusals within the queue's time"
    " and 50 ms; usual times within 30 s afterwards",
    guard=Guard(name="bulkhead", settings={"LOGIN_CONCURRENCY": "24", "LOGIN_QUEUE_S": "5"}),
)
def overload(lab: Lab) -> None:
    """Supabase computes four hashes at once, 76 ms and its own time each. The bulkhead is set to that."""
    standin, redis = lab.standin(), lab.redis()
    queue_s = 0.25
    limits = {"WEB_CONCURRENCY": "1", "LOGIN_CONCURRENCY": "4", "LOGIN_QUEUE_S": str(queue_s)}
    gateway = lab.gateway(**lab.environment(standin, redis) | limits)
    standin.faults.on("capacity", path=TOKEN, places=4, seconds=HASH_S)
    accounts = lab.accounts(standin, 300)
    with lab.logins(gateway, accounts, rps=0.3 * 4 / HASH_S) as calm:
        time.sleep(max(3.0, 0.1 * lab.seconds))
        lab.settled()
    capacity = 4 / percentile([reply.took_s for reply in calm.replies], 10)
    lab.figure("capacity", f"{capacity:.0f} logins/s")
    began_s = time.monotonic()
    with lab.logins(gateway, accounts, rps=3 * capacity) as storm:
        time.sleep(max(6.0, 0.4 * lab.seconds))
    ended_s = time.monotonic()
    with lab.logins(gateway, accounts, rps=0.8 * capacity) as later:
        time.sleep(max(5.0, 0.3 * lab.seconds))
    good = [reply for reply in storm.replies if reply.status == 200]
    refused = [reply for reply in storm.replies if reply.status == 503]
    goodput = len(good) / (ended_s - began_s)
    lab.fired("logins beyond the capacity", len(refused) + sum(reply.took_s > 0.5 for reply in good))
    lab.figure("goodput of the capacity", f"{goodput / capacity:.0%}")
    lab.check("goodput", goodput >= 0.8 * capacity / lab.patience, f"{goodput:.0f} of {capacity:.0f}")
    lab.within("accepted logins, p95", [reply.took_s for reply in good], 95, 0.5)
    lab.within("refusals, p95", [reply.took_s for reply in refused], 95, queue_s + 0.05)
    last = later.replies[len(later.replies) // 2 :]
    usual_s = percentile([reply.took_s for reply in calm.replies], 95)
    lab.within("logins afterwards, p95", [reply.took_s for reply in last], 95, 2 * usual_s + queue_s)
    lab.check("then all succeed", share(last, 200) >= 0.99, statuses(last))


@scenario(
    "S31",
    "a long time: 10 logins and 100 token checks a second",
    notices="nothing",
    bound="0 answers of 5xx, no growth of files, threads and memory, p95 of the last third at most 5 % and 5 ms above"
    " that of a new instance at the same time; over ten minutes or more < 1 MB of memory an hour",
    guard=Guard(name="nothing is kept for a request", patch="leak"),
)
def soak(lab: Lab) -> None:
    """``--seconds 1800`` soaks for half an hour. In the last third it is compared with a new one, at the same time."""
    # In a process of its own: it would take turns with the threads that send, and single logins would wait for that.
    standin, redis = lab.standin_process(), lab.redis()
    environment = lab.environment(standin, redis)
    gateway = lab.gateway(**environment)
    accounts = lab.accounts(standin, 60)
    tokens = [lab.log_in(gateway, account, lab.address()).json["access_token"] for account in accounts]

    def checks_of(server: Gateway) -> Load:
        def check(number: int, due_s: float) -> Reply:
            headers = {"Authorization": f"Bearer {tokens[number % len(tokens)]}"}
            return server.client.ask("GET", VERIFY, headers=headers, due_s=due_s)

        return lab.load(check, rps=100)

    if lab.seconds >= LONG_S:
        # Each process remembers its newest sessions (10,000: upstream.answers). Until it does, that looks like growth.
        with lab.logins(gateway, accounts, rps=60):
            time.sleep(2.2 * MOST_SESSIONS / 60)
    with lab.logins(gateway, accounts, rps=10) as logins, checks_of(gateway) as checks:
        lab.for_s(0.1)
        lab.settled()
        began_s, before = time.monotonic(), use_of(gateway.pids)
        # Of fewer than a hundred logins in a third, one slow one would be the 95th percentile.
        third = max(10.5, 0.7 * lab.seconds / 3)
        time.sleep(2 * third)
        new = lab.gateway(**environment)
        with lab.logins(new, accounts, rps=10) as new_logins, checks_of(new) as new_checks:
            # Until it has seen every token, and its code is as warm.
            time.sleep(3)
            compared_s = time.monotonic()
            time.sleep(third)
            ended_s, after = time.monotonic(), use_of(gateway.pids)
    lasted_s = ended_s - began_s
    replies = [*logins.between(began_s, ended_s), *checks.between(began_s, ended_s)]
    for name, load, new_load in (("logins", logins, new_logins), ("checks", checks, new_checks)):
        old_replies, new_replies = load.between(compared_s, ended_s), new_load.between(compared_s, ended_s)
        allowed_s = 1.05 * percentile([reply.took_s for reply in new_replies], 95) + 0.005
        lab.within(f"{name} in the last third, p95", [reply.took_s for reply in old_replies], 95, allowed_s)
    lab.fired("requests", len(replies))
    lab.figure("requests", len(replies))
    lab.figure("memory", f"{before.mib:.0f} → {after.mib:.0f} MiB")
    lab.check("0 answers of 5xx", not any(reply.status >= 500 for reply in replies), statuses(replies))
    slope = (after.mib - before.mib) * 3600 / lasted_s
    if lab.seconds >= LONG_S:
        lab.figure("MiB an hour", slope)
        lab.check("memory does not grow", slope < 1.0, slope)
