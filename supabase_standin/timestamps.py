"""Points in time as the original writes them: RFC 3339, UTC, no trailing zeros in the fraction."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

NANOSECONDS: Final = 1_000_000_000


def text(moment: datetime | None) -> str | None:
    """Return *moment* with 0 to 6 fractional digits, as the database keeps it."""
    if moment is None:
        return None
    whole = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return whole.rstrip("0").rstrip(".") + "Z"


def precise_text(seconds: float) -> str:
    """Return a moment of the process clock with up to 9 fractional digits."""
    fraction, whole = math.modf(seconds)  # apart, because a float has no room for both
    digits = f"{int(fraction * NANOSECONDS):09d}".rstrip("0")
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}{'.' if digits else ''}{digits}Z"


def moment(seconds: float) -> datetime:
    """Return *seconds* since 1970 as the database wants it."""
    return datetime.fromtimestamp(seconds, UTC)
