"""What frontends and gateways call, below ``/api/v1/auth``."""

from __future__ import annotations

from collections.abc import Iterable

import flask

from velro_auth.blueprints import blueprint, mount_below
from velro_auth.endpoints import Endpoint


def auth(endpoints: Iterable[Endpoint], *, verify: Endpoint) -> flask.Blueprint:
    """Return the blueprint of authentication.

    Args:
        endpoints: Login, refresh, logout, me and ping.
        verify: What answers everything below its path.
    """
    made = blueprint("auth", endpoints)
    mount_below(made, verify)
    return made
