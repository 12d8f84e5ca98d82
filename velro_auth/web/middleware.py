"""WSGI middleware around both lanes: everything that each response needs.

It removes one trailing slash from the path (not below ``verify``, where the path is the client's), gives the request
an id, finds the client's address, answers preflights, adds CORS, security and timing headers, writes the access log,
and turns an unexpected exception into a 500 without details.
"""

from __future__ import annotations

import functools
import itertools
import logging
import random
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from werkzeug.wrappers import Response

from velro_auth.context import AFTERWARDS, CONTEXT, REFUSED, REPEATED, SAME_ANSWER, RequestContext
from velro_auth.telemetry.logs import log_access
from velro_auth.web import problems
from velro_auth.web.client_address import Addresses
from velro_auth.web.client_address_watch import AddressWatch
from velro_auth.web.cors import Cors
from velro_auth.web.prepared import FASTLANE_TIME, PreparedAnswer, PreparedAnswers

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger("velro_auth.web.middleware")

#: ASVS 3.4. HSTS: one year, subdomains too.
SECURITY_HEADERS: Final = (
    ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
#: W3C Trace Context, version 00; all zeros are no identifiers.
_TRACEPARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
#: Any other method may be arbitrary bytes, such as a piece of a body. The log gets ``_NO_METHOD`` instead.
_METHODS: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
_NO_METHOD: Final = "-"
_MAX_PATH_LENGTH: Final = 200
_MAX_AGENT_LENGTH: Final = 120
#: A longer time in the queue means that a clock is wrong.
_MAX_QUEUE_MS: Final = 600_000
_UNIX_MS: Final = re.compile(r"[0-9]{1,16}")
_CLIENT_ERROR: Final = 400
_SERVER_ERROR: Final = 500

OnResponse: TypeAlias = Callable[[str, int, float, RequestContext, str], None]


def is_below(path: str, prefixes: Iterable[str]) -> bool:
    """Return whether *path* is one of *prefixes*, or below one."""
    for prefix in prefixes:
        if path.startswith(prefix) and (len(path) == len(prefix) or path[len(prefix)] == "/"):
            return True
    return False


def _ignore(*_: object) -> None:
    """Do nothing."""


class Middleware:
    """Wraps a WSGI application.

    Args:
        app: The wrapped application.
        cors: Decides which origins may read responses.
        addresses: Finds the client's address.
        quiet_paths: Paths of probes, of which only some are logged.
        own_options: Paths below which OPTIONS goes to *app*: gateways ask ``verify`` about OPTIONS requests too.
        refuse: Builds the responses to requests that the server refuses itself.
        on_response: Called for each response: path, status, time taken in ms, request context, user agent.
        watch: Notices when client addresses cannot be right; None for no check.
        watched_paths: Paths whose requests *watch* looks at.
        log_quiet_every: One of this many successful probes is logged; failed ones always are.
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
        refuse: Callable[[Exception, WSGIEnvironment], WSGIApplication] = problems.respond,
        on_response: OnResponse = _ignore,
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
        self._refuse = refuse
        self._on_response = on_response
        self._watch = watch
        self._watched_paths = frozenset(watched_paths)
        self._log_quiet_every = log_quiet_every
        self._quiet_count = itertools.count()
        self._prepared = PreparedAnswers()
        self._clock = clock
        self._wall_clock = wall_clock

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        started_s = self._clock()
        # An address without a path means the path "/" (RFC 9110, 4.2.3).
        path = environ["PATH_INFO"] = environ["PATH_INFO"] or "/"
        # Below verify the path is the client's: a gateway appends it, with its slash.
        if path.endswith("/") and not path.endswith("//") and len(path) > 1 and not is_below(path, self._own_options):
            environ["PATH_INFO"] = path[:-1]
        context = self._context_of(environ)
        environ[CONTEXT] = context
        same = environ.get(SAME_ANSWER)
        prepared = self._prepared.find(same, environ) if same is not None else None
        if prepared is not None:
            status, headers, body = self._prepared_answer(environ, context, prepared, started_s)
        else:
            status, headers, body = self._response(environ, context)
            # It holds the request, whose environment holds the context: they would live until a garbage collection.
            context.keep_session = None
            headers += _security_headers(tuple([name for name, _ in headers]))
            headers += self._cors.headers(environ.get("HTTP_ORIGIN"))
            headers += context.answer_headers
            if same is not None:
                self._prepared.keep(same, environ, status, headers, body)
            if context.allowance is not None:
                headers += context.allowance.fields()
        took_ms = (self._clock() - started_s) * 1000
        headers += [("X-Request-ID", context.request_id), ("Server-Timing", _server_timing(context, took_ms))]
        record = functools.partial(self._record, environ, context, int(status[:3]), took_ms)
        if (afterwards := environ.get(AFTERWARDS)) is None:
            record()
        else:
            afterwards.append(record)
        start_response(status, headers)
        return [body]

    def _context_of(self, environ: WSGIEnvironment) -> RequestContext:
        peer_is_trusted = self._addresses.trusts(environ.get("REMOTE_ADDR", ""))
        given = environ.get("HTTP_X_REQUEST_ID", "")
        traceparent = environ.get("HTTP_TRACEPARENT", "")
        context = RequestContext(
            # No secret, only a name: Python's generator starts anew in each forked process.
            request_id=given if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}",
            address=self._addresses.of(environ),
            arrived_s=time.monotonic(),
            peer_is_trusted=peer_is_trusted,
            traceparent=traceparent if _TRACEPARENT.fullmatch(traceparent) else None,
            queue_ms=self._queue_ms(environ.get("HTTP_X_REQUEST_START", "")) if peer_is_trusted else None,
        )
        if self._watch is not None and self._watch.is_open and environ["PATH_INFO"] in self._watched_paths:
            self._watch.look(environ)
        if railway_id := environ.get("HTTP_X_RAILWAY_REQUEST_ID"):
            # Railway joins our log lines with its own by this name.
            context.log_fields["requestId"] = railway_id[:64]
        return context

    def _queue_ms(self, started: str) -> float | None:
        """Return how long the request waited since the platform's proxy received it, *started* in Unix milliseconds."""
        if not _UNIX_MS.fullmatch(started):
            return None
        waited_ms = self._wall_clock() * 1000 - int(started)
        return waited_ms if 0 <= waited_ms < _MAX_QUEUE_MS else None

    def _response(self, environ: WSGIEnvironment, context: RequestContext) -> tuple[str, list[tuple[str, str]], bytes]:
        try:
            if (refused := environ.get(REFUSED)) is not None:
                context.lane = "server"
                return _run(self._refuse(refused, environ), environ)
            if environ["REQUEST_METHOD"] == "OPTIONS" and not is_below(environ["PATH_INFO"], self._own_options):
                context.lane = "edge"
                return _run(Response(status=204, headers=self._cors.preflight_headers(environ)), environ)
            return _run(self._app, environ)
        except Exception as error:  # noqa: BLE001 - the last resort: respond() logs what it does not know
            return _run(problems.respond(error, environ), environ)

    def _prepared_answer(
        self, environ: WSGIEnvironment, context: RequestContext, prepared: PreparedAnswer, started_s: float
    ) -> tuple[str, list[tuple[str, str]], bytes]:
        context.lane = prepared.lane
        environ[REPEATED] = prepared.fields
        headers = list(prepared.fields.fields)
        if prepared.is_timed:
            headers.append((FASTLANE_TIME, f"{(self._clock() - started_s) * 1000:.2f}"))
        return prepared.status, headers, prepared.body

    def _record(self, environ: WSGIEnvironment, context: RequestContext, status: int, took_ms: float) -> None:
        """Count a response and log it, after it was sent if the server can call back then."""
        path = _path(environ)
        try:
            self._on_response(path, status, took_ms, context, _user_agent(environ))
        except Exception:
            # A failure to count must not lose the response.
            logger.exception("an answer was not counted")
        if status < _CLIENT_ERROR and path in self._quiet_paths and next(self._quiet_count) % self._log_quiet_every:
            return
        _log(environ, path, context, status, took_ms)


def _log(environ: WSGIEnvironment, path: str, context: RequestContext, status: int, took_ms: float) -> None:
    method = environ["REQUEST_METHOD"]
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
    level = logging.ERROR if status == _SERVER_ERROR else logging.WARNING if status > _SERVER_ERROR else logging.INFO
    log_access(level, f"{fields['method']} {path} {status}", fields | context.log_fields)


def _run(app: WSGIApplication, environ: WSGIEnvironment) -> tuple[str, list[tuple[str, str]], bytes]:
    """Run a WSGI application to its end, so that a failure on the way can still become a 500. Bodies are small."""
    started: list[tuple[str, list[tuple[str, str]]]] = []
    written: list[bytes] = []

    def start_response(status: str, headers: list[tuple[str, str]], _: Any = None) -> Callable[[bytes], object]:
        started[:] = [(status, list(headers))]
        return written.append

    chunks = app(environ, start_response)
    try:
        body = b"".join([*written, *chunks])
    finally:
        if close := getattr(chunks, "close", None):
            close()
    status, headers = started[0]
    return status, headers, body


@functools.lru_cache(maxsize=256)
def _security_headers(present: tuple[str, ...]) -> Sequence[tuple[str, str]]:
    """Return the security headers that a response with the fields *present* lacks."""
    names = {name.lower() for name in present}
    return [header for header in SECURITY_HEADERS if header[0].lower() not in names]


def _server_timing(context: RequestContext, took_ms: float) -> str:
    timing = f"total;dur={took_ms:.1f}"
    if context.shows_upstream:
        timing += f", upstream;dur={context.upstream_ms:.1f}"
        if context.queue_ms is not None:
            timing += f", queue;dur={context.queue_ms:.1f}"
    return timing


def _user_agent(environ: Mapping[str, Any]) -> str:
    agent: str = environ.get("HTTP_USER_AGENT", "")
    return agent[:_MAX_AGENT_LENGTH]


def _path(environ: Mapping[str, Any]) -> str:
    """Return the path for logs, without the query, which may hold secrets."""
    path: str = environ.get("PATH_INFO", "")
    if path.isascii():
        return path[:_MAX_PATH_LENGTH]
    return path.encode("latin-1", "replace").decode("utf-8", "replace")[:_MAX_PATH_LENGTH]
