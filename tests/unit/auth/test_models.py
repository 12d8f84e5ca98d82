from __future__ import annotations

import json

import pytest

from velro_auth.auth.models import Profile, Session, User, dump_session, load_session

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
