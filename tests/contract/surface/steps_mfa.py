"""What comes before the requests about second factors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.contract.surface.steps import Step
from tests.contract.surface.world import World


def enrolled(world: World) -> None:
    world.session()
    _use(world, world.enrol())


def three_factors(world: World) -> None:
    world.session()
    for name in ("phone", "second", ""):
        world.enrol(name)


def challenged(world: World) -> None:
    world.session()
    _challenge(world, world.enrol())


def challenged_before(world: World) -> None:
    world.session()
    factor = world.enrol()
    world.challenge(factor["id"])
    _use(world, factor)


def two_more_factors_and_another_session(world: World) -> None:
    world.session()
    world.log_in()
    _challenge(world, world.enrol())
    world.enrol("second")
    world.enrol("")
    path = f"/factors/{world.uuids[0]}/verify"
    wrong = world.call("POST", path, {"challenge_id": world.uuids[1], "code": "000000"}, bearer=_token(world))
    assert wrong.status_code == 422


def verified(world: World) -> None:
    world.session()
    factor = world.verified_factor()
    _use(world, factor)


def challenge_used(world: World) -> None:
    world.session()
    factor = world.enrol()
    _challenge(world, factor)
    body = {"challenge_id": world.uuids[1], "code": world.values["totp"]}
    world.use(world.ok("POST", f"/factors/{factor['id']}/verify", body, bearer=_token(world)))


def stepped_up_with_tokens_from_before(world: World) -> None:
    before = world.session()
    world.verified_factor()
    world.use(before)


def stepped_up_and_refreshed(world: World) -> None:
    before = world.session()
    world.verified_factor()
    newest = world.values["refresh_token"]
    world.refresh(before["refresh_token"])
    world.values["refresh_token"] = newest


def other_session_ended(world: World) -> None:
    world.user()
    other = world.log_in()
    world.log_in()
    world.verified_factor()
    world.use(other)


def verified_and_challenged(world: World) -> None:
    world.session()
    factor = world.verified_factor()
    _challenge(world, factor)


def challenge_too_old(world: World) -> None:
    world.session()
    factor = world.enrol()
    _challenge(world, factor)
    world.later(301)
    world.values["totp"] = world.code(factor)


def challenge_too_old_again(world: World) -> None:
    challenge_too_old(world)
    body = {"challenge_id": world.uuids[1], "code": world.values["totp"]}
    assert world.call("POST", f"/factors/{world.uuids[0]}/verify", body, bearer=_token(world)).status_code == 422


def signed_in_anew(world: World) -> None:
    world.session()
    factor = world.verified_factor()
    world.log_in()
    _use(world, factor)


def second_session_challenged(world: World) -> None:
    world.session()
    factor = world.verified_factor()
    token = _token(world)
    world.ok("PUT", "/user", {"data": {"a": 1}}, bearer=token)
    world.log_in()  # ends with the step-up of the other
    world.log_in()
    _challenge(world, factor)


def factor_of_another(world: World) -> None:
    world.session()
    factor = world.verified_factor()
    other = world.new_email()
    world.user(other)
    world.log_in(other)
    _use(world, factor)


def admin_at_factor(world: World) -> None:
    world.session()
    factor = world.verified_factor()
    world.uuids.extend([_user_id(world), factor["id"]])


def admin_at_unverified_factor(world: World) -> None:
    world.session()
    factor = world.enrol("adm")
    world.uuids.extend([_user_id(world), factor["id"]])


def admin_at_user(world: World) -> None:
    world.uuids.append(world.user()["id"])


def two_sessions_stepped_up_often_challenged(world: World) -> None:
    world.session()
    world.ok("PUT", "/user", {"data": {"a": 1}}, bearer=_token(world))
    factor = world.verified_factor()
    world.log_in()
    world.step_up(factor)
    for _ in range(3):
        world.challenge(factor["id"])
    _use(world, factor)


def unenrolled(world: World) -> None:
    world.session()
    world.ok("PUT", "/user", {"data": {"a": 1}}, bearer=_token(world))
    factor = world.verified_factor()
    world.ok("DELETE", f"/factors/{factor['id']}", bearer=_token(world))
    _use(world, factor)


def full(world: World) -> None:
    world.session()
    world.enrol("a")
    world.enrol("b")


def full_but_stale(world: World) -> None:
    full(world)
    world.later(301)


def totp_factor_by_hand(world: World) -> None:
    """A factor from the time when TOTP was on."""
    world.session()
    world.sql(
        "insert into auth.mfa_factors (id, user_id, friendly_name, factor_type, status, created_at, updated_at, secret)"
        " values (gen_random_uuid(), %s, 'x', 'totp', 'verified', now(), now(), 'A')",
        _user_id(world),
    )
    world.uuids.append(str(world.sql("select id from auth.mfa_factors")[0][0]))


def phone_factor(world: World) -> None:
    world.session()
    body = {"factor_type": "phone", "phone": f"+{world.values['phone']}", "friendly_name": "p"}
    world.uuids.append(world.ok("POST", "/factors", body, bearer=_token(world))["id"])


def _token(world: World) -> str:
    return world.values["access_token"]


def _user_id(world: World) -> str:
    return str(world.ok("GET", "/user", bearer=_token(world))["id"])


def _use(world: World, factor: Mapping[str, object]) -> None:
    world.uuids.append(str(factor["id"]))


def _challenge(world: World, factor: Mapping[str, object]) -> None:
    _use(world, factor)
    world.uuids.append(world.challenge(str(factor["id"])))
    world.values["totp"] = world.code(factor)


STEPS: Final[Mapping[str, Step]] = {
    "mfa/enroll-duplicate-name": enrolled,
    "mfa/enroll-empty-name-2": lambda world: (world.session(), world.enrol("")),
    "mfa/user-with-unverified-factors": three_factors,
    "mfa/verify-without-challenge": enrolled,
    "mfa/verify-challenge-not-uuid": enrolled,
    "mfa/challenge": enrolled,
    "mfa/challenge-no-body": challenged_before,
    "mfa/verify-empty-code": challenged,
    "mfa/verify-wrong-code": challenged,
    "mfa/verify-other-ip": challenged,
    "mfa/verify-right-first": two_more_factors_and_another_session,
    "mfa/verify-challenge-reused": challenge_used,
    "mfa/old-refresh-token": stepped_up_with_tokens_from_before,
    "mfa/refresh-keeps-aal2": stepped_up_and_refreshed,
    "mfa/old-access-token-after-step-up": stepped_up_with_tokens_from_before,
    "mfa/other-session-after-step-up": other_session_ended,
    "mfa/same-code-again-new-challenge": verified_and_challenged,
    "mfa/challenge-expired": challenge_too_old,
    "mfa/challenge-expired-again": challenge_too_old_again,
    "mfa/password-grant-with-verified-factor": signed_in_anew,
    "mfa/enroll-second-at-aal1": signed_in_anew,
    "mfa/put-password-at-aal1": signed_in_anew,
    "mfa/put-email-at-aal1": signed_in_anew,
    "mfa/put-data-at-aal1": signed_in_anew,
    "mfa/unenroll-verified-at-aal1": signed_in_anew,
    "mfa/enroll-second-at-aal2": verified,
    "mfa/step-up-second-session": second_session_challenged,
    "mfa/unenroll-foreign": factor_of_another,
    "mfa/challenge-foreign": factor_of_another,
    "mfa/admin-list": admin_at_factor,
    "mfa/admin-rename": admin_at_factor,
    "mfa/unenroll-verified-at-aal2": two_sessions_stepped_up_often_challenged,
    "mfa/unenroll-again": unenrolled,
    "mfa/user-after-unenroll-old-token": unenrolled,
    "mfa/admin-delete": admin_at_unverified_factor,
    "mfa/admin-delete-unknown": admin_at_user,
    "mfa/admin-delete-bad-id": admin_at_user,
    "mfa/admin-list-none": admin_at_user,
    "mfa/too-many": full,
    "mfa/stale-unverified-removed": full_but_stale,
    "mfa/totp-challenge-disabled": totp_factor_by_hand,
    "mfa/totp-verify-disabled": totp_factor_by_hand,
    "mfa/phone-challenge-disabled": phone_factor,
}
