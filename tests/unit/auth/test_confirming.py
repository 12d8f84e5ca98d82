"""An exchange tells that the password may be somebody else's, wherever it has confirmed the address."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.account_double import API, KEY, moment
from tests.fixtures.tokens import claims_at
from velro_auth.auth.models import Session, User
from velro_auth.auth.oauth import Exchanged


def exchanged(method: str, **user: Any) -> Exchanged:
    claims = claims_at(time.time(), iss=API, amr=[{"method": method, "timestamp": int(time.time())}])
    session = Session(
        access_token=KEY.token(claims),
        refresh_token="…",
        expires_in=3600,
        expires_at=0,
        user=User(id="…", email=None),
        raw={"user": {"last_sign_in_at": moment(), **user}},
    )
    return Exchanged(session, "verifier")


@pytest.mark.parametrize("method", ["recovery", "magiclink", "email/signup", "invite"])
@pytest.mark.parametrize("ago_s", [0, 290])
def test_a_link_that_confirmed_the_address_leaves_the_password_unproven(method: str, ago_s: float) -> None:
    """The code of a link is good for five minutes."""
    confirmed = moment(ago_s)

    assert exchanged(method, email_confirmed_at=confirmed, recovery_sent_at=moment(1000)).is_password_unproven
    assert exchanged(method, email_confirmed_at=confirmed).is_password_unproven


@pytest.mark.parametrize(
    "user",
    [
        {"email_confirmed_at": moment(310)},
        {"email_confirmed_at": moment(10), "recovery_sent_at": moment(5)},
        {"email_confirmed_at": None},
        {},
    ],
)
def test_a_later_sign_in_by_mail_confirms_nothing(user: dict[str, Any]) -> None:
    assert not exchanged("magiclink", **user).is_password_unproven


def test_a_provider_leaves_no_password_behind() -> None:
    assert not exchanged("oauth", email_confirmed_at=moment()).is_password_unproven
