from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from velro_auth.auth.models import Profile, Session, User, dump_session, load_session, profile_of

SESSION = Session(
    access_token="a.b.c",
    refresh_token="refresh",
    expires_in=3600,
    expires_at=1_785_603_600,
    user=User(
        id="7c9b0f3e-6a54-4d0e-9a3c-2f1d8e5b7a61",
        email="ada@example.com",
        role="viewer",
        profile=Profile("Ada", None, 5),
        factors=[{"id": "f", "status": "verified"}],
        user_metadata={"theme": {"dark": True}},
    ),
    weak_password={"reasons": ["length"]},
)


def test_a_session_comes_back_as_it_was() -> None:
    assert load_session(json.loads(json.dumps(dump_session(SESSION)))) == SESSION


def test_a_session_of_another_release_is_noticed() -> None:
    values = dump_session(SESSION)

    with pytest.raises(TypeError):
        load_session({**values, "unheard_of": 1})
    with pytest.raises(KeyError):
        load_session({name: value for name, value in values.items() if name != "user"})


def with_factors(aal: str, *factors: dict[str, str]) -> Session:
    return replace(SESSION, aal=aal, user=replace(SESSION.user, factors=factors))


VERIFIED = {"id": "f1", "status": "verified", "factor_type": "totp", "friendly_name": "phone"}
UNVERIFIED = {"id": "f2", "status": "unverified", "factor_type": "totp"}


@pytest.mark.parametrize("aal", ["aal1", ""])
def test_a_user_with_verified_factors_is_told_so(aal: str) -> None:
    assert with_factors(aal, UNVERIFIED, VERIFIED).mfa == {
        "required": True,
        "factors": [{"id": "f1", "type": "totp", "friendly_name": "phone"}],
    }


@pytest.mark.parametrize(
    "session", [with_factors("aal2", VERIFIED), with_factors("aal1", UNVERIFIED), with_factors("aal1")]
)
def test_others_have_nothing_to_prove(session: Session) -> None:
    assert session.mfa is None


@pytest.mark.parametrize(
    ("claims", "profile"),
    [
        ({}, Profile()),
        ({"user_metadata": {"display_name": "Ada", "full_name": "x", "name": "y"}}, Profile("Ada")),
        ({"user_metadata": {"full_name": " Ada ", "name": "y"}}, Profile("Ada")),
        ({"user_metadata": {"name": "Ada"}}, Profile("Ada")),
        ({"user_metadata": {"display_name": None, "name": "Ada"}}, Profile("Ada")),
        ({"display_name": "Hook", "user_metadata": {"display_name": "Ada"}}, Profile("Hook")),
        ({"user_metadata": {"name": "a" * 101}}, Profile("a" * 100)),
        ({"user_metadata": {"name": " "}}, Profile()),
        ({"user_metadata": {"name": 7, "avatar_url": 7}}, Profile()),
        ({"user_metadata": "Ada"}, Profile()),
        ({"user_metadata": {"avatar_url": "https://a.example/"}}, Profile(None, "https://a.example/")),
        ({"user_metadata": {"picture": "https://a.example/"}}, Profile(None, "https://a.example/")),
        ({"user_metadata": {"avatar_url": "javascript:alert(1)"}}, Profile()),
        ({"user_metadata": {"avatar_url": "https://" + "a" * 2000}}, Profile()),
        ({"credits_balance": 7, "user_metadata": {"credits_balance": 9}}, Profile(None, None, 7)),
        ({"user_metadata": {"credits_balance": 9}}, Profile()),
    ],
)
def test_a_profile_of_a_token_follows_the_migrations(claims: dict[str, Any], profile: Profile) -> None:
    """Credits are never taken from what users write about themselves."""
    assert profile_of(claims) == profile
