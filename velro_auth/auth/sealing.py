"""Seals small values that a browser keeps for this service: only this service can read or change them.

AES-256-GCM with a random nonce. Each purpose has a key of its own (HKDF, RFC 5869), so a value that was sealed for one
purpose opens for no other. The first key seals, all keys open, so keys can be replaced without ending anything.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import math
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

#: NIST SP 800-38D, 8.2: 96 bits for a random nonce.
_NONCE_BYTES: Final = 12
#: Names the key that sealed a value; 32 bits are enough to choose among a few keys.
_KEY_ID_BYTES: Final = 4
_VERSION: Final = b"\x01"


class Sealed(Exception):
    """The value cannot be opened: it was changed, has expired, or was sealed with another key or for another use."""


class Sealer:
    """Seals and opens values for one purpose.

    Args:
        keys: Secrets of any length; the first one seals, all of them open.
        purpose: Separates the keys of different uses.
        now: The wall clock, in seconds since 1970.
    """

    def __init__(self, keys: Sequence[bytes], purpose: str, *, now: Callable[[], float] = time.time) -> None:
        if not keys or not all(keys):
            raise ValueError("a sealer needs at least one key")
        derived = [_derive(key, purpose) for key in keys]
        self._ciphers = {_key_id(key): AESGCM(key) for key in reversed(derived)}
        self._first = _key_id(derived[0])
        self._now = now

    def seal(self, value: Mapping[str, Any], *, good_for_s: float, bound_to: str = "") -> str:
        """Return *value* (JSON values) sealed as URL-safe text.

        Args:
            value: What to seal. It can be read again only by :meth:`open`.
            good_for_s: After so many seconds it cannot be opened any more.
            bound_to: It opens only together with the same text, such as the name of the cookie.
        """
        # A whole number: the length of what is sealed must not vary.
        plain = json.dumps(
            {"until": math.ceil(self._now() + good_for_s), "value": dict(value)}, separators=(",", ":")
        ).encode()
        nonce, head = secrets.token_bytes(_NONCE_BYTES), _VERSION + self._first
        sealed = self._ciphers[self._first].encrypt(nonce, plain, head + bound_to.encode())
        return _text(head + nonce + sealed)

    def open(self, text: str, *, bound_to: str = "") -> Mapping[str, Any]:
        """Return the value in *text*; raises as :meth:`open_until`."""
        return self.open_until(text, bound_to=bound_to)[0]

    def open_until(self, text: str, *, bound_to: str = "") -> tuple[Mapping[str, Any], int]:
        """Return the value in *text*, and until when it can be opened, in seconds since 1970.

        Raises:
            Sealed: It was changed, has expired, or was sealed with another key, for another purpose, or is bound to
                another text.
        """
        try:
            raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            raise Sealed from None
        # Unused bits of the last character, and padding, would give one value several texts. Each value has one text.
        if _text(raw) != text:
            raise Sealed
        start = len(_VERSION) + _KEY_ID_BYTES
        head, nonce, sealed = raw[:start], raw[start : start + _NONCE_BYTES], raw[start + _NONCE_BYTES :]
        cipher = self._ciphers.get(head[len(_VERSION) :])
        if cipher is None or head[: len(_VERSION)] != _VERSION or len(nonce) != _NONCE_BYTES:
            raise Sealed
        try:
            opened = json.loads(cipher.decrypt(nonce, sealed, head + bound_to.encode()))
        except InvalidTag:
            raise Sealed from None
        if opened["until"] < self._now():
            raise Sealed
        return opened["value"], opened["until"]


def sealing_keys(given: Sequence[str], *, secret: str) -> tuple[bytes, ...]:
    """Return the keys to seal with: *given*, else one made from *secret*.

    Args:
        given: Keys that the operator chose.
        secret: Known to this service alone: its secret Supabase key, which all replicas have, or random characters.
            Never a publishable key: every frontend contains it, and a person who has it could seal their own values.
    """
    if given:
        return tuple(key.encode() for key in given)
    return (hmac.digest(secret.encode(), b"velro-auth sealing", "sha256"),)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _derive(key: bytes, purpose: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"velro-auth {purpose}".encode()).derive(key)


def _key_id(derived: bytes) -> bytes:
    return hmac.digest(derived, b"key id", "sha256")[:_KEY_ID_BYTES]
