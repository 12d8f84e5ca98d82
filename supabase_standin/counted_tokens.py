"""Refresh tokens of the second kind: they name their session and a counter, and no row of their own is kept.

The session keeps the counter that is current and the key the tokens are signed with.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import uuid
from dataclasses import dataclass
from typing import Final

import psycopg

VERSION: Final = b"\0"
SESSION_BYTES: Final = 16
SIGNATURE_BYTES: Final = 16
CHECKSUM_BYTES: Final = 4
#: A varint of 64 bits.
COUNTER_BYTES: Final = range(1, 11)


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What a token says.

    Attributes:
        session_id: Whose it is.
        counter: The how manieth of its session.
        signature: Of both.
    """

    session_id: uuid.UUID
    counter: int
    signature: bytes

    def is_signed_with(self, key: str) -> bool:
        """Tell whether the session with *key* issued this."""
        return hmac.compare_digest(self.signature, _signature(_said(self.session_id, self.counter), key))


def read(text: str) -> Counted | None:
    """Return what a token says; None for one of the first kind and for rubbish."""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None
    said, checksum = raw[:-CHECKSUM_BYTES], raw[-CHECKSUM_BYTES:]
    counter = said[1 + SESSION_BYTES : -SIGNATURE_BYTES]
    is_whole = said[:1] == VERSION and len(counter) in COUNTER_BYTES and _checksum(said) == checksum
    if not is_whole:
        return None
    return Counted(
        session_id=uuid.UUID(bytes=said[1 : 1 + SESSION_BYTES]),
        counter=sum((byte & 0x7F) << (7 * index) for index, byte in enumerate(counter)),
        signature=said[-SIGNATURE_BYTES:],
    )


def first(connection: psycopg.Connection, session_id: uuid.UUID) -> str:
    """Return the first token of a session."""
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    connection.execute(
        "update auth.sessions set refresh_token_hmac_key = %s, refresh_token_counter = 0 where id = %s",
        [key, session_id],
    )
    return _written(session_id, 0, key)


def following(connection: psycopg.Connection, session_id: uuid.UUID) -> str | None:
    """Return the next token of a session; None for a session with tokens of the first kind."""
    row = connection.execute(
        "update auth.sessions set refresh_token_counter = refresh_token_counter + 1"
        " where id = %s and refresh_token_hmac_key is not null"
        " returning refresh_token_counter, refresh_token_hmac_key",
        [session_id],
    ).fetchone()
    return None if row is None else _written(session_id, row[0], row[1])


def current(connection: psycopg.Connection, session_id: uuid.UUID) -> tuple[int, str, str] | None:
    """Return counter, key and token of a session as they are; None where it has none of this kind."""
    row = connection.execute(
        "select refresh_token_counter, refresh_token_hmac_key from auth.sessions"
        " where id = %s and refresh_token_hmac_key is not null",
        [session_id],
    ).fetchone()
    return None if row is None else (row[0], row[1], _written(session_id, row[0], row[1]))


def _written(session_id: uuid.UUID, counter: int, key: str) -> str:
    said = _said(session_id, counter)
    signed = said + _signature(said, key)
    return base64.urlsafe_b64encode(signed + _checksum(signed)).decode().rstrip("=")


def _said(session_id: uuid.UUID, counter: int) -> bytes:
    digits = bytearray()
    while True:
        counter, digit = counter >> 7, counter & 0x7F
        digits.append(digit | (0x80 if counter else 0))
        if not counter:
            return VERSION + session_id.bytes + bytes(digits)


def _signature(said: bytes, key: str) -> bytes:
    return hmac.digest(key.encode(), said, "sha256")[:SIGNATURE_BYTES]


def _checksum(said: bytes) -> bytes:
    return hashlib.sha256(said).digest()[:CHECKSUM_BYTES]
