"""Mail addresses as the original takes them: something before and after one at sign, nothing invisible."""

from __future__ import annotations

from supabase_standin.errors import Failure

MAX_LENGTH = 255


def checked(email: str) -> str:
    """Return an address in lower case; spaces around it make it none.

    Raises:
        Failure: It is no address, or too long.
    """
    local, at, domain = email.rpartition("@")
    is_plain = email.isprintable() and " " not in email and "@" not in local
    if len(email) > MAX_LENGTH:
        raise Failure(400, "validation_failed", "An email address is too long")
    if not (local and at and is_plain and "." in domain.strip(".")):
        raise Failure(400, "validation_failed", "Unable to validate email address: invalid format")
    return email.lower()


def demand_provider(*, is_on: bool, status: int, text: str = "Email logins are disabled") -> None:
    """Let pass where mail addresses may be used.

    Raises:
        Failure: They may not.
    """
    if not is_on:
        raise Failure(status, "email_provider_disabled", text)
