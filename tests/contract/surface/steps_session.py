"""What comes before the requests about sessions, guests, phone numbers, limits and the service itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import jwt

from tests.contract.surface.steps import Step
from tests.contract.surface.world import PASSWORD, World

BURST: Final = 30
TEST_NUMBER: Final = "15551239100"


def two_sessions(world: World) -> dict[str, Any]:
    """Return the older one; the request carries the newer one."""
    world.user()
    older = world.log_in()
    world.log_in()
    return older


def three_sessions_one_refreshed(world: World) -> None:
    world.user()
    world.log_in()
    world.refresh()
    world.log_in()
    world.log_in()


def logged_out(scope: str, *, seen_from_other: bool = False) -> Step:
    def step(world: World) -> None:
        other = two_sessions(world)
        world.ok("POST", f"/logout?scope={scope}", bearer=world.values["access_token"])
        if seen_from_other:
            world.use(other)

    return step


def odd_token(name: str, **changes: Any) -> Step:
    """Sign the session's token once more with other claims."""

    def step(world: World) -> None:
        world.session()
        claims = jwt.decode(world.values["access_token"], options={"verify_signature": False})
        world.values[name] = world.standin.sign(claims | changes)

    return step


def expired(world: World) -> None:
    world.session()
    claims = jwt.decode(world.values["access_token"], options={"verify_signature": False})
    claims["exp"] = claims["iat"] - 1
    world.values["expired_access_token"] = world.standin.sign(claims)


def bad_signature(world: World) -> None:
    session = world.session()
    head, body, signature = session["access_token"].split(".")
    swapped = f"{head}.{body}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"
    world.values["access_token_with_bad_signature"] = swapped


def banned(world: World) -> None:
    user = world.user()
    world.log_in()
    world.admin("PUT", f"/users/{user['id']}", {"ban_duration": "24h"})


def unbanned(world: World) -> None:
    user = world.user()
    world.log_in()
    world.admin("PUT", f"/users/{user['id']}", {"ban_duration": "24h"})
    world.admin("PUT", f"/users/{user['id']}", {"ban_duration": "none"})


def guest(world: World) -> None:
    world.anonymous({"a": 1})


def guest_with_pending_address(world: World) -> None:
    guest(world)
    world.ok("PUT", "/user", {"email": world.values["new_email"]}, bearer=world.values["access_token"])
    world.use_mail(world.values["new_email"])


def guest_with_address(world: World) -> None:
    guest_with_pending_address(world)
    body = {"type": "email_change", "email": world.values["new_email"], "token": world.values["otp"]}
    world.use(world.ok("POST", "/verify", body))


def guest_and_a_taken_address(world: World) -> None:
    world.user(world.values["new_email"])
    guest(world)


def test_number(world: World) -> None:
    world.values["phone"] = TEST_NUMBER


def number_signed_up(world: World) -> None:
    test_number(world)
    world.ok("POST", "/signup", {"phone": f"+{TEST_NUMBER}", "password": PASSWORD})
    world.values["otp"] = "123456"


def spent(method: str, path: str, body: Any = None, *, address: str, times: int = BURST) -> Step:
    """Send the request as often as is allowed."""

    def step(world: World) -> None:
        _spend(world, method, path, body, bearer=None, address=address, times=times)

    return step


def spent_in_session(request: Callable[[World], tuple[str, str, Any]], *, address: str) -> Step:
    def step(world: World) -> None:
        world.session()
        method, path, body = request(world)
        _spend(world, method, path, body, bearer=world.values["access_token"], address=address, times=BURST)

    return step


def _spend(world: World, method: str, path: str, body: Any, *, bearer: str | None, address: str, times: int) -> None:
    for _ in range(times):
        headers = {"X-Forwarded-For": address}
        answer = world.call(method, path, body, bearer=bearer, headers=headers)
        if answer.status_code == 429:
            return


def _put_user(_world: World) -> tuple[str, str, Any]:
    return "PUT", "/user", {"data": {}}


def _challenge(world: World) -> tuple[str, str, Any]:
    factor = world.enrol()
    world.uuids.append(factor["id"])
    return "POST", f"/factors/{factor['id']}/challenge", {}


