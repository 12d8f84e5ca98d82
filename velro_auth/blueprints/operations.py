"""What operators and platforms call."""

from __future__ import annotations

from collections.abc import Iterable

import flask

from velro_auth.blueprints import blueprint
from velro_auth.endpoints import Endpoint


def operations(endpoints: Iterable[Endpoint]) -> flask.Blueprint:
    """Return the blueprint of operations: health, readiness, version."""
    return blueprint("operations", endpoints)
