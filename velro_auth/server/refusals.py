"""The server's own answers, to requests that the application does not see: they cannot be read, or came too late.

The application writes them: it is called with an environment that holds the error, the method if it is a known one,
the path, and the few header fields that the middleware reads. Nothing else of a refused request goes anywhere: bytes
that look like a header line may be a part of a password.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from velro_auth.context import AFTERWARDS, REFUSED
from velro_auth.server.dispatch import respond
from velro_auth.web.problems import TITLES, answer_for

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

logger = logging.getLogger("velro_auth.server.worker")

#: Stands for an unknown method or path.
UNKNOWN: Final = "-"
#: Largest part of a head that is searched.
LOOKED_AT_BYTES: Final = 8 * 1024
#: Header fields that the middleware reads; the application may name more.
FIELDS: Final = frozenset(
    {
        *("accept", "origin", "traceparent", "user-agent", "x-forwarded-for", "x-railway-request-id"),
        *("x-real-ip", "x-request-id", "x-request-start"),
    }
)

_LINE: Final = re.compile(rb"(?:\r\n)?(CONNECT|DELETE|GET|HEAD|OPTIONS|PATCH|POST|PUT|TRACE) (/[!-\"$->@-~]*)")
_FIELD: Final = re.compile(rb"\r\n([A-Za-z0-9-]+):[ \t]*([ -~]*?)[ \t]*(?=\r\n)")
_IS_COMPLETE: Final = re.compile(rb"[^\r\n]* HTTP/1\.[01]\r\n")

Afterwards = list[Callable[[], object]]


class Refuser:
    """Writes the server's own answers.

    Args:
        app: Writes the answers if its attribute ``answers_refusals`` is true; otherwise the answer is a bare status.
            ``refusal_fields`` may name further header fields that it reads, in lower case.
    """

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app if getattr(app, "answers_refusals", False) else None
        # Read each time: new settings may change them.
        self._named: Callable[[], Collection[str]] = lambda: getattr(app, "refusal_fields", ())

    def answer(self, error: Exception, head: bytes, client: Any, server: Any, afterwards: Afterwards) -> bytes:
        """Return the bytes of the answer; the connection has to be closed after it.

        Args:
            error: Why the request is refused: one of ``errors``, or a defect.
            head: The start of the request.
            client: The peer's address, as ``accept`` returns it.
            server: Our own, likewise.
            afterwards: Receives callbacks, to run after the answer is sent.
        """
        environ = environ_of(head, client, server, FIELDS.union(self._named()))
        environ |= {REFUSED: error, AFTERWARDS: afterwards}
        if self._app is None:
            return _bare(error)
        try:
            return respond(self._app, environ, keep=False)[0]
        except Exception:
            logger.exception("a refusal could not be written")
            return _bare(error)


def environ_of(head: bytes, client: Any, server: Any, fields: Collection[str] = FIELDS) -> WSGIEnvironment:
    """Return a WSGI environment with the parts of a refused request that are safe to use.

    Without a known method and a path, nothing of *head* is taken.

    Args:
        head: The start of the request.
        client: The peer's address, as ``accept`` returns it.
        server: Our own, likewise.
        fields: The header fields that are taken, in lower case; a repeated field is left out.
    """
    peer, own = (address if isinstance(address, tuple) else ("", 0) for address in (client, server))
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": UNKNOWN,
        "SCRIPT_NAME": "",
        "PATH_INFO": UNKNOWN,
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": own[0],
        "SERVER_PORT": str(own[1]),
        "REMOTE_ADDR": peer[0],
        "REMOTE_PORT": str(peer[1]),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
    }
    head = head[:LOOKED_AT_BYTES]
    line = _LINE.match(head)
    if line is None:
        return environ
    environ["REQUEST_METHOD"] = line[1].decode("ascii")
    environ["PATH_INFO"] = unquote_to_bytes(line[2]).decode("latin-1")
    return environ | _fields_of(head, line.end(), fields)


def _fields_of(head: bytes, start: int, fields: Collection[str]) -> dict[str, str]:
    if not (rest := _IS_COMPLETE.match(head, start)):
        return {}
    end = head.find(b"\r\n\r\n", rest.end() - 2)
    found: dict[str, list[str]] = {}
    for name, value in _FIELD.findall(head[rest.end() - 2 : end + 2 if end >= 0 else len(head)]):
        found.setdefault(name.decode("ascii").lower(), []).append(value.decode("ascii"))
    return {
        "HTTP_" + name.upper().replace("-", "_"): values[0]
        for name, values in found.items()
        if name in fields and len(values) == 1
    }


def _bare(error: Exception) -> bytes:
    status = answer_for(error).status
    head = f"HTTP/1.1 {status} {TITLES[status].title()}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    return head.encode("ascii")
