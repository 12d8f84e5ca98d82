"""Proof Key for Code Exchange (RFC 7636): the client that ends a flow proves that it also started the flow."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from typing import Final

#: RFC 7636, 4.1: 32 random octets make a verifier of 43 characters.
_VERIFIER_BYTES: Final = 32
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}", re.ASCII)
#: Base64 of a SHA-256 hash, without padding. The last character holds four bits.
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]", re.ASCII)

MIN_VERIFIER_LENGTH: Final = 43
MAX_VERIFIER_LENGTH: Final = 128
CHALLENGE_LENGTH: Final = 43


def new_verifier() -> str:
    """Return a new ``code_verifier``, which stays secret until the end of the flow."""
    return secrets.token_urlsafe(_VERIFIER_BYTES)


def challenge_of(verifier: str) -> str:
    """Return the ``code_challenge`` of *verifier* by the method S256 (RFC 7636, 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def is_verifier(text: str) -> bool:
    """Return whether *text* has the form of a verifier (RFC 7636, 4.1)."""
    return _VERIFIER.fullmatch(text) is not None


def is_challenge(text: str) -> bool:
    """Return whether *text* has the form of a challenge by the method S256."""
    return _CHALLENGE.fullmatch(text) is not None


def proves(verifier: str, challenge: str) -> bool:
    """Return whether *challenge* was made from *verifier*."""
    return is_verifier(verifier) and hmac.compare_digest(challenge_of(verifier).encode(), challenge.encode())
