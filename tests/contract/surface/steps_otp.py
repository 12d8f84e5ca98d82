"""What comes before the cases of codes, of mails sent again, and of changes of address."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from tests.contract.surface.steps import Step
from tests.contract.surface.steps_recover import put, recover
from tests.contract.surface.steps_signup import sign_up
from tests.contract.surface.steps_verify import DAY_AND_HOUR_S, code_of, follow, post
from tests.contract.surface.world import CHALLENGE, VERIFIER, World

PKCE: Final = {"code_challenge": CHALLENGE, "code_challenge_method": "s256"}
PLAIN: Final = {"code_challenge": VERIFIER, "code_challenge_method": "plain"}


def otp(world: World, **more: Any) -> None:
    """Ask for a code; the request carries what the mail says."""
    world.ok("POST", "/otp", {"email": world.values["email"], **more})
    world.use_mail()


def asked(world: World, **more: Any) -> None:
    """Log in and ask for a code."""
    world.session()
    otp(world, **more)


def _first(world: World) -> None:
    world.user()
    otp(world)


def _late(world: World) -> None:
    asked(world)
    world.later(DAY_AND_HOUR_S)


def _wrong(world: World) -> None:
    asked(world)
    # Of a million codes the real one could be the recorded wrong one.
    world.sql("update auth.users set recovery_token = %s", "0" * 56)


def _replaced(world: World) -> None:
    asked(world)
    first = dict(world.values)
    world.later(1)
    recover(world)
    world.values = first


def _traded(world: World, challenge: Mapping[str, str]) -> None:
    asked(world, **challenge)
    code_of(world, "magiclink")


def _mailed_before(world: World) -> None:
    asked(world)
    world.later(1)


def _spent_before(world: World) -> None:
    _mailed_before(world)
    post(world, "magiclink")


def _confirmed(world: World) -> None:
    sign_up(world)
    post(world, "signup")


# -- a change of address -------------------------------------------------------------------------------------------


def changing(world: World, **more: Any) -> None:
    """Log in and ask for the new address; the request carries what the mail to it says."""
    world.session()
    put(world, {"email": world.values["new_email"], **more}, path="/user?redirect_to=https://app.example.com/done")
    world.use_mail(world.values["new_email"])


def half_done(world: World, *, first: str = "new_email", **more: Any) -> None:
    """Confirm the change with one mail; the request carries what the other one says."""
    changing(world, **more)
    other = "email" if first == "new_email" else "new_email"
    follow(world, "email_change", world.mail(world.values[first])["token_hash"])
    world.use_mail(world.values[other])


def _new_again(world: World) -> None:
    half_done(world)
    world.use_mail(world.values["new_email"])


def _restarting(world: World) -> None:
    half_done(world)
    world.values["new_email"] = world.new_email()
    world.later(1)


def _restarted(world: World) -> None:
    changing(world)
    world.later(1)
    put(world, {"email": world.new_email()})


def _taken(world: World) -> None:
    world.session()
    world.values["email"] = str(world.user(world.new_email())["email"])


def _change_late(world: World) -> None:
    changing(world)
    world.later(DAY_AND_HOUR_S)


def _changing_again(world: World) -> None:
    changing(world)
    world.values["new_email"] = world.new_email()
    world.later(1)


def _half_done_by_code(world: World) -> None:
    half_done(world, first="email", **PKCE)


def _asked_by_code(world: World) -> None:
    asked(world, **PKCE)


def _changing_by_code(world: World) -> None:
    changing(world, **PKCE)
    world.use_mail()


def _changed_by_code(world: World) -> None:
    changing(world, **PKCE)
    follow(world, "email_change", world.mail()["token_hash"])
    code_of(world, "email_change", world.mail(world.values["new_email"])["token_hash"])


STEPS: Final[Mapping[str, Step]] = {
    "otp/known": lambda world: world.user(),
    "otp/verify-email-otp": _first,
    "otp/known-create-user-false": _spent_before,
    "otp/verify-magiclink-otp": asked,
    "otp/verify-get-link": asked,
    "otp/verify-wrong": _wrong,
    "otp/verify-expired": _late,
    "otp/verify-otp-after-recover": _replaced,
    "otp/verify-new-user-email": partial(otp, data={"a": 1}),
    "otp/unconfirmed": lambda world: world.user(confirmed=False),
    "otp/unconfirmed-create-user-false": sign_up,
    "otp/known-pkce": _mailed_before,
    "otp/verify-get-pkce": _asked_by_code,
    "otp/token-pkce": partial(_traded, challenge=PKCE),
    "otp/token-pkce-plain": partial(_traded, challenge=PLAIN),
    "otp/magiclink-route": _spent_before,
    "resend/signup-confirmed": _confirmed,
    "resend/email-change-pending": _changing_again,
    "resend/signup-pkce": sign_up,
    "email-change/double-first-get": changing,
    "email-change/double-first-again": _new_again,
    "email-change/double-second-get": half_done,
    "email-change/double-second-otp-new": partial(half_done, first="email"),
    "email-change/double-hash-new": changing,
    "email-change/double-login-old-while-pending": half_done,
    "email-change/double-user-while-pending": half_done,
    "email-change/double-restart": _restarting,
    "email-change/double-hash-old-after-restart": _restarted,
    "email-change/same-address": changing,
    "email-change/taken": _taken,
    "email-change/expired": _change_late,
    "email-change/double-start-pkce": _changing_again,
    "email-change/double-first-pkce": _changing_by_code,
    "email-change/double-second-pkce": _half_done_by_code,
    "email-change/double-token-pkce": _changed_by_code,
    "email-change/single-get": changing,
    "email-change/autoconfirm-first": changing,
}
