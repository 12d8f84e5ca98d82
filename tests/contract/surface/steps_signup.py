"""What comes before the cases of sign-up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tests.contract.surface.steps import Step
from tests.contract.surface.world import CHALLENGE, PASSWORD, World


def sign_up(world: World, *, pkce: bool = False, path: str = "/signup", **more: Any) -> dict[str, Any]:
    """Sign the case's address up."""
    body = {"email": world.values["email"], "password": PASSWORD, **more}
    body |= {"code_challenge": CHALLENGE, "code_challenge_method": "s256"} if pkce else {}
    return world.ok("POST", path, body)


def signed_up(world: World, *, pkce: bool = False, path: str = "/signup") -> None:
    """Sign up; the request carries what the mail says."""
    sign_up(world, pkce=pkce, path=path)
    world.use_mail()


def invite(world: World) -> None:
    """Invite the case's address."""
    world.ok("POST", "/invite", {"email": world.values["email"]}, bearer=world.standin.secret_key)


def _over_one_mib(world: World) -> None:
    """The recording shows only the beginning of the body."""
    world.raw_body = '{"email":"' + "a" * 1024 * 1024 + '"}'


def _in_capitals(world: World) -> None:
    world.user()
    world.values["email"] = world.values["email"].upper()


def _plus_sign(world: World) -> None:
    world.values["code_challenge"] = "+" + CHALLENGE[1:]


STEPS: Final[Mapping[str, Step]] = {
    "signup/autoconfirm-existing-confirmed": lambda world: world.user(),
    "signup/autoconfirm-existing-uppercase": _in_capitals,
    "signup/autoconfirm-existing-unconfirmed-other-password": lambda world: world.user(confirmed=False),
    "signup/pkce-challenge-bad-chars": _plus_sign,
    "signup/body-over-1-mib": _over_one_mib,
    "signup/signups-disabled-existing": lambda world: world.user(),
    "signup/signups-disabled-otp-known": lambda world: world.user(),
    "signup/email-provider-disabled-password-grant": lambda world: world.user(),
    "signup/email-provider-disabled-otp": lambda world: world.user(),
    "signup/email-provider-disabled-recover": lambda world: world.user(),
    "signup/email-provider-disabled-resend": lambda world: world.user(),
    "signup/magic-link-disabled-otp": lambda world: world.user(),
    "signup/confirm-existing-unconfirmed-again": lambda world: sign_up(world, data={"name": "Zoe"}),
    "signup/confirm-existing-confirmed-no-data": lambda world: world.user(),
    "signup/confirm-existing-invited": invite,
}