def _verify_factor(world: World) -> tuple[str, str, Any]:
    factor = world.enrol()
    challenge = world.challenge(factor["id"])
    world.uuids.extend([factor["id"], challenge])
    return "POST", f"/factors/{factor['id']}/verify", {"challenge_id": challenge, "code": "000000"}


def two_mails_sent(world: World) -> None:
    world.session()
    for _ in range(3):
        world.call("POST", "/recover", {"email": world.values["email"]})


def two_mails_sent_to_others(world: World) -> None:
    email = world.values["email"]
    two_mails_sent(world)
    assert email
    world.values["email"] = world.new_email()


STEPS: Final[Mapping[str, Step]] = {
    "session/logout-global": two_sessions,
    "session/logout-global-again": logged_out("global"),
    "session/logout-global-other-session": logged_out("global", seen_from_other=True),
    "session/logout-global-other-refresh": logged_out("global", seen_from_other=True),
    "session/logout-local": two_sessions,
    "session/logout-local-again": logged_out("local"),
    "session/logout-local-other-session": logged_out("local", seen_from_other=True),
    "session/logout-local-other-refresh": logged_out("local", seen_from_other=True),
    "session/logout-others": three_sessions_one_refreshed,
    "session/logout-others-again": logged_out("others"),
    "session/logout-others-other-session": logged_out("others", seen_from_other=True),
    "session/logout-default": two_sessions,
    "session/user-expired": expired,
    "session/user-bad-signature": bad_signature,
    "session/user-sub-not-uuid": odd_token("access_token_sub_not_uuid", sub="x"),
    "session/user-other-aud": odd_token("access_token_other_aud", aud="other"),
    "session/user-no-session-id": odd_token("access_token_without_session_id", session_id=""),
    "session/user-banned": banned,
    "session/logout-banned": banned,
    "session/login-banned": banned,
    "session/refresh-banned": banned,
    "session/user-unbanned": unbanned,
    "anonymous/user": guest,
    "anonymous/password-without-email": guest,
    "anonymous/reauthenticate": guest,
    "anonymous/link-email": guest,
    "anonymous/link-email-verify": guest_with_pending_address,
    "anonymous/set-password-after-link": guest_with_address,
    "anonymous/link-email-taken": guest_and_a_taken_address,
    "anonymous/link-email-autoconfirm": lambda world: world.anonymous(),
    "phone/signup-test-otp": test_number,
    "phone/verify-right": number_signed_up,
    "phone/otp-too-soon": number_signed_up,
    "rate-limit/otp": spent("POST", "/otp", {"email": "x"}, address="203.0.113.22"),
    "rate-limit/recover": spent("POST", "/recover", {"email": "x"}, address="203.0.113.23"),
    "rate-limit/resend": spent("POST", "/resend", {"email": "x"}, address="203.0.113.24"),
    "rate-limit/put-user": spent_in_session(_put_user, address="203.0.113.25"),
    "rate-limit/verify-post": spent("POST", "/verify", {"type": "signup", "token_hash": "x"}, address="203.0.113.26"),
    "rate-limit/verify-get": spent("GET", "/verify?type=signup&token=x", address="203.0.113.27"),
    "rate-limit/token-refresh": spent(
        "POST", "/token?grant_type=refresh_token", {"refresh_token": "x"}, address="203.0.113.28"
    ),
    "rate-limit/anonymous": spent("POST", "/signup", {}, address="203.0.113.30", times=2),
    "rate-limit/factor-challenge": spent_in_session(_challenge, address="203.0.113.31"),
    "rate-limit/factor-verify": spent_in_session(_verify_factor, address="203.0.113.32"),
    "rate-limit/no-address-header": spent("POST", "/otp", {"email": "x"}, address="", times=35),
    "rate-limit/email-sent-recover": two_mails_sent,
    "rate-limit/email-sent-signup": two_mails_sent_to_others,
    "rate-limit/email-sent-otp": two_mails_sent,
    "rate-limit/email-sent-invite": two_mails_sent_to_others,
    "rate-limit/email-sent-reauthenticate": two_mails_sent,
    "rate-limit/email-sent-email-change": two_mails_sent,
}
