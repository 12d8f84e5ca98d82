"""Tokens that must never be accepted."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

_STRANGER: Final = ec.generate_private_key(ec.SECP256R1())
_KIDS: Final = (
    *("../../../../dev/null", "/dev/null", "' or 1=1 --", "x' union select 'key", "${jndi:ldap://evil.example}", ""),
    *("\x00", "a" * 8000, "http://evil.example/keys.json", "key\r\nX-Evil: 1", "\u202ekid", "null", "*", "%00", "|id"),
)


def part(value: bytes | Mapping[str, Any]) -> str:
    """Return a segment of a token."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims_of(token: str) -> dict[str, Any]:
    """Return a token's claims, unproven."""
    payload = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))))


def forged(claims: Mapping[str, Any], *, kid: str) -> str:
    """Return a token that somebody else signed."""
    return jwt.encode(dict(claims), _STRANGER, algorithm="ES256", headers={"kid": kid})


def signed(key: Any, header: bytes | Mapping[str, Any], claims: bytes | Mapping[str, Any]) -> str:
    """Return a token that the project's key signed, whatever it says."""
    message = f"{part(header)}.{part(claims)}"
    signature = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).sign(message.encode(), key.private)
    return f"{message}.{part(signature)}"


def mutants(good: str, key: Any) -> Iterator[tuple[str, str]]:
    """Yield forgeries of a good token with the name of what was done.

    Args:
        good: A token that is accepted.
        key: The project's key pair (``kid`` and ``private``), for tokens that are signed and wrong all the same.
    """
    head, payload, signature = good.split(".")
    header = {"alg": "ES256", "kid": key.kid, "typ": "JWT"}
    claims = claims_of(good)
    yield from _without_algorithm(head, payload, header)
    yield from _public_key_as_secret(key, header, payload)
    yield from _wrong_claims(key, header, claims)
    yield from _wrong_headers(key, header, claims)
    yield from _doubled(key, claims)
    yield from _garbled(good, head, payload, signature)
    for kid in _KIDS:
        yield f"kid {kid[:12]!r}", forged(claims, kid=kid)
        yield f"signed, kid {kid[:12]!r}", signed(key, {**header, "kid": kid}, claims)


def _without_algorithm(head: str, payload: str, header: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("none", "None", "NONE", "nOnE", "none ", "", "null", "HS256", "HS384", "HS512", "ES256K", "ES384"):
        for end in ("", "AA", part(b"signature")):
            yield f"alg {name!r}", f"{part({**header, 'alg': name})}.{payload}.{end}"
    for value in (None, 0, True, ["ES256"], {"alg": "ES256"}):
        yield f"alg {value!r}", f"{part({**header, 'alg': value})}.{payload}.{part(b'signature')}"
    yield "no signature", f"{head}.{payload}."
    yield "two parts", f"{head}.{payload}"


def _public_key_as_secret(key: Any, header: Mapping[str, Any], payload: str) -> Iterator[tuple[str, str]]:
    public = key.private.public_key()
    secrets = {
        "PEM": public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        "DER": public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        "point": public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint),
        "JWK": json.dumps(key.public_jwk()).encode(),
        "kid": key.kid.encode(),
        "nothing": b"",
    }
    secrets |= {f"{name}, stripped": value.strip() for name, value in secrets.items()}
    for name, secret in secrets.items():
        for algorithm, digest in (("HS256", hashlib.sha256), ("HS384", hashlib.sha384), ("HS512", hashlib.sha512)):
            for kept in (header, {"typ": "JWT"}):
                message = f"{part({**kept, 'alg': algorithm})}.{payload}"
                yield f"{algorithm} by {name}", f"{message}.{part(hmac.new(secret, message.encode(), digest).digest())}"


