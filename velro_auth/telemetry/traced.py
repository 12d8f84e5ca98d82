"""The outermost layer of all where traces are on: draws each request around the edge and both lanes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from velro_auth.context import RequestContext
from velro_auth.telemetry.answered import Routes
from velro_auth.telemetry.traces import Traces

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class Traced:
    """Wraps the edge.

    Args:
        app: The edge; it attaches an exchange to the environment before it answers.
        traces: Who draws.
        routes: Names the endpoint of a path.
        paths: Name of an endpoint → its documented path.
        left_out: Names of the endpoints that are not drawn.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        traces: Traces,
        routes: Routes,
        paths: Mapping[str, str],
        left_out: Collection[str],
    ) -> None:
        self._app = app
        self._traces = traces
        self._routes = routes
        self._paths = dict(paths)
        self._left_out = frozenset(left_out)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        route = self._routes.name(environ.get("PATH_INFO", ""))
        if route in self._left_out:
            return self._app(environ, start_response)
        traceparent = environ.get("HTTP_TRACEPARENT", "")
        path = self._paths.get(route, "")
        with self._traces.request(environ["REQUEST_METHOD"], route, path, traceparent) as span:

            def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Callable[[bytes], object]:
                span.answered(int(status[:3]), RequestContext.of(environ))
                return start_response(status, headers, *rest)

            return self._app(environ, start)
