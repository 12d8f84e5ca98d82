"""Routes endpoints in Flask, the slow lane."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import flask
from werkzeug.routing import BaseConverter

from velro_auth.endpoints import ROUTING_ARGS, Endpoint

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def blueprint(name: str, endpoints: Iterable[Endpoint]) -> flask.Blueprint:
    """Return a blueprint with every route of *endpoints*."""
    made = flask.Blueprint(name, __name__)
    for endpoint in endpoints:
        for number, path in enumerate(endpoint.paths):
            made.add_url_rule(
                path,
                endpoint=endpoint.name if number == 0 else f"{endpoint.name}-{number}",
                view_func=view_of(endpoint),
                methods=endpoint.methods,
                # The middleware answers OPTIONS.
                provide_automatic_options=False,
            )
    return made


class AnyPath(BaseConverter):
    """URL converter for the rest of a path: slashes, dots, or nothing."""

    regex = ".*"
    part_isolating = False


def view_of(endpoint: Endpoint) -> flask.typing.RouteCallable:
    """Return a Flask view that calls *endpoint* with the current request."""

    def view(**arguments: str) -> WSGIApplication:
        flask.request.environ[ROUTING_ARGS] = ((), arguments)
        # The request itself, as in the fast lane, not Flask's proxy.
        return endpoint(flask.request._get_current_object())  # type: ignore[attr-defined] # noqa: SLF001

    return view
