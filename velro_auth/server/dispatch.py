"""Has the application answer a parsed request, and sends the answer with gunicorn's response."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from gunicorn import util
from gunicorn.http import errors as theirs
from gunicorn.http import wsgi
from gunicorn.workers.gthread import DEFAULT_WORKER_DATA_TIMEOUT, ThreadWorker

from velro_auth import errors
from velro_auth.context import AFTERWARDS
from velro_auth.server.connection import Connection
from velro_auth.server.plain_parser import PlainRequest
from velro_auth.server.refusals import Refuser
from velro_auth.server.response_writer import Response

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

#: What gunicorn's parser complains of → our error. The nearest ancestor wins.
_REFUSED: Final[dict[type[Exception], type[errors.RequestError]]] = {
    theirs.ParseException: errors.RequestError,
    theirs.LimitRequestLine: errors.UriTooLong,
    theirs.LimitRequestHeaders: errors.HeadersTooLarge,
    theirs.ExpectationFailed: errors.ExpectationFailed,
    theirs.UnsupportedTransferCoding: errors.CodingNotImplemented,
}
#: Complaints about what the application wants to send, or about gunicorn's settings: defects.
_DEFECTS: Final = (theirs.ConfigurationProblem, theirs.InvalidResponseHeader, theirs.InvalidResponseHeaderName)
#: The client has gone away.
_GONE: Final = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN})


def refused_as(error: Exception) -> Exception:
    """Return our error for one of gunicorn's parser, without a byte of the request; a defect stays what it is."""
    known = () if isinstance(error, _DEFECTS) else type(error).__mro__
    for kind in known:
        if kind in _REFUSED:
            return _REFUSED[kind](type(error).__name__)
    return error


class PlainWorker(ThreadWorker):  # type: ignore[misc] # gunicorn has no types
    """gunicorn's own worker, with our answer to what cannot be read: gunicorn's repeats it, in its log as well."""

    def load_wsgi(self) -> None:
        """Load the application, which knows how a refusal looks."""
        super().load_wsgi()
        self._refuser = Refuser(self.wsgi)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer a request that was refused, or whose answer could not be sent."""
        afterwards: list[Callable[[], object]] = []
        answer = self._refuser.answer(refused_as(exc), _head_of(req), addr, None, afterwards)
        try:
            util.write_nonblock(client, answer)
        except OSError:
            self.log.debug("A refusal was not sent.")
        for job in afterwards:
            job()


class AnsweringWorker(PlainWorker):
    """A worker that does for a request what was asked for, and no more."""

    alive: bool

    def load_wsgi(self) -> None:
        """Load the application; gunicorn's settings, of which each look-up costs half a microsecond, are looked up."""
        super().load_wsgi()
        self._before, self._after_all, self._keeps = self.cfg.pre_request, self.cfg.post_request, self.cfg.keepalive

    def respond(self, conn: Connection) -> bool:
        """Read a request, have it answered or refused; True when the connection may go on.

        gunicorn's own names the bytes that it cannot read in its log.
        """
        req = None
        try:
            req = next(conn.parser)
            return self.handle_request(req, conn) and _has_been_read(conn)
        except (StopIteration, theirs.NoMoreData):
            # The client went away, or the time was up.
            return False
        except OSError as error:
            if error.errno not in _GONE:
                self.log.exception("Socket error processing request.")
        except Exception as error:  # noqa: BLE001 - a refusal knows our own, and logs a defect
            self._refuse_here(conn, refused_as(error), conn.parser.head if req is None else _head_of(req))
        return False

    def _refuse_here(self, conn: Connection, error: Exception, head: bytes) -> None:
        conn.sock.sendall(self._refuser.answer(error, head, conn.client, conn.server, conn.afterwards))

    def handle_request(self, req: Any, conn: Connection) -> bool:
        """Have the application answer a parsed request; True when the connection may go on.

        As gunicorn's own does it, less what nobody asked for: the fields of an access log are gathered for each
        request as soon as logging is configured, whether there is such a log or not (20 µs).
        """
        resp = None
        environ: dict[str, Any] = {}
        try:
            self._before(self, req)
            resp, environ = _prepared(req, conn, self.cfg)
            self.nr += 1
            if self.nr >= self.max_requests and self.alive:
                self.log.info("Autorestarting worker after current request.")
                self.alive = False
            if not self._may_keep(conn):
                resp.force_close()
            _run(self.wsgi, environ, resp)
        except OSError:
            raise
        except (Exception, SystemExit):
            if resp and resp.headers_sent:
                # A second head would be read as part of the first answer.
                self.log.exception("Error handling request")
                raise StopIteration from None
            raise
        finally:
            try:
                self._after_all(self, req, environ, resp)
            except Exception:
                self.log.exception("Exception in post_request hook")
        return not resp.should_close()

    def _may_keep(self, conn: Connection) -> bool:
        is_room = len(self.keepalived_conns) < self.max_keepalived
        return bool(self.alive and self._keeps and is_room and not conn.has_to_close)


def _has_been_read(conn: Connection) -> bool:
    """Tell whether all of the body is there, so that the next request begins behind it. Waits for nothing."""
    conn.sock.waits_until_s = 0.0
    try:
        return bool(conn.parser.finish_body(deadline=time.monotonic() + DEFAULT_WORKER_DATA_TIMEOUT))
    except (theirs.ParseException, theirs.NoMoreData):
        # The answer has left: all that remains is to close.
        return False


def _head_of(req: Any) -> bytes:
    """Write the head of a request anew, from what gunicorn has read of it; empty where it has read nothing."""
    if req is None or not getattr(req, "method", None):
        return b""
    lines = [f"{req.method} {req.uri} HTTP/1.1", *(f"{name}: {value}" for name, value in req.headers), "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace")


def _prepared(req: Any, conn: Connection, cfg: Any) -> tuple[Any, dict[str, Any]]:
    if isinstance(req, PlainRequest):
        resp, environ = Response(req, conn.sock, cfg), req.environ
    else:
        # The worker has said it where it was waited for.
        req._expected_100_continue = False  # noqa: SLF001 - gunicorn's
        resp, environ = wsgi.create(req, conn.sock, conn.client, conn.server, cfg)
        environ["wsgi.multithread"] = True
    environ[AFTERWARDS] = conn.afterwards
    return resp, environ


def _run(app: WSGIApplication, environ: dict[str, Any], resp: Any) -> None:
    answer = app(environ, resp.start_response)
    try:
        if isinstance(answer, wsgi.FileWrapper):
            resp.write_file(answer)
        else:
            for item in answer:
                resp.write(item)
        resp.close()
    finally:
        if close := getattr(answer, "close", None):
            close()
