"""Whether a sign-in by mail has just confirmed the address of the account."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

#: How long Supabase may take between confirming an address and signing in, in seconds.
ONE_CALL_S: Final = 5.0

#: The same where an authorization code comes between, which is good for five minutes.
ONE_CODE_S: Final = 300.0 + ONE_CALL_S


def has_confirmed(user: Mapping[str, Any], *, within_s: float = ONE_CALL_S) -> bool:
    """Return whether the address was confirmed by this sign-in: shortly before, and by a mail sent before that.

    Args:
        user: The user as Supabase describes them.
        within_s: What "shortly" is, in seconds.
    """
    confirmed, signed_in, sent = (
        _moment(user.get(name)) for name in ("email_confirmed_at", "last_sign_in_at", "recovery_sent_at")
    )
    if confirmed is None or signed_in is None or abs(signed_in - confirmed) >= within_s:
        return False
    return sent is None or sent <= confirmed


def _moment(text: Any) -> float | None:
    """Return a time of Supabase's in seconds since the epoch; None for anything else."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        return None
