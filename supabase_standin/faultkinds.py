"""What can go wrong on purpose: each kind is one small class.

A fault may wait and `proceed`, change what comes back, answer by itself, or make the connection vanish.
"""

from __future__ import annotations

import gzip
import json
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, Final, Protocol

from supabase_standin.errors import is_new
from supabase_standin.wire import Answer, Received, Trickle

JSON: Final = (("Content-Type", "application/json"),)
HTML: Final = (("Content-Type", "text/html; charset=UTF-8"), ("Server", "cloudflare"))
BAD_GATEWAY: Final = b"""<!DOCTYPE html>
<html lang="en-US"><head><title>supabase.co | 502: Bad gateway</title></head>
<body><h1>Bad gateway <span>Error code 502</span></h1>
<p>The web server reported a bad gateway error. Cloudflare Ray ID: 0000000000000000</p></body></html>
"""


class Vanish(Exception):
    """The connection ends without (more of) an answer: with RST if *is_reset*, else with FIN."""

    def __init__(self, *, is_reset: bool) -> None:
        super().__init__("reset" if is_reset else "closed")
        self.is_reset = is_reset


class Exchange(Protocol):
    """What a fault may use of the connection."""

    @property
    def request(self) -> Received:
        """The request that arrived."""

    def wait(self, seconds: float) -> None:
        """Pause, at most until the stand-in stops."""

    def wait_for_the_end(self) -> None:
        """Pause until the client goes away or the stand-in stops."""


class Fault(Protocol):
    """One kind of trouble."""

    def apply(self, exchange: Exchange, proceed: Callable[[], Answer]) -> Answer:
        """Return an answer, perhaps that of *proceed*; or raise `Vanish`."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Answers late: by *seconds*, or by a random time up to *most_s*."""

    seconds: float
    most_s: float | None = None

    def apply(self, exchange: Exchange, proceed: Callable[[], Answer]) -> Answer:
        """Wait, then go on."""
        most_s = self.seconds if self.most_s is None else self.most_s
        exchange.wait(random.uniform(self.seconds, most_s))  # noqa: S311 - guards nothing
        return proceed()


class Capacity:
    """Answers only *places* requests at once, each after *seconds*; the others queue, as password hashes do."""

    def __init__(self, *, places: int, seconds: float) -> None:
        self._places, self._seconds = threading.Semaphore(places), seconds

    def apply(self, exchange: Exchange, proceed: Callable[[], Answer]) -> Answer:
        """Wait for a place, and for the work."""
        with self._places:
            exchange.wait(self._seconds)
        return proceed()


@dataclass(frozen=True, kw_only=True)
class Hang:
    """Never answers; *after* doing the work, or without."""

    after: bool = False

    def apply(self, exchange: Exchange, proceed: Callable[[], Answer]) -> Answer:
        """Wait for the client to give up."""
        if self.after:
            proceed()
        exchange.wait_for_the_end()
        raise Vanish(is_reset=False)


@dataclass(frozen=True, kw_only=True)
class Slow:
    """Sends one byte each *interval_s*, from the status line on or the body only."""

    interval_s: float
    body_only: bool = False

    def apply(self, exchange: Exchange, proceed: Callable[[], Answer]) -> Answer:
        """Slow the answer down."""
        del exchange
        return replace(proceed(), trickle=Trickle(interval_s=self.interval_s, body_only=self.body_only))


@dataclass(frozen=True, kw_only=True)
class Reset:
    """Resets the connection instead of answering; *after* doing the work, or without."""

    after: bool = False

    def apply(self, exchange: Exchange, proceed: Callable[[], Answer]) -> Answer:
        """Let the connection vanish with RST."""
        del exchange
        if self.after:
            proceed()
        raise Vanish(is_reset=True)


@dataclass(frozen=True, kw_only=True)
class Close:
    """Closes the connection instead of answering; *after* doing the work, or without."""

    after: bool = False

    def apply(self, exchange: Exchange, proceed: Callable[[], Answer]) -> Answer:
        """Let the connection vanish with FIN."""
        del exchange
        if self.after:
            proceed()
        raise Vanish(is_reset=False)


@dataclass(frozen=True, kw_only=True)
class Canned:
    """Answers with what it was given."""

    answer: Answer

    def apply(self, exchange: Exchange, proceed: Callable[[], Answer]) -> Answer:
        """Answer without calling *proceed*."""
        del exchange, proceed
        return self.answer


@dataclass(frozen=True, kw_only=True)
class Truncated:
    """Cuts the body after *at* bytes; the length admits it, or the connection ends early."""

    at: int = 20
    honest_length: bool = True

    def apply(self, exchange: Exchange, proceed: Callable[[], Answer]) -> Answer:
        """Cut the answer."""
        del exchange
        whole = proceed()
        length = None if self.honest_length else len(whole.body)
        return replace(whole, body=whole.body[: self.at], length=length, closes=not self.honest_length)


