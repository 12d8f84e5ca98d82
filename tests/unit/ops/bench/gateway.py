"""A test double of the gateway, over loopback."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

EMAIL = "ada@example.com"
PASSWORD = "correct horse battery staple"


@dataclass
class GatewayDouble:
    """A WSGI application: one account; GET returns the build.

    Attributes:
        instead: Called first; its result is the answer, unless it is None.
        asked: The bodies of all logins.
        addresses: The callers they claimed to come from.
    """

    instead: Callable[[dict[str, Any]], Response | None] = lambda _: None
    asked: list[dict[str, Any]] = field(default_factory=list)
    addresses: list[str | None] = field(default_factory=list)

    def __call__(self, environ: Any, start_response: Any) -> Any:
        request = Request(environ)
        answer = self._version() if request.method == "GET" else self._post(request)
        return answer(environ, start_response)

    def _version(self) -> Response:
        return Response(json.dumps({"version": "9.9.9", "commit": "c0ffee"}), mimetype="application/json")

    def _post(self, request: Request) -> Response:
        return Response(status=204) if request.path.endswith("/logout") else self._log_in(request)

    def _log_in(self, request: Request) -> Response:
        body = json.loads(request.get_data())
        self.asked.append(body)
        self.addresses.append(request.headers.get("X-Real-IP"))
        if (answer := self.instead(body)) is not None:
            return answer
        if body != {"email": EMAIL, "password": PASSWORD}:
            return problem(401, "invalid_credentials")
        answer = Response(json.dumps({"access_token": "token"}), mimetype="application/json")
        answer.headers["Server-Timing"] = "total;dur=12.5, upstream;dur=10.0"
        return answer


def problem(status: int, code: str) -> Response:
    """Return an error as the gateway shapes it."""
    return Response(json.dumps({"status": status, "code": code}), status, mimetype="application/json")


class _Quiet(WSGIRequestHandler):
    """Keeps connections, and its opinion to itself."""

    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - werkzeug's signature
        pass


@contextlib.contextmanager
def served(double: GatewayDouble) -> Iterator[str]:
    """Serve *double* on a free port and return its address."""
    server = make_server("127.0.0.1", 0, double, threaded=True, request_handler=_Quiet)
    # Kept connections would hold up the end.
    assert isinstance(server, ThreadedWSGIServer)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
