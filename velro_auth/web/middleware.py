"""Around both lanes: what every answer gets, whoever gave it.

The outermost WSGI layer. It takes one trailing slash off the path (but not below ``verify``, where it is the client's),
names the request, finds out who calls, answers preflights, adds CORS, security and timing headers, writes the access
log, and turns what nobody caught into a 500 that tells nothing.
"""

from __future__ import annotations

import functools
import itertools
import logging
import math
import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from werkzeug.wrappers import Response

from velro_auth.context import AFTERWARDS, REFUSED, RequestContext
from velro_auth.web import problems
from velro_auth.web.client_address import Addresses
from velro_auth.web.client_address_watch import AddressWatch
from velro_auth.web.cors import Cors
from velro_auth.web.paths import is_below

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger("velro_auth.web.middleware")
access_log = logging.getLogger("velro_auth.access")

#: ASVS 3.4. HSTS: one year, subdomains too.
SECURITY_HEADERS: Final = (
    ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)

_SECURITY_NAMES: Final = frozenset(name.lower() for name, _ in SECURITY_HEADERS)

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
#: W3C Trace Context, version 00; all zeros are no identifiers.
_TRACEPARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
#: Others are whatever bytes stood where a method stands, perhaps a piece of a body; the log gets ``_NO_METHOD``.
_METHODS: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
_NO_METHOD: Final = "-"
_LONGEST_PATH: Final = 200
_LONGEST_AGENT: Final = 120
#: More than this is a wrong clock, not a queue.
_LONGEST_QUEUE_MS: Final = 600_000
_UNIX_MS: Final = re.compile(r"[0-9]{1,16}")
_MISTAKEN: Final = 400
_FAILED: Final = 500


OnAnswer: TypeAlias = Callable[[str, int, float, RequestContext, str], None]


def _nobody(*_: object) -> None:
    """Tell nobody."""


class Middleware:
    """Wraps a WSGI application.

    Args:
        app: What answers.
        cors: Which origins may read answers.
        addresses: How the caller's address is found.
        quiet_paths: Probes, of which only some are logged.
        own_options: Paths below which OPTIONS is a request like any other: gateways ask about those too.
        on_answer: Told of every answer: path, status, time taken in ms, exchange, user agent.
        watch: Notices when the callers' addresses cannot be right; None looks at none.
        watched_paths: The paths whose requests it looks at.
        log_quiet_every: One of so many answered probes is logged; failed ones always are.
        clock: A clock that never jumps, in seconds.
        wall_clock: The time of day, in seconds since the epoch.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        cors: Cors,
        addresses: Addresses,
        quiet_paths: Collection[str] = (),
        own_options: Collection[str] = (),
        on_response: OnAnswer = _nobody,
        watch: AddressWatch | None = None,
        watched_paths: Collection[str] = (),
        log_quiet_every: int = 100,
        clock: Callable[[], float] = time.perf_counter,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._app = app
        self._cors = cors
        self._addresses = addresses
        self._quiet_paths = frozenset(quiet_paths)
        self._own_options = tuple(own_options)
        self._on_response = on_response
        self._watch = watch
        self._watched_paths = frozenset(watched_paths)
        self._log_quiet_every = log_quiet_every
        self._quiet_count = itertools.count()
        self._clock = clock
        self._wall_clock = wall_clock

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        started_s = self._clock()
        path = environ["PATH_INFO"]
        # Below verify the path is the client's: a gateway that appends it asks about "/" with a slash.
        if path.endswith("/") and len(path) > 1 and not is_below(path, self._own_options):
            environ["PATH_INFO"] = path[:-1]
        context = self._open(environ)
        context.attach(environ)
        status, headers, body = self._answer(environ, context)
        took_ms = (self._clock() - started_s) * 1000
        headers += _security_headers(headers)
        headers += self._cors.headers(environ.get("HTTP_ORIGIN"))
        headers += [("X-Request-ID", context.request_id), ("Server-Timing", _server_timing(context, took_ms))]
        headers += _rate_limit(context)
        self._note(environ, context, int(status[:3]), took_ms)
        start_response(status, headers)
        return [body]

    def _open(self, environ: WSGIEnvironment) -> RequestContext:
        peer_is_trusted = self._addresses.trusts(environ.get("REMOTE_ADDR", ""))
        given = environ.get("HTTP_X_REQUEST_ID", "")
        traceparent = environ.get("HTTP_TRACEPARENT", "")
        context = RequestContext(
            request_id=given if _REQUEST_ID.fullmatch(given) else os.urandom(16).hex(),
            address=self._addresses.of(environ),
            arrived_s=time.monotonic(),
            peer_is_trusted=peer_is_trusted,
            traceparent=traceparent if _TRACEPARENT.fullmatch(traceparent) else None,
            queue_ms=self._queue_ms(environ.get("HTTP_X_REQUEST_START", "")) if peer_is_trusted else None,
        )
        if self._watch is not None and self._watch.is_open and environ["PATH_INFO"] in self._watched_paths:
            self._watch.look(environ)
        if railway_id := environ.get("HTTP_X_RAILWAY_REQUEST_ID"):
            # By this name Railway joins our lines with its own.
            context.notes["requestId"] = railway_id[:64]
        return context

    def _queue_ms(self, started: str) -> float | None:
        """Read when the platform's edge took the request: Unix milliseconds."""
        if not _UNIX_MS.fullmatch(started):
            return None
        waited_ms = self._wall_clock() * 1000 - int(started)
        return waited_ms if 0 <= waited_ms < _LONGEST_QUEUE_MS else None

    def _answer(self, environ: WSGIEnvironment, context: RequestContext) -> tuple[str, list[tuple[str, str]], bytes]:
        try:
            if (refused := environ.get(REFUSED)) is not None:
                context.lane = "server"
                return _run(problems.respond(refused, environ), environ)
            if environ["REQUEST_METHOD"] == "OPTIONS" and not is_below(environ["PATH_INFO"], self._own_options):
                context.lane = "edge"
                return _run(Response(status=204, headers=self._cors.preflight_headers(environ)), environ)
            return _run(self._app, environ)
        except Exception as error:  # noqa: BLE001 - the last resort: respond() logs what it does not know
            return _run(problems.respond(error, environ), environ)

    def _note(self, environ: WSGIEnvironment, context: RequestContext, status: int, took_ms: float) -> None:
        """Count an answer, and have it logged: after it has left, where the server knows when that is."""
        path = _path(environ)
        try:
            self._on_response(path, status, took_ms, context, _user_agent(environ))
        except Exception:
            # Whoever counts answers must not cost one.
            logger.exception("an answer was not counted")
        if status < _MISTAKEN and path in self._quiet_paths and next(self._quiet_count) % self._log_quiet_every:
            return
        line = functools.partial(_log, environ, context, status, took_ms)
        if (later := environ.get(AFTERWARDS)) is None:
            line()
        else:
            later.append(line)


