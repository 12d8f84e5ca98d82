"""What comes before the cases of recovery and of new passwords."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from tests.contract.surface.steps import Step
from tests.contract.surface.steps_signup import sign_up, signed_up
from tests.contract.surface.steps_verify import DAY_AND_HOUR_S, ban, code_of, follow, post, trade
from tests.contract.surface.world import CHALLENGE, OTHER_PASSWORD, World


def recover(world: World, *, pkce: bool = False, method: str = "s256") -> None:
    """Ask for a recovery mail; the request carries what it says."""
    body = {"email": world.values["email"]}
    body |= {"code_challenge": CHALLENGE, "code_challenge_method": method} if pkce else {}
    world.ok("POST", "/recover", body)
    world.use_mail()


def recovering(world: World, *, pkce: bool = False) -> dict[str, Any]:
    """Create the user and ask for a recovery mail."""
    user = world.user()
    recover(world, pkce=pkce)
    return user


def recovered(world: World) -> None:
    """Log in, and once more by a recovery mail."""
    world.session()
    recover(world)
    world.use(post(world, "recovery"))


def put(world: World, body: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Change the user of the request's token."""
    return world.ok("PUT", options.pop("path", "/user"), body, bearer=world.values["access_token"], **options)


def reauthenticate(world: World) -> None:
    """Ask for a nonce; the request carries it."""
    world.ok("GET", "/reauthenticate", bearer=world.values["access_token"])
    world.use_mail()


def _other_sessions(world: World) -> None:
    world.user()
    world.log_in()
    world.log_in()
    recover(world)
    world.use(post(world, "recovery"))


def _ended_session(world: World) -> None:
    other = world.session()
    recover(world)
    world.use(post(world, "recovery"))
    put(world, {"password": OTHER_PASSWORD})
    world.use(other)


def _used_link(world: World) -> None:
    recovering(world)
    follow(world, "recovery")


def _again(world: World) -> None:
    world.session()
    recover(world)


def _with_data(world: World) -> None:
    world.session()
    put(world, {"data": {"a": 1}})


def _recovering_with_data(world: World, *, pkce: bool = False) -> None:
    _with_data(world)
    recover(world, pkce=pkce)


def _recovered_before(world: World) -> None:
    world.user()
    recover(world)
    post(world, "recovery")


def _pkce_code(world: World) -> None:
    _recovering_with_data(world, pkce=True)
    code_of(world, "recovery")


def _unconfirmed(world: World) -> None:
    world.user(confirmed=False)


def _recovering_unconfirmed(world: World) -> None:
    world.user(confirmed=False)
    recover(world)


def _banned(world: World) -> None:
    ban(world, world.user()["id"])


def _recovering_banned(world: World) -> None:
    ban(world, recovering(world)["id"])


def _mailed_twice(world: World) -> None:
    world.session()
    reauthenticate(world)


def _changing(world: World) -> None:
    world.session()
    put(world, {"email": world.new_email()})


# -- a new password in an old session ---------------------------------------------------------------------------


def _old_session(world: World) -> None:
    world.user(password=OTHER_PASSWORD)
    world.log_in(password=OTHER_PASSWORD)
    world.sql("update auth.sessions set created_at = created_at - make_interval(secs => %s)", DAY_AND_HOUR_S)


def _with_nonce(world: World) -> None:
    _old_session(world)
    reauthenticate(world)


def _wrong_nonce(world: World) -> None:
    _with_nonce(world)
    # Of a million codes the real one could be the recorded wrong one.
    world.sql("update auth.users set reauthentication_token = %s", "0" * 56)


def _spent_nonce(world: World) -> None:
    _with_nonce(world)
    body = {"password": OTHER_PASSWORD, "nonce": world.values["otp"]}
    assert world.call("PUT", "/user", body, bearer=world.values["access_token"]).status_code == 422


def _pkce_recovered(world: World) -> None:
    world.session()
    recover(world, pkce=True)
    code_of(world, "recovery")
    assert trade(world) == 200


STEPS: Final[Mapping[str, Step]] = {
    "recover/known": lambda world: world.user(),
    "recover/verify-get": recovering,
    "recover/verify-get-twice": _used_link,
    "recover/verify-post-otp-wrong-type-signup": recovering,
    "recover/verify-post-otp": _again,
    "recover/put-password-same": recovered,
    "recover/put-password": _other_sessions,
    "recover/other-session-after-password-change": _ended_session,
    "recover/put-password-weak": recovered,
    "recover/put-app-metadata": recovered,
    "recover/put-empty": _with_data,
    "recover/verify-post-token-hash": _recovering_with_data,
    "recover/verify-magiclink-with-recovery-token": _recovering_with_data,
    "recover/known-pkce": _recovered_before,
    "recover/verify-get-pkce": partial(recovering, pkce=True),
    "recover/token-pkce": _pkce_code,
    "recover/unconfirmed": _unconfirmed,
    "recover/verify-unconfirmed": _recovering_unconfirmed,
    "recover/banned": _banned,
    "recover/verify-banned": _recovering_banned,
    "recover/too-soon": recovering,
    "recover/too-soon-signup": sign_up,
    "recover/too-soon-resend": sign_up,
    "recover/too-soon-recover-after-signup": signed_up,
    "recover/too-soon-reauthenticate": _mailed_twice,
    "recover/too-soon-email-change": _changing,
    "recover/too-soon-pkce-leaves-flow-state": recovering,
    "recover/smtp-down": lambda world: world.user(),
    "password-update/reauth-old-session-no-nonce": _old_session,
    "password-update/reauth-old-session-nonce-never-asked": _old_session,
    "password-update/reauth-wrong-nonce": _wrong_nonce,
    "password-update/reauth-right-nonce-weak-password": _with_nonce,
    "password-update/reauth-right-nonce-same-password": _with_nonce,
    "password-update/reauth-nonce-after-that": _spent_nonce,
    "password-update/current-missing-after-post-verify-recovery": recovered,
    "password-update/current-missing-after-pkce-recovery": _pkce_recovered,
}
