"""The routes below ``/api/v1/auth``, for frontends and gateways."""

from __future__ import annotations

from collections.abc import Iterable

import flask

from velro_auth.blueprints import blueprint, view_of
from velro_auth.endpoints import Endpoint


def auth(endpoints: Iterable[Endpoint], *, prefixed: Iterable[Endpoint]) -> flask.Blueprint:
    """Return the blueprint of authentication.

    Args:
        endpoints: Login, refresh, logout, me and ping.
        prefixed: Each answers any method on its paths and on everything below them.
    """
    made = blueprint("auth", endpoints)

    def mount(state: flask.blueprints.BlueprintSetupState) -> None:
        app = state.app
        for endpoint in prefixed:
            app.view_functions[endpoint.name] = view_of(endpoint)
            for pattern in (pattern for path in endpoint.paths for pattern in (path, f"{path}/<any_path:rest>")):
                # Flask.add_url_rule always names methods; a rule without names accepts every method.
                rule = app.url_rule_class(pattern, endpoint=endpoint.name, methods=None)
                rule.provide_automatic_options = False  # type: ignore[attr-defined] # as Flask does
                app.url_map.add(rule)

    made.record(mount)
    return made
