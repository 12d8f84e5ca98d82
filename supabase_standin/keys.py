"""The signing keys: ES256, published as a JWKS, kept across restarts, rotated for tests; or one shared secret."""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

ALGORITHM: Final = "ES256"
SHARED_ALGORITHM: Final = "HS256"
#: What a token says is judged elsewhere; ``exp`` by our own clock.
SIGNATURE_ONLY: Final[Any] = {f"verify_{claim}": False for claim in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")}


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key pair.

    Attributes:
        kid: The id tokens name it by.
        private: The private half.
    """

    kid: str
    private: ec.EllipticCurvePrivateKey

    @classmethod
    def new(cls) -> Key:
        """Return a new random key pair."""
        return cls(kid=str(uuid.uuid4()), private=ec.generate_private_key(ec.SECP256R1()))

    def public_jwk(self) -> dict[str, Any]:
        """Return the public half as the JWKS shows it."""
        jwk: dict[str, Any] = ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return jwk | {"alg": ALGORITHM, "kid": self.kid, "use": "sig", "key_ops": ["verify"], "ext": True}

    def pem(self) -> str:
        """Return the private half for keeping."""
        return self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()


class Keys:
    """Signs with the first key and accepts all of them.

    Args:
        path: The file they are kept in, mode 0600; made when it is missing.
        clock: Seconds since 1970, for what has expired.
        secret: Sign with this, as older projects do (HS256); the JWKS is empty then.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time, secret: str | None = None) -> None:
        self._path = path
        self._secret = secret
        self._clock = clock
        self._lock = threading.Lock()
        self._keys = self._load() or [Key.new()]
        self._save()

    def sign(self, claims: dict[str, Any]) -> str:
        """Return *claims* as a signed token."""
        if self._secret is not None:
            return jwt.encode(claims, self._secret, algorithm=SHARED_ALGORITHM)
        key = self._all()[0]
        return jwt.encode(claims, key.private, algorithm=ALGORITHM, headers={"kid": key.kid})

    def verify(self, token: str) -> dict[str, Any]:
        """Return the claims of *token*; ``aud`` and ``iss`` are not looked at, as in the original.

        Raises:
            jwt.PyJWTError: It is malformed, signed with another key, or expired.
        """
        claims = self._signed(token)
        if claims.get("exp", float("inf")) <= self._clock():
            raise jwt.ExpiredSignatureError
        return claims

    def _signed(self, token: str) -> dict[str, Any]:
        kid = jwt.get_unverified_header(token).get("kid")
        if self._secret is not None and kid is None:
            shared: dict[str, Any] = jwt.decode(
                token, self._secret, algorithms=[SHARED_ALGORITHM], options=SIGNATURE_ONLY
            )
            return shared
        for key in self._all():
            if key.kid == kid:
                claims: dict[str, Any] = jwt.decode(
                    token, key.private.public_key(), algorithms=[ALGORITHM], options=SIGNATURE_ONLY
                )
                return claims
        raise jwt.InvalidKeyError("unrecognized JWT kid")

    def jwks(self) -> dict[str, Any]:
        """Return the public halves; a shared secret has none."""
        return {"keys": [] if self._secret is not None else [key.public_jwk() for key in self._all()]}

    def rotate(self, *, revoke_old: bool = False) -> str:
        """Sign with a new key from now on and return its id.

        Args:
            revoke_old: Forget the old keys, so that their tokens are refused at once.
        """
        fresh = Key.new()
        with self._lock:
            self._keys = [fresh, *([] if revoke_old else self._keys)]
        self._save()
        return fresh.kid

    def _all(self) -> list[Key]:
        with self._lock:
            return self._keys

    def _load(self) -> list[Key]:
        try:
            kept = json.loads(self._path.read_text())
        except FileNotFoundError:
            return []
        return [Key(kid=item["kid"], private=_private(item["pem"])) for item in kept]

    def _save(self) -> None:
        scratch = self._path.with_name(f"{self._path.name}.new")
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump([{"kid": key.kid, "pem": key.pem()} for key in self._all()], file)
        scratch.replace(self._path)


def _private(pem: str) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key
