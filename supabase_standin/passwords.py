"""Hashes and judges passwords as the original does: bcrypt, 72 bytes at most, six characters at least."""

from __future__ import annotations

import re
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
    """

    def __init__(self, *, cost: int, min_length: int) -> None:
        self._cost = cost
        self._min_length = min_length

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
            Failure: It is too long (400) or too short (422).
        """
        if len(password.encode()) > MAX_BYTES:
            raise Failure(400, "validation_failed", "Password cannot be longer than 72 characters")
        if len(password) < self._min_length:
            text = f"Password should be at least {self._min_length} characters."
            raise Failure(422, "weak_password", text, reasons=["length"])
