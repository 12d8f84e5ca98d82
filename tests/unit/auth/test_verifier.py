from __future__ import annotations

import pytest

from tests.fixtures.denials import denials_of
from tests.fixtures.tokens import (
    SECRET,
    START_S,
    HandClock,
    HeldKeys,
    SigningKey,
    checked_claims,
    claims_at,
    hmac_token,
    rules,
)
from velro_auth.auth.denylist import MemoryDenyList
from velro_auth.auth.keys import CannotVerify, Key, NoKeys, secret_key
from velro_auth.auth.tokens import Claims
from velro_auth.auth.verifier import TokenVerifier, token_digest
from velro_auth.errors import TokenExpired, TokenInvalid

ONE = SigningKey("one")


class CountedKeys(HeldKeys):
    """Counts how often a key was needed: a remembered token needs none."""

    finds = 0

    def find(self, kid: str) -> Key:
        self.finds += 1
        return super().find(kid)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def keys() -> CountedKeys:
    return CountedKeys(ONE)


@pytest.fixture
def denied(clock: HandClock) -> MemoryDenyList:
    return MemoryDenyList(now=clock)


@pytest.fixture
def verifier(keys: CountedKeys, clock: HandClock, denied: MemoryDenyList) -> TokenVerifier:
    return TokenVerifier(keys=keys, rules=rules(clock), denied=denied, clock=clock)


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "EdDSA"])
def test_a_good_token_gives_its_claims(clock: HandClock, algorithm: str) -> None:
    key = SigningKey("other", algorithm)
    verifier = TokenVerifier(keys=HeldKeys(ONE, key), rules=rules(clock), clock=clock)

    assert verifier.verify(key.token(claims_at(email="bob@example.com"))).email == "bob@example.com"


def test_a_token_signed_by_another_key_of_the_same_name_is_refused(verifier: TokenVerifier) -> None:
    with pytest.raises(TokenInvalid):
        verifier.verify(SigningKey("one").token(claims_at()))


def test_a_token_cannot_choose_the_algorithm_of_a_key(clock: HandClock) -> None:
    rsa = SigningKey("rsa", "RS256")
    verifier = TokenVerifier(keys=HeldKeys(ONE, rsa), rules=rules(clock), clock=clock)

    for token in (ONE.token(claims_at(), kid="rsa"), rsa.token(claims_at(), kid="one")):
        with pytest.raises(TokenInvalid, match="algorithm"):
            verifier.verify(token)


def test_hs256_is_judged_with_the_secret_only(clock: HandClock) -> None:
    """By algorithm, not by name: Supabase puts a kid on HS256 tokens too."""
    verifier = TokenVerifier(keys=HeldKeys(ONE), rules=rules(clock), secret=secret_key(SECRET), clock=clock)

    assert verifier.verify(hmac_token(claims_at(), SECRET, kid="one")).sub
    with pytest.raises(TokenInvalid):
        verifier.verify(hmac_token(claims_at(), SECRET + "x"))


def test_during_a_rotation_both_kinds_are_good(clock: HandClock) -> None:
    verifier = TokenVerifier(keys=HeldKeys(ONE), rules=rules(clock), secret=secret_key(SECRET), clock=clock)

    assert verifier.verify(ONE.token(claims_at())) == verifier.verify(hmac_token(claims_at(), SECRET))


@pytest.mark.parametrize(
    "token",
    [
        hmac_token(claims_at(), SECRET),
        SigningKey("two").token(claims_at()),
        ONE.token(claims_at(), alg="ES512"),
        ONE.token(claims_at(), alg="RS512"),
        ONE.token(claims_at(), kid=None),
    ],
    ids=["hs256 without a secret", "unknown key", "es512", "rs512", "no kid"],
)
def test_what_cannot_be_judged_here_is_neither_good_nor_refused(verifier: TokenVerifier, token: str) -> None:
    """ "Invalid" would sign every user out the moment a project changes its keys."""
    with pytest.raises(CannotVerify):
        verifier.verify(token)


def test_nobody_is_asked_about_a_token_that_its_own_claims_condemn(verifier: TokenVerifier) -> None:
    """The legacy anon key, for one: a good HS256 token of every project, and no user's."""
    with pytest.raises(TokenInvalid):
        verifier.verify(hmac_token({"iss": "supabase", "role": "anon", "exp": int(START_S) + 9}, SECRET))
    with pytest.raises(TokenExpired):
        verifier.verify(hmac_token(claims_at(START_S - 7200), SECRET))


def test_an_expired_token_says_so_only_when_its_signature_is_good(verifier: TokenVerifier) -> None:
    old = claims_at(START_S - 7200)

    with pytest.raises(TokenExpired):
        verifier.verify(ONE.token(old))
    with pytest.raises(TokenInvalid):
        verifier.verify(SigningKey("one").token(old))


