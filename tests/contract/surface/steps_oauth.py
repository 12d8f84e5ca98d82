"""What comes before the requests about providers and identities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlsplit

import requests

from supabase_standin.provider import Account
from tests.contract.surface.steps import Step
from tests.contract.surface.world import CHALLENGE, PASSWORD, World

PAGE: Final = "https://app.example.com/cb?x=1"
LINKED: Final = "https://app.example.com/linked"
TOO_LATE_S: Final = 301


def account(world: World, subject: str, *, email: str | None = None, verified: bool = True) -> str:
    """Give somebody an account at the providers and return the address."""
    address = email or world.values["email"]
    world.standin.provider_accounts[address] = Account(subject=subject, email=address, email_verified=verified)
    return address


def start(world: World, *, provider: str = "keycloak", redirect_to: str = "", pkce: bool = False) -> str:
    """Begin a login and return where the browser is sent."""
    query = f"provider={provider}" + (f"&redirect_to={quote(redirect_to)}" if redirect_to else "")
    query += f"&code_challenge={CHALLENGE}&code_challenge_method=s256" if pkce else ""
    return world.call("GET", f"/authorize?{query}", bearer="").headers["Location"]


def agree(world: World, page: str, email: str) -> None:
    """Go on at the provider as *email*; the request carries what it sent back."""
    answer = requests.get(f"{page}&login_hint={quote(email)}", allow_redirects=False, timeout=20)
    back = parse_qs(urlsplit(answer.headers["Location"]).query)
    world.values["provider_token"] = back["code"][0]
    world.uuids.clear()
    world.uuids.append(back["state"][0])


def state_of(world: World, page: str) -> None:
    world.uuids.append(parse_qs(urlsplit(page).query)["state"][0])


def come_back(world: World) -> requests.Response:
    """Follow the provider's redirect."""
    return world.call("GET", f"/callback?code={world.values['provider_token']}&state={world.uuids[0]}", bearer="")


def agreed(
    subject: str, *, verified: bool = True, provider: str = "keycloak", redirect_to: str = "", pkce: bool = False
) -> Step:
    def step(world: World) -> None:
        email = account(world, subject, verified=verified)
        agree(world, start(world, provider=provider, redirect_to=redirect_to, pkce=pkce), email)

    return step


def logged_in_before(world: World) -> None:
    agreed("101")(world)
    come_back(world)
    agreed("101")(world)


def logged_in_before_badly_redirected(world: World) -> None:
    agreed("101")(world)
    come_back(world)
    agreed("101", redirect_to="https://evil.example.net/")(world)


def with_code(world: World) -> None:
    agreed("102", redirect_to="https://app.example.com/cb", pkce=True)(world)
    code = parse_qs(urlsplit(come_back(world).headers["Location"]).query)["code"][0]
    world.uuids.clear()
    world.uuids.append(code)


def state_used(world: World) -> None:
    agreed("102", pkce=True)(world)
    come_back(world)
    world.values["provider_token"] = "again"


def wrong_verifier_tried(world: World) -> None:
    with_code(world)
    body = {"auth_code": world.uuids[0], "code_verifier": world.values["other_code_verifier"]}
    assert world.call("POST", "/token?grant_type=pkce", body).status_code == 400


def too_late(step: Step) -> Step:
    def later(world: World) -> None:
        step(world)
        world.later(TOO_LATE_S)

    return later


def unconfirmed_user(world: World) -> None:
    world.ok("POST", "/signup", {"email": world.values["email"], "password": PASSWORD})
    agreed("106")(world)


def confirmed_user_unverified_there(world: World) -> None:
    world.user()
    agreed("107", verified=False, provider="gitlab")(world)


def banned(world: World) -> None:
    agreed("108")(world)
    come_back(world)
    user = world.admin("GET", "/users")["users"][0]
    world.admin("PUT", f"/users/{user['id']}", {"ban_duration": "24h"})
    agreed("108")(world)


def two_identities(world: World) -> None:
    world.user()
    agreed("105")(world)
    come_back(world)
    world.log_in()
    world.uuids.clear()


def linking(world: World, subject: str, redirect_to: str = "") -> None:
    email = account(world, subject)
    query = "provider=gitlab&skip_http_redirect=true" + (f"&redirect_to={quote(redirect_to)}" if redirect_to else "")
    page = world.ok("GET", f"/user/identities/authorize?{query}", bearer=world.values["access_token"])["url"]
    agree(world, page, email)


def linking_third(world: World) -> None:
    two_identities(world)
    linking(world, "109", LINKED)


def linking_again(world: World) -> None:
    two_identities(world)
    linking(world, "109")
    come_back(world)
    linking(world, "109")


def linking_another_ones(world: World) -> None:
    other = world.new_email()
    account(world, "110", email=other)
    agree(world, start(world, provider="gitlab"), other)
    come_back(world)
    world.session()
    account(world, "110")
    linking(world, "110")


def three_identities(world: World) -> None:
    linking_again(world)
    world.uuids.clear()


def one_of_three(world: World) -> None:
    three_identities(world)
    world.uuids.append(_identity(world, "keycloak"))


def only_identity(world: World) -> None:
    world.session()
    world.uuids.append(_identity(world, "email"))


def _identity(world: World, provider: str) -> str:
    user: dict[str, Any] = world.ok("GET", "/user", bearer=world.values["access_token"])
    return next(str(one["identity_id"]) for one in user["identities"] if one["provider"] == provider)


def begun(world: World) -> None:
    state_of(world, start(world, redirect_to=PAGE))


STEPS: Final[Mapping[str, Step]] = {
    "oauth/callback-implicit-new-user": agreed("101", redirect_to=PAGE),
    "oauth/callback-implicit-known-user": logged_in_before,
    "oauth/callback-pkce-new-user": agreed("102", redirect_to="https://app.example.com/cb", pkce=True),
    "oauth/callback-pkce-state-reused": state_used,
    "oauth/token-wrong-verifier": with_code,
    "oauth/token-right": wrong_verifier_tried,
    "oauth/token-expired": too_late(with_code),
    "oauth/callback-state-expired": too_late(agreed("101")),
    "oauth/callback-pkce-state-expired": too_late(agreed("101", pkce=True)),
    "oauth/callback-bad-redirect": logged_in_before_badly_redirected,
    "oauth/callback-provider-error": begun,
    "oauth/callback-no-code": begun,
    "oauth/callback-exchange-fails": begun,
    "oauth/callback-unverified-email-new-user": agreed("104", verified=False),
    "oauth/callback-links-unconfirmed-user": unconfirmed_user,
    "oauth/callback-unverified-email-known-user": confirmed_user_unverified_there,
    "oauth/callback-banned": banned,
    "oauth/signups-disabled": agreed("111"),
    "identities/list": two_identities,
    "identities/link-authorize": two_identities,
    "identities/link-callback": linking_third,
    "identities/link-callback-already": linking_again,
    "identities/link-callback-other-user": linking_another_ones,
    "identities/unlink-unknown": three_identities,
    "identities/unlink-bad-id": three_identities,
    "identities/unlink": one_of_three,
    "identities/unlink-only-one": only_identity,
}
