"""PKCE: verifiers, challenges, and the proof."""

from __future__ import annotations

import pytest

from velro_auth.auth.pkce import challenge_of, is_challenge, is_verifier, new_verifier, proves

#: RFC 7636, appendix B.
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_a_challenge_is_that_of_the_standard() -> None:
    assert challenge_of(VERIFIER) == CHALLENGE
    assert proves(VERIFIER, CHALLENGE)


def test_verifiers_are_new_each_time_and_have_the_form_of_the_standard() -> None:
    verifiers = {new_verifier() for _ in range(100)}

    assert len(verifiers) == 100
    assert all(is_verifier(verifier) and is_challenge(challenge_of(verifier)) for verifier in verifiers)


@pytest.mark.parametrize("text", ["", "a" * 42, "a" * 129, "a" * 43 + "\n", "ä" * 43, "a" * 42 + " "])
def test_what_is_no_verifier_proves_nothing(text: str) -> None:
    assert not is_verifier(text)
    assert not proves(text, challenge_of(text))


@pytest.mark.parametrize("text", ["", "E" * 42, "E" * 44, CHALLENGE + "=", CHALLENGE[:-1] + "B", VERIFIER[:-1] + "+"])
def test_what_cannot_be_the_hash_is_no_challenge(text: str) -> None:
    """A challenge that nobody can prove would end a sign-in only after the provider's page."""
    assert not is_challenge(text)


def test_another_verifier_proves_nothing() -> None:
    assert not proves(new_verifier(), CHALLENGE)
    assert not proves(CHALLENGE, CHALLENGE)
