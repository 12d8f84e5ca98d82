"""The undocumented parts of gunicorn that our worker uses, and the worker that serves when one of them is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gunicorn.workers.base import Worker
from gunicorn.workers.gthread import ThreadWorker

from velro_auth import errors
from velro_auth.server.refusals import Refuser

#: Attributes and methods of gunicorn's ``Worker`` that our worker uses.
WORKER_PARTS: Final = (
    *("alive", "app", "cfg", "handle_exit", "init_process", "load_wsgi", "log", "max_requests", "notify"),
    *("nr", "ppid", "sockets", "tmp", "wsgi"),
)
#: Names of the errors of gunicorn's parser → our error. The nearest ancestor wins.
_REFUSED: Final[dict[str, type[errors.RequestError]]] = {
    "ParseException": errors.RequestError,
    "LimitRequestLine": errors.UriTooLong,
    "LimitRequestHeaders": errors.HeadersTooLarge,
    "ExpectationFailed": errors.ExpectationFailed,
    "UnsupportedTransferCoding": errors.CodingNotImplemented,
}
#: Errors about the application's response, or about gunicorn's settings: defects.
_DEFECTS: Final = frozenset({"ConfigurationProblem", "InvalidResponseHeader", "InvalidResponseHeaderName"})


def incompatibility(cfg: Any, base: Any = Worker) -> str:
    """Return why our worker cannot serve with these settings and this gunicorn; empty when it can."""
    missing = [name for name in WORKER_PARTS if name not in _names_of(base)]
    reasons = {
        f"gunicorn has no {', '.join(missing)}": bool(missing),
        "it does not speak TLS": cfg.is_ssl,
        "it does not speak HTTP/2": "h2" in cfg.http_protocols,
        "it does not speak uWSGI": cfg.protocol != "http",
        "it does not speak the PROXY protocol": cfg.proxy_protocol != "off",
        "it takes the scheme from any peer: forwarded_allow_ips must be *": "*" not in cfg.forwarded_allow_ips,
        "it drops names with an underscore: header_map must be drop": cfg.header_map != "drop",
        "it reads no header lines that break the rules": cfg.strip_header_spaces or cfg.permit_obsolete_folding,
    }
    return next((reason for reason, applies in reasons.items() if applies), "")


def _names_of(base: Any) -> set[str]:
    """Return the names of a worker's methods, and of the attributes that it sets at start."""
    codes = [getattr(getattr(base, name, None), "__code__", None) for name in ("__init__", "load_wsgi")]
    return {*dir(base), *(name for code in codes if code for name in code.co_names)}


def refused_as(error: Exception) -> Exception:
    """Return our error for an error of gunicorn's parser, without a byte of the request; return a defect unchanged."""
    names = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "gunicorn.http.errors"]
    if _DEFECTS.isdisjoint(names):
        for name in names:
            if name in _REFUSED:
                return _REFUSED[name](type(error).__name__)
    return error


class PlainWorker(ThreadWorker):  # type: ignore[misc] # gunicorn has no types
    """gunicorn's threaded worker. We answer unreadable requests: gunicorn's own answers repeat bytes of the request."""

    def load_wsgi(self) -> None:
        """Load the application, which writes the answers to refused requests."""
        super().load_wsgi()
        self._refuser = Refuser(self.wsgi)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer a request that was refused, or whose response could not be sent."""
        afterwards: list[Callable[[], object]] = []
        answer = self._refuser.answer(refused_as(exc), _head_of(req), addr, None, afterwards)
        try:
            client.settimeout(0)
            client.sendall(answer)
            client.settimeout(None)
        except OSError:
            self.log.debug("A refusal was not sent.")
        for job in afterwards:
            job()


def _head_of(req: Any) -> bytes:
    """Write the head of a request anew, from what gunicorn has read of it; empty where it has read nothing."""
    if req is None or not getattr(req, "method", None):
        return b""
    lines = [f"{req.method} {req.uri} HTTP/1.1", *(f"{name}: {value}" for name, value in req.headers), "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace")
