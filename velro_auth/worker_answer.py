"""Has the application answer a parsed request, and sends the answer with gunicorn's response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gunicorn.http import wsgi
from gunicorn.workers.gthread import ThreadWorker

from velro_auth.exchange import AFTERWARDS
from velro_auth.worker_connection import Connection
from velro_auth.worker_plain import PlainRequest
from velro_auth.worker_response import Response

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class AnsweringWorker(ThreadWorker):  # type: ignore[misc] # gunicorn has no types
    """A worker that does for a request what was asked for, and no more."""

    alive: bool

    def load_wsgi(self) -> None:
        """Load the application; gunicorn's settings, of which each look-up costs half a microsecond, are looked up."""
        super().load_wsgi()
        self._before, self._after_all, self._keeps = self.cfg.pre_request, self.cfg.post_request, self.cfg.keepalive

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
            if not self.alive or not self._keeps or len(self.keepalived_conns) >= self.max_keepalived:
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


def _prepared(req: Any, conn: Connection, cfg: Any) -> tuple[Any, dict[str, Any]]:
    if isinstance(req, PlainRequest):
        resp, environ = Response(req, conn.sock, cfg), req.environ
    else:
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
