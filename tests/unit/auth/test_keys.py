from __future__ import annotations

import base64
import json
import logging
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.fixtures.tokens import SECRET, SigningKey, document
from velro_auth.auth.keys import MAX_KEYS, CannotVerify, NoKeys, UnusableKeySet, read_key_set, secret_key


def without(jwk: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in jwk.items() if name not in names}


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "EdDSA"])
def test_a_key_is_pinned_to_the_algorithm_of_its_type(algorithm: str) -> None:
    signing = SigningKey("one", algorithm)

    for jwk in (signing.jwk, without(signing.jwk, "alg", "use", "key_ops")):
        key = read_key_set(document([jwk]))["one"]
        assert key.algorithm == algorithm
        assert key.signed(b"message", signing.sign(b"message"))
        assert not key.signed(b"another", signing.sign(b"message"))


def test_a_key_set_may_be_empty() -> None:
    """A project that signs with HS256 only has none to publish."""
    assert read_key_set(b'{"keys": []}') == {}


def test_private_halves_are_not_looked_at() -> None:
    """A private key that was published by mistake is not used."""
    jwk = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True)

    key = read_key_set(document([{**jwk, "kid": "one"}]))["one"]

    assert isinstance(key.material, ec.EllipticCurvePublicKey)


P384 = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()).public_key(), as_dict=True)
SHORT_RSA = RSAAlgorithm.to_jwk(
    rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key(),  # noqa: S505 (that is the point)
    as_dict=True,
)
GOOD = SigningKey("good")


@pytest.mark.parametrize(
    "odd",
    [
        {},
        None,
        "text",
        5,
        {"kty": "oct", "k": "c2VjcmV0", "kid": "odd", "alg": "HS256"},
        {**GOOD.jwk, "kid": "odd", "alg": "HS256"},
        {**GOOD.jwk, "kid": "odd", "alg": "RS256"},
        {**GOOD.jwk, "kid": "odd", "alg": None},
        {**GOOD.jwk, "kid": "odd", "use": "enc"},
        {**GOOD.jwk, "kid": "odd", "key_ops": ["encrypt"]},
        {**GOOD.jwk, "kid": "odd", "key_ops": 5},
        {**GOOD.jwk, "kid": "odd", "crv": "P-384"},
        {**GOOD.jwk, "kid": "odd", "kty": "RSA"},
        {**GOOD.jwk, "kid": "odd", "kty": ["EC"]},
        {**GOOD.jwk, "kid": "odd", "x": "AAAA"},
        {**GOOD.jwk, "kid": "odd", "y": GOOD.jwk["x"]},
        {**GOOD.jwk, "kid": 5},
        {**without(GOOD.jwk, "x"), "kid": "odd"},
        {**P384, "kid": "odd"},
        {**SHORT_RSA, "kid": "odd"},
    ],
    # By number, because the keys are different in every process.
    ids=lambda _: "odd",
)
def test_an_odd_key_does_not_take_the_good_one_down(odd: Any) -> None:
    body = json.dumps({"keys": [odd, GOOD.jwk]}).encode()

    assert list(read_key_set(body)) == ["good"]


def test_an_odd_key_is_worth_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        read_key_set(document([{**GOOD.jwk, "kid": "odd", "use": "enc"}, GOOD]))

    assert "it is not for signatures" in caplog.text


def test_of_two_keys_with_one_name_the_first_counts() -> None:
    first, second = SigningKey("one"), SigningKey("one")

    key = read_key_set(document([first, second]))["one"]

    assert key.signed(b"message", first.sign(b"message"))
    assert not key.signed(b"message", second.sign(b"message"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>522</html>",
        b"[]",
        b"null",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": "text"}',
        b'{"keys": [{"kty": "EC"}]}',
        b'{"keys": ' + b"[" * 100_000,
        b"\xff\xfe",
        document([{**GOOD.jwk, "kid": str(number)} for number in range(MAX_KEYS + 1)]),
    ],
    ids=lambda body: body[:30].decode("latin-1"),
)
def test_what_is_not_a_key_set_is_refused_as_a_whole(body: bytes) -> None:
    """The keys at hand then stay in force, which a page of HTML must not change."""
    with pytest.raises(UnusableKeySet):
        read_key_set(body)


def test_the_secret_is_a_key_for_hs256_only() -> None:
    key = secret_key(SECRET)

    assert (key.algorithm, key.kid) == ("HS256", "")
    assert SECRET not in repr(key)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        GOOD.public_bytes(Encoding.PEM).decode(),
        json.dumps(GOOD.jwk),
    ],
    ids=["empty", "pem", "jwk"],
)
def test_a_public_key_is_no_secret(secret: str) -> None:
    """With a public key as the secret of HS256 anybody could sign."""
    with pytest.raises(ValueError, match="not usable as a JWT secret") as caught:
        secret_key(secret)

    assert not secret or base64.b64encode(secret.encode()).decode() not in str(caught.value)


def test_without_a_key_set_no_key_is_known_or_trusted() -> None:
    with pytest.raises(CannotVerify):
        NoKeys().find("one")
    assert not NoKeys().trusts(read_key_set(document([GOOD]))["good"])