def _log(environ: WSGIEnvironment, context: RequestContext, status: int, took_ms: float) -> None:
    path, method = _path(environ), environ["REQUEST_METHOD"]
    fields: dict[str, Any] = {
        "request_id": context.request_id,
        "method": method if method in _METHODS else _NO_METHOD,
        "path": path,
        "status": status,
        "outcome": context.outcome,
        "lane": context.lane,
        "took_ms": round(took_ms, 2),
        "upstream_ms": round(context.upstream_ms, 2),
        "address": context.address,
        "user_agent": _user_agent(environ),
    }
    if context.queue_ms is not None:
        fields["queue_ms"] = round(context.queue_ms, 1)
    if context.traceparent:
        fields["traceparent"] = context.traceparent
    level = logging.ERROR if status == _FAILED else logging.WARNING if status > _FAILED else logging.INFO
    access_log.log(level, "%s %s %d", fields["method"], path, status, extra=fields | context.notes)


def _run(app: WSGIApplication, environ: WSGIEnvironment) -> tuple[str, list[tuple[str, str]], bytes]:
    """Run a WSGI application to its end, so that a failure on the way can still be answered.

    Every body here is small. What is sent is decided only when all of it is there.
    """
    started: list[tuple[str, list[tuple[str, str]]]] = []
    written: list[bytes] = []

    def start_response(status: str, headers: list[tuple[str, str]], _: Any = None) -> Callable[[bytes], object]:
        started[:] = [(status, list(headers))]
        return written.append

    answer = app(environ, start_response)
    try:
        body = b"".join([*written, *answer])
    finally:
        if close := getattr(answer, "close", None):
            close()
    status, headers = started[0]
    return status, headers, body


def _security_headers(headers: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
    """Return those that the answer does not have itself."""
    present = {name.lower() for name, _ in headers}
    if present.isdisjoint(_SECURITY_NAMES):
        return SECURITY_HEADERS
    return [header for header in SECURITY_HEADERS if header[0].lower() not in present]


def _server_timing(context: RequestContext, took_ms: float) -> str:
    timing = f"total;dur={took_ms:.1f}"
    if context.shows_upstream:
        timing += f", upstream;dur={context.upstream_ms:.1f}"
        if context.queue_ms is not None:
            timing += f", queue;dur={context.queue_ms:.1f}"
    return timing


def _rate_limit(context: RequestContext) -> list[tuple[str, str]]:
    """Tell what the caller may still try (draft-ietf-httpapi-ratelimit-headers-10)."""
    allowance = context.allowance
    if allowance is None:
        return []
    return [
        ("RateLimit-Policy", f'"login";q={allowance.quota};w={math.ceil(allowance.window_s)}'),
        ("RateLimit", f'"login";r={allowance.remaining};t={math.ceil(allowance.reset_s)}'),
    ]


def _user_agent(environ: Mapping[str, Any]) -> str:
    agent: str = environ.get("HTTP_USER_AGENT", "")
    return agent[:_LONGEST_AGENT]


def _path(environ: Mapping[str, Any]) -> str:
    """Return the path without the query, which may hold what no log should."""
    path: str = environ.get("PATH_INFO", "")
    if path.isascii():
        return path[:_LONGEST_PATH]
    return path.encode("latin-1", "replace").decode("utf-8", "replace")[:_LONGEST_PATH]