def _wrong_claims(key: Any, header: Mapping[str, Any], claims: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    now_s = int(time.time())
    values: dict[str, tuple[Any, ...]] = {
        "aud": ("anon", "", [], ["anon"], None, 1, {"aud": "authenticated"}, "authenticated ", "Authenticated", [1]),
        "iss": (
            "",
            None,
            "https://evil.example/auth/v1",
            "supabase",
            f"{claims['iss']}/",
            claims["iss"].upper(),
            [],
            1,
        ),
        "exp": (now_s - 31, now_s - 3600, 0, -1, None, "", str(now_s + 3600), [], True, 1e300, -1e300, 10**30),
        "iat": (now_s + 3600, now_s + 86400, "", [], 10**30, -(10**30)),
        "nbf": (now_s + 3600, now_s + 86400, "", [], 10**30),
        "sub": ("", None, 1, "admin", "../x", [], "00000000-0000-0000-0000", "x" * 5000, {"id": 1}),
        "session_id": ("", None, 1, "x", [], "00000000-0000-0000-0000"),
        "role": ("anon", "service_role", "supabase_admin"),
        "client_id": ("somebody", "", 1),
    }
    for name, wrongs in values.items():
        for wrong in wrongs:
            yield f"{name} {str(wrong)[:20]!r}", signed(key, header, {**claims, name: wrong})
        if name in {"aud", "iss", "exp", "sub", "session_id"}:
            yield f"no {name}", signed(key, header, {key_: it for key_, it in claims.items() if key_ != name})
    for body in (b"null", b"[]", b"1", b'"x"', b"{}", b"", b"{", b"\xff\xfe", b"[" * 5000, b'{"exp": NaN}'):
        yield f"payload {body[:8]!r}", signed(key, header, body)


def _wrong_headers(key: Any, header: Mapping[str, Any], claims: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    own = {"jwk": {"kty": "EC"}, "jku": "https://evil.example/keys", "x5u": "https://evil.example", "x5c": ["x"]}
    others: dict[str, Any] = {"crit": ["exp"], "b64": False, "zip": "DEF", "enc": "A256GCM"}
    for name, value in {**own, **others}.items():
        yield f"header {name}", signed(key, {**header, name: value}, claims)
        yield f"header {name}, forged", forged_with({**header, name: value}, claims)
    strange: tuple[Any, ...] = (None, 1, [], {}, True)
    for kid in strange:
        yield f"kid {kid!r}", signed(key, {**header, "kid": kid}, claims)
    for body in (b"null", b"[]", b"{}", b"", b'{"alg":"ES256","alg":"none"}', b'{"alg":"none","alg":"ES256"}'):
        yield f"header {body[:12]!r}", signed(key, body, claims)


def forged_with(header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    """Return a token with this header that somebody else signed."""
    message = f"{part(header)}.{part(claims)}"
    algorithm = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256)
    return f"{message}.{part(algorithm.sign(message.encode(), _STRANGER))}"


def _doubled(key: Any, claims: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    text = json.dumps(claims)
    header = {"alg": "ES256", "kid": key.kid, "typ": "JWT"}
    for name in ("sub", "exp", "aud", "iss", "role", "session_id", "aal", "iat"):
        member = json.dumps({name: claims.get(name, "x")})[1:-1]
        other = json.dumps({name: "service_role"})[1:-1]
        yield f"two {name}, equal", signed(key, header, f"{text[:-1]}, {member}}}".encode())
        yield f"two {name}, last wrong", signed(key, header, f"{text[:-1]}, {other}}}".encode())
        yield f"two {name}, first wrong", signed(key, header, f"{{{other}, {text[1:]}".encode())


def _garbled(good: str, head: str, payload: str, signature: str) -> Iterator[tuple[str, str]]:
    yield "1 MB", f"{head}.{part(b' ' * 750_000)}.{signature}"
    yield "15 KB", f"{head}.{part(b' ' * 10_000)}.{signature}"
    for text in ("=", "==", " ", "\t", ".", "%2e", "\u00e9".encode().decode("latin-1"), "+", "/", "AAAA"):
        # White space around a header's value is no part of it.
        for place in (len(head), len(head) + 1) if text.isspace() else (0, len(head), len(head) + 1, len(good)):
            yield f"{text!r} at {place}", good[:place] + text + good[place:]
    # Each character of the signature's first part, and spread over the payload, is another one.
    for place in [*range(40), *range(len(payload))[:: max(1, len(payload) // 120)]]:
        segment, offset = (signature, len(head) + len(payload) + 2) if place < 40 else (payload, len(head) + 1)
        at = offset + place
        other = "B" if segment[place] == "A" else "A"
        yield f"changed at {at}", good[:at] + other + good[at + 1 :]
    for cut in range(1, 86):
        yield f"cut by {cut}", good[:-cut]
    for one, other in ((payload, head), (signature, payload), (head, head)):
        yield "parts swapped", f"{one}.{other}.{signature}"
    yield "signature of nothing", f"{head}.{payload}.{part(bytes(64))}"
    ones = part(bytes([255]) * 64)
    yield "signature of ones", f"{head}.{payload}.{ones}"
