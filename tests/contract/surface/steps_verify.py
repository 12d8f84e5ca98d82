"""What comes before the cases of verification: a mail, and what was done with it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from tests.contract.surface.steps import Step
from tests.contract.surface.steps_signup import sign_up, signed_up
from tests.contract.surface.world import VERIFIER, World

DAY_AND_HOUR_S: Final = 25 * 3600


def follow(world: World, kind: str, token_hash: str | None = None) -> str:
    """Follow a link of the case's mail and return where it leads."""
    token = token_hash or world.mail()["token_hash"]
    answer = world.call("GET", f"/verify?token={token}&type={kind}&redirect_to=https://app.example.com")
    assert answer.status_code == 303
    return answer.headers["Location"]


def post(world: World, kind: str, mail: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Post the hash of a mail, the newest unless one is given."""
    token_hash = (mail or world.mail())["token_hash"]
    return world.ok("POST", "/verify", {"type": kind, "token_hash": token_hash})


def code_of(world: World, kind: str, token_hash: str | None = None) -> None:
    """Follow a PKCE link; the request carries the code of the redirect."""
    query = parse_qs(urlsplit(follow(world, kind, token_hash)).query)
    world.uuids.append(query["code"][0])


def trade(world: World, verifier: str = VERIFIER) -> int:
    """Trade the code; its status is returned, and the request carries the same code."""
    body = {"auth_code": world.uuids[0], "code_verifier": verifier}
    answer = world.call("POST", "/token?grant_type=pkce", body)
    if answer.ok:
        world.use(answer.json())
    return answer.status_code


def ban(world: World, user_id: str) -> None:
    """Ban a user for an hour."""
    world.admin("PUT", f"/users/{user_id}", {"ban_duration": "1h"})


def _used(world: World) -> None:
    signed_up(world)
    follow(world, "signup")


def _pkce_used(world: World) -> None:
    signed_up(world, pkce=True)
    follow(world, "signup")


def _pkce_code(world: World) -> None:
    signed_up(world, pkce=True)
    code_of(world, "signup")


def _tried_once(world: World) -> None:
    _pkce_code(world)
    assert trade(world, "b" * 43) == 400


def _traded(world: World) -> None:
    _pkce_code(world)
    assert trade(world) == 200


def _without_flow(world: World) -> None:
    signed_up(world, pkce=True)
    world.sql("delete from auth.flow_state")


def _too_late(world: World) -> None:
    signed_up(world)
    world.later(DAY_AND_HOUR_S)


def _capitals(world: World) -> None:
    signed_up(world)
    world.values["email"] = world.values["email"].upper()


def _banned(world: World) -> None:
    user = sign_up(world)
    world.use_mail()
    ban(world, user["id"])


def _older_mail(world: World) -> None:
    signed_up(world)
    first = dict(world.values)
    world.later(1)
    sign_up(world)
    world.values = first


def _newer_mail(world: World) -> None:
    sign_up(world)
    world.later(1)
    signed_up(world)


def _wrong_code(world: World) -> None:
    signed_up(world)
    # Of a million codes the real one could be the recorded wrong one.
    world.sql("update auth.users set confirmation_token = %s", "0" * 56)


STEPS: Final[Mapping[str, Step]] = {
    "verify/get-signup-implicit": signed_up,
    "verify/get-signup-used-twice": _used,
    "verify/get-signup-no-redirect": signed_up,
    "verify/get-signup-redirect-not-allowed": signed_up,
    "verify/get-signup-token-hash-parameter": signed_up,
    "verify/get-type-email": signed_up,
    "verify/pkce-token-wrong-verifier": _pkce_code,
    "verify/pkce-token-right": _tried_once,
    "verify/pkce-token-used": _traded,
    "verify/get-signup-pkce-used-twice": _pkce_used,
    "verify/get-signup-pkce-no-flow-state": _without_flow,
    "verify/get-signup-expired": _too_late,
    "verify/post-otp-expired": _too_late,
    "verify/post-signup-token-hash": signed_up,
    "verify/post-signup-token-hash-twice": _used,
    "verify/post-email-token-hash": signed_up,
    "verify/post-signup-otp-wrong": _wrong_code,
    "verify/post-signup-otp-uppercase-mail": _capitals,
    "verify/post-signup-otp-twice": _used,
    "verify/post-email-otp-signup": signed_up,
    "verify/post-magiclink-otp-of-signup": signed_up,
    "verify/post-recovery-otp-of-signup": signed_up,
    "verify/post-invite-otp-of-signup": signed_up,
    "verify/post-otp-of-pkce-signup": partial(signed_up, pkce=True),
    "verify/post-token-hash-pkce-without-prefix": partial(signed_up, pkce=True),
    "verify/post-token-hash-pkce-with-prefix": partial(signed_up, pkce=True),
    "verify/post-unknown-type-otp": signed_up,
    "verify/post-banned": _banned,
    "verify/get-banned": _banned,
    "verify/post-older-otp-after-resend": _older_mail,
    "verify/post-newer-otp-after-resend": _newer_mail,
}
