"""Signing keys, parsed from a JWKS document (RFC 7517).

Each key is parsed once and bound to the one algorithm that its type allows, so that a token cannot choose how it is
verified (RFC 8725, 3.1): a public key is never used as the secret of an HMAC.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt import PyJWK
from jwt.algorithms import Algorithm, ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import PyJWTError

from velro_auth_client.core.errors import UpstreamUnavailable

log = logging.getLogger(__name__)

#: (kty, crv) → the only algorithm of such a key.
ALGORITHM_OF: Final[Mapping[tuple[str, str], str]] = {
    ("EC", "P-256"): "ES256",
    ("RSA", ""): "RS256",
    ("OKP", "Ed25519"): "EdDSA",
}

#: Algorithm → PyJWT's implementation.
SIGNATURES: Final[Mapping[str, Algorithm]] = {
    "ES256": ECAlgorithm(ECAlgorithm.SHA256),
    "RS256": RSAAlgorithm(RSAAlgorithm.SHA256),
    "EdDSA": OKPAlgorithm(),
    "HS256": HMACAlgorithm(HMACAlgorithm.SHA256),
}

#: Members of a public JWK, per type (RFC 7518, 6.2 and 6.3; RFC 8037, 2). All others are ignored, above all the
#: private ones.
PUBLIC_MEMBERS: Final[Mapping[str, tuple[str, ...]]] = {
    "EC": ("kty", "crv", "x", "y"),
    "RSA": ("kty", "n", "e"),
    "OKP": ("kty", "crv", "x"),
}

#: A larger key set is refused; Supabase publishes one to three keys.
MAX_KEYS: Final = 16

#: Accepted RSA keys: shorter ones are insecure (NIST SP 800-131A), longer ones are slow.
RSA_BITS: Final = range(2048, 8193)


class CannotVerify(UpstreamUnavailable):
    """The token cannot be verified here: ask Supabase. It was neither accepted nor refused.

    "Cannot verify" must become neither "invalid" (a key rotation would sign out every user) nor "valid". A caller
    that cannot ask Supabase answers 503.
    """

    is_outage = False


class UnusableKeySet(ValueError):
    """The document is not a key set, or none of its keys can be parsed."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key and its only algorithm.

    Attributes:
        kid: Its name; empty for none.
        algorithm: A name of :data:`SIGNATURES`.
        fingerprint: SHA-256 of the key, which tells apart two keys with one name.
        material: The key for PyJWT's algorithm.
    """

    kid: str
    algorithm: str
    fingerprint: str
    material: Any = field(repr=False, compare=False)

    def signed(self, message: bytes, signature: bytes) -> bool:
        """Return whether *signature* is this key's signature of *message*."""
        return SIGNATURES[self.algorithm].verify(message, self.material, signature)


class Keys(Protocol):
    """The signing keys of a verifier."""

    def find(self, kid: str) -> Key:
        """Return the key of that name.

        Raises:
            CannotVerify: No such key is known at the moment.
        """

    def trusts(self, key: Key, *, waits: bool = True) -> bool:
        """Return whether *key* is still one of the keys.

        Args:
            key: A key that was found earlier.
            waits: Whether this may wait for keys that are being fetched. Without them the result is False.
        """


class NoKeys:
    """No public keys: for a project that signs with its secret only."""

    def find(self, kid: str) -> Key:
        """Raise CannotVerify: there are no keys."""
        raise CannotVerify(f"no signing keys are fetched, so the key {kid!r} is unknown")

    def trusts(self, key: Key, *, waits: bool = True) -> bool:  # noqa: ARG002 (the protocol's signature)
        """Return False."""
        return False


def secret_key(secret: str) -> Key:
    """Return the HS256 key of a project's legacy JWT secret.

    Raises:
        ValueError: The secret is empty, or looks like a public key.
    """
    try:
        material = HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
    except PyJWTError as error:
        # Not chained: the error of PyJWT might contain the secret.
        raise ValueError(f"not usable as a JWT secret: {error}") from None
    return Key("", "HS256", hashlib.sha256(material).hexdigest(), material)


def read_key_set(document: bytes) -> Mapping[str, Key]:
    """Return the usable keys of a JWKS document by name.

    A key that cannot be parsed is skipped with a warning. Symmetric keys are ignored: a secret in a public document is
    not secret. An empty set is valid: such a project signs with HS256 only.

    Raises:
        UnusableKeySet: This is no JWKS document, it has more than :data:`MAX_KEYS` keys, or none of its asymmetric
            keys could be parsed.
    """
    entries = _entries(document)
    keys: dict[str, Key] = {}
    refused = 0
    for entry in entries:
        try:
            key = _read_key(entry)
        except (PyJWTError, ValueError, TypeError, KeyError) as error:
            refused += 1
            log.warning("A signing key was skipped: %s", error)
            continue
        if keys.setdefault(key.kid, key) is not key:
            log.warning("A second signing key of the same name was skipped: %r", key.kid[:64])
    if refused and not keys:
        raise UnusableKeySet(f"none of {refused} keys can be used")
    return keys


def _entries(document: bytes) -> list[Any]:
    try:
        entries = json.loads(document)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UnusableKeySet("not a JWKS document") from error
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise UnusableKeySet(f"not a list of at most {MAX_KEYS} keys")
    return [entry for entry in entries if not (isinstance(entry, dict) and entry.get("kty") == "oct")]


def _read_key(jwk: Any) -> Key:
    algorithm = _pinned_algorithm(jwk)
    kid = jwk.get("kid", "")
    if not isinstance(kid, str):
        raise TypeError("its kid is not a string")
    public = {name: jwk[name] for name in PUBLIC_MEMBERS[jwk["kty"]]}
    material = PyJWK.from_dict(public, algorithm=algorithm).key
    if isinstance(material, RSAPublicKey) and material.key_size not in RSA_BITS:
        raise ValueError(f"an RSA key of {material.key_size} bits")
    encoded = material.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Key(kid, algorithm, hashlib.sha256(encoded).hexdigest(), material)


def _pinned_algorithm(jwk: Any) -> str:
    """Return the algorithm of a JWK, which depends on its type; a different ``alg`` is an error."""
    if not isinstance(jwk, dict):
        raise TypeError("it is not an object")
    kind = (str(jwk.get("kty")), str(jwk.get("crv", "")))
    algorithm = ALGORITHM_OF.get(kind)
    if algorithm is None:
        raise ValueError(f"the type {kind} is not supported")
    if jwk.get("alg", algorithm) != algorithm:
        raise ValueError(f"its alg does not go with the type {kind}")
    if jwk.get("use", "sig") != "sig" or "verify" not in jwk.get("key_ops", ["verify"]):
        raise ValueError("it is not for signatures")
    return algorithm
