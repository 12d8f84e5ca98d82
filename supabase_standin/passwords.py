"""Hashes and judges passwords as the original does: bcrypt, 72 bytes at most, six characters at least."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import bcrypt

from supabase_standin.errors import Failure, unhandled

#: bcrypt looks at no more than this.
MAX_BYTES: Final = 72
HASH: Final = re.compile(r"\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}")


class Passwords:
    """Makes and compares hashes.

    Args:
        cost: bcrypt's cost of new hashes, 4 to 31; each step doubles the time.
        min_length: In characters.
        required: Sets of characters; a password needs one of each.
    """

    def __init__(self, *, cost: int, min_length: int, required: Sequence[str] = ()) -> None:
        self._cost = cost
        self._min_length = min_length
        self._required = required

    def hash(self, password: str) -> str:
        """Return a new hash of *password*."""
        return bcrypt.hashpw(password.encode(), bcrypt.gensalt(self._cost)).decode()

    def matches(self, password: str, stored: str) -> bool:
        """Tell whether *password* is the one behind *stored*; only its first 72 bytes count.

        Raises:
            Failure: The stored hash is none (500).
        """
        if not HASH.fullmatch(stored):
            raise unhandled()
        return bcrypt.checkpw(password.encode("utf-8", "surrogatepass")[:MAX_BYTES], stored.encode())

    def check(self, password: str) -> None:
        """Accept *password* as a new one.

        Raises:
            Failure: It is too long (400), too short or too plain (422).
        """
        if len(password.encode()) > MAX_BYTES:
            raise Failure(400, "validation_failed", "Password cannot be longer than 72 characters")
        reasons: dict[str, str] = {}
        if len(password) < self._min_length:
            reasons["length"] = f"Password should be at least {self._min_length} characters."
        if not all(set(wanted) & set(password) for wanted in self._required):
            wanted = ", ".join(self._required)
            reasons["characters"] = f"Password should contain at least one character of each: {wanted}."
        if reasons:
            raise Failure(422, "weak_password", " ".join(reasons.values()), reasons=list(reasons))
