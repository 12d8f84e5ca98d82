"""Sessions as JSON values, for handing them from process to process."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from velro_auth.auth.models import Profile, Session, User


def dump_session(session: Session) -> dict[str, Any]:
    """Return *session* as JSON values. They hold both tokens: encrypt them."""
    return asdict(session)


def load_session(values: dict[str, Any]) -> Session:
    """Return what :func:`dump_session` was given.

    Raises:
        TypeError: The values are those of another release.
        KeyError: The same.
    """
    user = dict(values["user"])
    user["profile"] = Profile(**user["profile"])
    return Session(**{**values, "user": User(**user)})
