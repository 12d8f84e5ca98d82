"""What has to hold in every scenario: G1 to G5. (G6, each fault was seen to happen, is checked by the runner.)

=== ==========================================================================================================
G1  no 500, and no stack trace in an answer
G2  no password, token, key or mail address in a log or a metric
G3  99 % of the answers of ``/health`` within 20 ms, and every ping 200, except on an instance that is ended
G4  threads, open files and memory come back to within 10 % of the start
G5  every answer has a request id and a body that the OpenAPI document describes
=== ==========================================================================================================
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import jsonschema_rs

from tests.faultlab.client import Client, Reply
from tests.faultlab.load import percentile

HEALTH_S: Final = 0.020
EVERY_S: Final = 0.1
SHARE: Final = 0.10
#: Small numbers of threads and files, and allocators, come back to within so much rather than to within a share.
SPARE_THREADS: Final = 4
#: The pool of a process grows to its fixed number of threads (GUNICORN_THREADS, 32) and stays; the rest are its own.
POOL_THREADS: Final = 42
SPARE_FILES: Final = 16
SPARE_MIB: Final = 12.0

#: Part of every password of the lab.
CANARY: Final = "canary-"
_SECRET: Final = re.compile(
    rf"{CANARY}[\w-]*|eyJ[\w-]{{10,}}\.[\w-]+|sb_secret_[\w-]+|[\w.+-]+@[\w-]+\.example(?:\.com)?\b"
)
_TOKEN: Final = re.compile(r"[\w-]{12,}")


class Contract:
    """Says what is wrong with an answer, by the OpenAPI document of the service and by the rules for every answer."""

    def __init__(self) -> None:
        self._document: Mapping[str, Any] | None = None
        self._validators: dict[tuple[str, str, str], Any] = {}

    @property
    def is_taught(self) -> bool:
        """Whether the document is known."""
        return self._document is not None

    def learn(self, document: Mapping[str, Any]) -> None:
        """Take the document of the service."""
        self._document = document
        self._validators.clear()

    def __call__(self, method: str, path: str, reply: Reply) -> str:
        """Return what is wrong; empty if nothing is."""
        if reply.status == 500 or b"Traceback (most recent call last)" in reply.body:
            return "a defect (G1)"
        if not reply.headers.get("x-request-id"):
            return "no request id (G5)"
        if reply.status >= 400 and not path.startswith("/auth/v1"):
            return self._problem(method, reply)
        if "set-cookie" in reply.headers:
            # What browsers get in place of tokens is not in the document.
            return "" if isinstance(reply.json, dict | None) else "the body is no object (G5)"
        return self._described(method, path.partition("?")[0], reply)

    def _problem(self, method: str, reply: Reply) -> str:
        told = reply.json
        if method == "HEAD":
            return ""
        if not isinstance(told, dict) or not {"type", "title", "status", "code", "detail", "request_id"} <= told.keys():
            is_report = isinstance(told, dict) and "checks" in told
            return "" if is_report else "no problem document (G5)"
        if told["status"] != reply.status or told["request_id"] != reply.headers["x-request-id"]:
            return "status or request id differ between head and body (G5)"
        if reply.status in {429, 503} and not re.fullmatch(r"\d+", reply.retry_after):
            return "no Retry-After (G5)"
        if reply.status == 401 and "www-authenticate" not in reply.headers:
            return "no WWW-Authenticate (G5)"
        return ""

    def _described(self, method: str, path: str, reply: Reply) -> str:
        schema = self._schema(method.lower(), path, str(reply.status))
        if schema is None:
            return ""
        key = (method, path, str(reply.status))
        if key not in self._validators:
            assert self._document is not None
            whole = {**schema, "components": self._document["components"]}
            self._validators[key] = jsonschema_rs.validator_for(whole)
        told = reply.json
        if told is None:
            return "the body is no JSON (G5)"
        return "" if self._validators[key].is_valid(told) else "the body is not as OpenAPI describes it (G5)"

    def _schema(self, method: str, path: str, status: str) -> Mapping[str, Any] | None:
        if self._document is None:
            return None
        answers = self._document["paths"].get(path, {}).get(method, {}).get("responses", {})
        content = answers.get(status, {}).get("content", {}).get("application/json", {})
        found: Mapping[str, Any] | None = content.get("schema")
        return found


@dataclass(frozen=True)
class Use:
    """What a process tree uses."""

    threads: int
    files: int
    mib: float
    processes: int = 1


def _called_out() -> set[str]:
    """Return the inodes of sockets whose other end is a server: the pool of idle connections, which has its limit."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]]
    listening = {row[1].partition(":")[2] for row in rows if row[3] == "0A"}
    # The lab's Redis listens on a unix socket.
    local = {line.split()[6] for line in Path("/proc/net/unix").read_text("ascii", "replace").splitlines()[1:]}
    return local | {row[9] for row in rows if row[2].partition(":")[2] in listening}