@dataclass(frozen=True, kw_only=True)
class Without:
    """Leaves some keys out of a JSON object."""

    keys: tuple[str, ...] = ("access_token", "refresh_token")

    def apply(self, exchange: Exchange, proceed: Callable[[], Answer]) -> Answer:
        """Drop the keys."""
        del exchange
        whole = proceed()
        body = json.loads(whole.body)
        kept = {key: value for key, value in body.items() if key not in self.keys}
        return replace(whole, body=json.dumps(kept).encode())


@dataclass(frozen=True, kw_only=True)
class Typed:
    """Sends the true body under another content type."""

    content_type: str = "text/plain"

    def apply(self, exchange: Exchange, proceed: Callable[[], Answer]) -> Answer:
        """Rename the content."""
        del exchange
        whole = proceed()
        others = [item for item in whole.headers if item[0].lower() != "content-type"]
        return replace(whole, headers=(*others, ("Content-Type", self.content_type)))


@dataclass(frozen=True, kw_only=True)
class Vector:
    """Answers exactly as one of the recorded failures, in the shape the caller asked for."""

    case: str

    def apply(self, exchange: Exchange, proceed: Callable[[], Answer]) -> Answer:
        """Answer as recorded."""
        del proceed
        recorded = vectors()[self.case]
        wants_new = is_new(exchange.request.headers.get("X-Supabase-Api-Version"))
        body = recorded["body_2024_01_01" if wants_new else "body_legacy"]
        status = recorded["status"] if wants_new else recorded.get("status_legacy", recorded["status"])
        headers = recorded["headers"]["2024-01-01" if wants_new else "legacy"]
        text = body if isinstance(body, str) else json.dumps(body)
        return Answer(status=status, headers=tuple(headers.items()), body=text.encode())


@cache
def vectors() -> Mapping[str, Mapping[str, Any]]:
    """Return the recorded failures by the names of their cases."""
    text = resources.files("supabase_standin").joinpath("vectors.json").read_text("utf-8")
    return {item["case"]: item for item in json.loads(text)}


def html(*, status: int = 502) -> Fault:
    """Answer with the error page of a proxy in front."""
    return Canned(answer=Answer(status=status, headers=HTML, body=BAD_GATEWAY))


def throttled(*, retry_after: str | None = None) -> Fault:
    """Answer 429, with a Retry-After if one is given."""
    extra = () if retry_after is None else (("Retry-After", retry_after),)
    body = {"code": "over_request_rate_limit", "message": "Request rate limit reached"}
    return Canned(answer=Answer(status=429, headers=JSON + extra, body=json.dumps(body).encode()))


def failure(*, status: int = 500, code: str = "unexpected_failure", message: str = "Unexpected failure") -> Fault:
    """Answer with an error of the service's own shape."""
    headers = (*JSON, ("x-sb-error-code", code))
    body = {"code": code, "message": message}
    return Canned(answer=Answer(status=status, headers=headers, body=json.dumps(body).encode()))


def wrong_json(*, value: Any = None) -> Fault:
    """Answer 200 with JSON that is no session: null, a list, a number."""
    return Canned(answer=Answer(status=200, headers=JSON, body=json.dumps(value).encode()))


def oversized(*, size: int = 2 * 1024 * 1024) -> Fault:
    """Answer 200 with a JSON body of at least *size* bytes."""
    return Canned(answer=Answer(status=200, headers=JSON, body=json.dumps({"filler": "x" * size}).encode()))


def redirect(*, location: str = "http://127.0.0.1:9/elsewhere", status: int = 302) -> Fault:
    """Answer with a redirect."""
    return Canned(answer=Answer(status=status, headers=(("Location", location),)))


def gzip_bomb(*, size: int = 64 * 1024 * 1024) -> Fault:
    """Answer 200 with JSON that unpacks to *size* bytes."""
    packed = gzip.compress(b'{"filler":"' + b"x" * size + b'"}', compresslevel=9)
    headers = (*JSON, ("Content-Encoding", "gzip"))
    return Canned(answer=Answer(status=200, headers=headers, body=packed))


#: Name → what makes the fault, given its options.
KINDS: Final[Mapping[str, Callable[..., Fault]]] = {
    "latency": Latency,
    "capacity": Capacity,
    "hang": Hang,
    "trickle": Slow,
    "reset": Reset,
    "close": Close,
    "html": html,
    "throttled": throttled,
    "failure": failure,
    "truncated": Truncated,
    "wrong_json": wrong_json,
    "missing_keys": Without,
    "content_type": Typed,
    "oversized": oversized,
    "redirect": redirect,
    "gzip_bomb": gzip_bomb,
}


def make(kind: str, options: Mapping[str, Any]) -> Fault:
    """Return a fault of a *kind*; ``vector:<case>`` names a recorded failure.

    Raises:
        ValueError: There is no such kind, case or option.
    """
    name, _, case = kind.partition(":")
    if name == "vector" and case in vectors() and not options:
        return Vector(case=case)
    if kind not in KINDS:
        raise ValueError(f"there is no fault {kind!r}: choose one of {', '.join(KINDS)}, vector:<case>")
    try:
        return KINDS[kind](**options)
    except TypeError as error:
        raise ValueError(f"the fault {kind!r} takes other options: {error}") from error
