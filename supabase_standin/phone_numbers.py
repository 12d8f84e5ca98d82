"""Phone numbers: E.164 without leading zero, kept without plus sign."""

from __future__ import annotations

import re
from typing import Final

from supabase_standin.errors import Failure

#: At most 15 digits (ITU-T E.164); the original wants at least two.
NUMBER: Final = re.compile(r"[1-9]\d{1,14}")


def plain(text: str) -> str:
    """Return *text* as numbers are kept: without plus sign and blanks."""
    return re.sub(r"^\+|\s", "", text)


def checked(text: str) -> str:
    """Return *text* as numbers are kept.

    Raises:
        Failure: It is no number.
    """
    number = plain(text)
    if not NUMBER.fullmatch(number):
        raise Failure(400, "validation_failed", "Invalid phone number format (E.164 required)")
    return number
