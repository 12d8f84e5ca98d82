"""Which endpoint hangs where in Flask."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import flask
from werkzeug.routing import BaseConverter

from velro_auth.endpoints import Endpoint

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
                view_func=_view(endpoint),
                methods=endpoint.methods,
                # The edge answers OPTIONS.
                provide_automatic_options=False,
            )
    return made


def mount_below(blueprint: flask.Blueprint, endpoint: Endpoint) -> None:
    """Mount *endpoint* on its paths and on everything below them, for any method."""

    def mount(state: flask.blueprints.BlueprintSetupState) -> None:
        app = state.app
        app.view_functions[endpoint.name] = _view(endpoint)
        for path in endpoint.paths:
            for pattern in (path, f"{path}/<everything:rest>"):
                # Flask's own way in names the methods; without names a rule takes them all.
                rule = app.url_rule_class(pattern, endpoint=endpoint.name, methods=None)
                rule.provide_automatic_options = False  # type: ignore[attr-defined] # as Flask does
                app.url_map.add(rule)

    blueprint.record(mount)


class Everything(BaseConverter):
    """The rest of a path, whatever is in it: slashes, dots, nothing."""

    regex = ".*"
    part_isolating = False


def _view(endpoint: Endpoint) -> flask.typing.RouteCallable:
    def view(**_: str) -> WSGIApplication:
        return endpoint(flask.request._get_current_object())  # type: ignore[attr-defined] # noqa: SLF001 - the request itself, as the fast lane has it

    return view