def use_of(pids: list[int]) -> Use:
    """Return what these processes use together; those that ended count as nothing.

    Idle connections to Supabase and Redis are left out: they are kept for the next request, up to a fixed number.
    """
    pooled = _called_out()
    threads = files = processes = 0
    mib = 0.0
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/status").read_text("ascii")
            names = [each.readlink().name for each in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue
        files += sum(name.removeprefix("socket:[").rstrip("]") not in pooled for name in names)
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        threads += int(facts.get("Threads", "0"))
        mib += int(facts.get("VmRSS", "0 kB").split()[0]) / 1024
        processes += 1
    return Use(threads, files, mib, processes)


def grown(before: Use, after: Use) -> str:
    """Return what did not come back to within its limit; empty if everything did."""
    told = []
    most = max(before.threads * (1 + SHARE) + SPARE_THREADS, after.processes * POOL_THREADS)
    if after.threads > most:
        told.append(f"threads {before.threads} → {after.threads}")
    if after.files > before.files * (1 + SHARE) + SPARE_FILES:
        told.append(f"open files {before.files} → {after.files}")
    if after.mib > before.mib * (1 + SHARE) + SPARE_MIB:
        told.append(f"memory {before.mib:.0f} → {after.mib:.0f} MiB")
    return ", ".join(told)


def leaks(text: str, known: set[str]) -> Counter[str]:
    """Return the secrets that a text shows, shortened, with how often."""
    found = Counter(secret[:14] for secret in _SECRET.findall(text))
    found.update(word[:6] for word in _TOKEN.findall(text) if word in known)
    return found


@dataclass
class Probes:
    """Asks the probes of one instance ten times a second, and the yardstick beside it, until it is stopped."""

    port: int
    yardstick: int
    health_s: list[float] = field(default_factory=list)
    yardstick_s: list[tuple[float, float]] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    is_excused: bool = False
    forgiven: int = 0
    _stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Start asking."""
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop asking."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def slack_s(self, at: float = 99.0) -> float:
        """Return what this machine itself takes for an answer, at this percentile."""
        return percentile([took_s for _, took_s in list(self.yardstick_s)], at)

    def _work(self) -> None:
        gateway, bare = Client(self.port), Client(self.yardstick)
        while not self._stopped.wait(EVERY_S):
            at_s = time.monotonic()
            self.yardstick_s.append((at_s, bare.ask("GET", "/").took_s))
            if self.is_excused:
                continue
            health, ping = gateway.ask("GET", "/health"), gateway.ask("GET", "/api/v1/auth/ping")
            if self.is_excused or self._stopped.is_set():
                continue
            self.health_s.append(health.took_s)
            for path, reply in (("/health", health), ("ping", ping)):
                if reply.status != 200:
                    self.failed[f"{path} {reply.status or reply.failure}"] += 1
        gateway.close()
        bare.close()


def log_lines(text: str) -> Iterator[dict[str, Any]]:
    """Yield the whole lines of a log that are JSON objects."""
    for line in text[: text.rfind("\n") + 1].splitlines():
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if isinstance(told, dict):
            yield told