def test_a_proven_token_is_remembered_for_a_minute(
    verifier: TokenVerifier, keys: CountedKeys, clock: HandClock
) -> None:
    token = ONE.token(claims_at())

    for _ in range(5):
        verifier.verify(token)
    assert keys.finds == 1
    clock.advance(61)
    verifier.verify(token)

    assert keys.finds == 2


def test_the_memory_can_be_switched_off(keys: CountedKeys, clock: HandClock) -> None:
    verifier = TokenVerifier(keys=keys, rules=rules(clock), cache_size=0, clock=clock)
    token = ONE.token(claims_at())

    verifier.verify(token)
    verifier.verify(token)

    assert keys.finds == 2


def test_the_memory_is_bounded_and_holds_no_token(keys: CountedKeys, clock: HandClock) -> None:
    verifier = TokenVerifier(keys=keys, rules=rules(clock), cache_size=3, clock=clock)
    tokens = [ONE.token(claims_at(nonce=number)) for number in range(10)]

    for token in tokens:
        verifier.verify(token)

    assert set(verifier._verified) == {token_digest(token) for token in tokens[-3:]}


def test_a_remembered_token_still_expires(verifier: TokenVerifier, clock: HandClock) -> None:
    token = ONE.token(claims_at(exp=int(START_S) + 2))
    verifier.verify(token)

    clock.advance(32)

    with pytest.raises(TokenExpired):
        verifier.verify(token)


def test_a_remembered_token_falls_with_its_key(verifier: TokenVerifier, keys: CountedKeys) -> None:
    token = ONE.token(claims_at())
    verifier.verify(token)

    keys.publish(SigningKey("two"))
    with pytest.raises(CannotVerify):
        verifier.verify(token)
    keys.publish(SigningKey("one"))

    with pytest.raises(TokenInvalid):
        verifier.verify(token)


def test_a_remembered_token_falls_with_its_session(verifier: TokenVerifier, denied: MemoryDenyList) -> None:
    token = ONE.token(claims_at())
    claims = verifier.verify(token)

    denied.deny(denials_of(claims, "local", now_s=START_S))

    with pytest.raises(TokenInvalid, match="session was ended"):
        verifier.verify(token)


def test_a_refused_token_is_not_remembered_as_good(verifier: TokenVerifier) -> None:
    header, claims, _ = ONE.token(claims_at()).split(".")
    forged = f"{header}.{claims}.{'A' * 86}"

    for _ in range(2):
        with pytest.raises(TokenInvalid):
            verifier.verify(forged)


def test_claims_somebody_else_vouched_for_are_still_checked(verifier: TokenVerifier, denied: MemoryDenyList) -> None:
    token = hmac_token(claims_at(), SECRET)
    claims = verifier.check_claims(token)
    assert claims.sub == checked_claims().sub

    denied.deny(denials_of(claims, "local", now_s=START_S))

    with pytest.raises(TokenInvalid):
        verifier.check_claims(token)
    with pytest.raises(TokenInvalid):
        verifier.check_claims(hmac_token(claims_at(aud="other"), SECRET))


def test_a_project_without_published_keys_is_judged_by_its_secret(clock: HandClock) -> None:
    verifier = TokenVerifier(keys=NoKeys(), rules=rules(clock), secret=secret_key(SECRET), clock=clock)
    token = hmac_token(claims_at(), SECRET)

    first: Claims = verifier.verify(token)

    assert verifier.verify(token) is first


@pytest.mark.parametrize("token", ["x" * 1_000_000, "é.é.é", ""], ids=["huge", "not ASCII", "empty"])
def test_nonsense_is_refused_before_any_work(verifier: TokenVerifier, token: str) -> None:
    with pytest.raises(TokenInvalid):
        verifier.verify(token)


def test_a_token_is_known_when_it_was_verified_before_and_still_holds(
    verifier: TokenVerifier, keys: CountedKeys, clock: HandClock
) -> None:
    token, old = ONE.token(claims_at()), ONE.token(claims_at(exp=int(START_S) + 2))
    assert verifier.known(token) is None
    claims = verifier.verify(token)
    verifier.verify(old)
    finds = keys.finds

    assert verifier.known(token) == claims
    clock.advance(33)
    assert [verifier.known(old), verifier.known("no token"), verifier.known("é")] == [None, None, None]
    keys.publish(SigningKey("two"))
    assert verifier.known(token) is None
    assert keys.finds == finds


def test_a_denied_token_is_not_known_and_nobody_is_asked(keys: CountedKeys, clock: HandClock) -> None:
    class Denied:
        is_denied = False
        waited = False

        def denies(self, _: Claims, *, waits: bool = True) -> bool:
            self.waited |= waits
            return self.is_denied

    denied, token = Denied(), ONE.token(claims_at())
    verifier = TokenVerifier(keys=keys, rules=rules(clock), denied=denied, clock=clock)
    verifier.verify(token)
    denied.waited = False
    assert verifier.known(token) is not None

    denied.is_denied = True

    assert verifier.known(token) is None
    assert not denied.waited
