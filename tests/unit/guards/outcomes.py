"""What comes of a question, in a form that fits into one statement."""

from __future__ import annotations

from typing import NoReturn

from tests.unit.guards.clock import HandClock
from velro_auth.errors import InvalidCredentials


def fail(error: type[BaseException] = InvalidCredentials) -> NoReturn:
    """Fail at once."""
    raise error


def fail_later(error: type[BaseException], clock: HandClock, after_s: float) -> NoReturn:
    """Fail after so many seconds."""
    clock.advance(after_s)
    raise error
