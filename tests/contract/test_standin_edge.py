"""The platform's gateway: API keys, browsers, forwarded addresses, the limiter, unknown routes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from supabase_standin import RateLimit, Standin
from tests.fixtures.standin import PASSWORD, Api, new_email

BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0"}


@pytest.fixture
def api(standin: Standin) -> Api:
    return Api(standin)


@pytest.mark.parametrize("path", ["/auth/v1/health", "/auth/v1/settings", "/rest/v1/users", "/auth/v1/nothing"])
@pytest.mark.parametrize("key", ["", "sb_publishable_of_another_project"])
def test_without_a_known_key_nothing_is_served(api: Api, path: str, key: str) -> None:
    """No error code in the body: that is how a gateway tells it from a wrong password."""
    response = api.call("GET", path, key=key)

    assert response.status_code == 401
    assert response.json() == {"message": "Invalid API key"}
    assert "x-sb-error-code" not in response.headers


def test_the_signing_keys_are_open_to_everybody(api: Api) -> None:
    assert api.call("GET", "/auth/v1/.well-known/jwks.json", key="").status_code == 200


def test_a_browser_with_the_secret_key_is_turned_away(api: Api) -> None:
    """A gateway must never pass its caller's User-Agent on together with the secret key."""
    response = api.call("GET", "/auth/v1/health", key=api.server.secret_key, headers=BROWSER)

    assert response.status_code == 401
    assert response.json() == {"message": "Invalid API key"}


def test_a_browser_with_the_publishable_key_is_served(api: Api) -> None:
    assert api.call("GET", "/auth/v1/health", headers=BROWSER).status_code == 200


def test_health_names_the_service(api: Api) -> None:
    assert api.call("GET", "/auth/v1/health").json()["name"] == "GoTrue"


def test_settings_tell_how_to_log_in(api: Api) -> None:
    settings = api.call("GET", "/auth/v1/settings").json()

    assert settings["external"]["email"] is True
    assert settings["external"]["google"] is False
    assert settings["mailer_autoconfirm"] is True
    assert settings["disable_signup"] is False


def test_the_bearer_may_repeat_the_key(api: Api) -> None:
    """Official clients send it so."""
    key = api.server.publishable_key

    assert api.call("GET", "/auth/v1/settings", bearer=key).status_code == 200


def test_the_secret_key_alone_makes_a_call_an_administrator_s(standin_with: Callable[..., Standin]) -> None:
    """So the captcha is gone: what a gateway has to know that holds such a key."""
    api = Api(standin_with(captcha=True))
    email = new_email()
    api.server.create_user(email, PASSWORD)
    path, body = "/auth/v1/token?grant_type=password", {"email": email, "password": PASSWORD}

    assert api.call("POST", path, body, key=api.server.secret_key).status_code == 200
    assert api.call("POST", path, body).json()["code"] == "captcha_failed"
    solved = {**body, "gotrue_meta_security": {"captcha_token": "solved"}}
    assert api.call("POST", path, solved).status_code == 200


def test_nor_is_there_a_user_in_a_call_with_a_key_alone(api: Api) -> None:
    answer = api.call("GET", "/auth/v1/user", key=api.server.secret_key)

    assert (answer.status_code, answer.json()["code"]) == (403, "bad_jwt")


def limited(standin_with: Callable[..., Standin], *, burst: int) -> Api:
    # The rate belongs to this module: a stand-in with the same options is shared, and so are its buckets.
    return Api(standin_with(rate_limit=RateLimit(burst=burst, per_s=0.0009)))


def attempt(api: Api, address: str, *, secret: bool = True) -> int:
    key = api.server.secret_key if secret else api.server.publishable_key
    headers = {"Sb-Forwarded-For": address}
    body = {"email": new_email(), "password": PASSWORD}
    path = "/auth/v1/token?grant_type=password"
    return api.call("POST", path, body, key=key, headers=headers).status_code


def test_the_limit_counts_each_forwarded_address_for_itself(standin_with: Callable[..., Standin]) -> None:
    api = limited(standin_with, burst=3)

    first = [attempt(api, "203.0.113.1") for _ in range(4)]
    second = [attempt(api, "203.0.113.2") for _ in range(4)]

    assert first == second == [400, 400, 400, 429]


def test_without_the_secret_key_all_callers_of_a_gateway_are_one(standin_with: Callable[..., Standin]) -> None:
    api = limited(standin_with, burst=4)

    statuses = [attempt(api, f"203.0.113.{number}", secret=False) for number in range(5)]

    assert statuses == [400, 400, 400, 400, 429]


def test_a_forwarded_address_that_is_none_is_ignored(standin_with: Callable[..., Standin]) -> None:
    api = limited(standin_with, burst=5)

    statuses = [attempt(api, f"not-an-address-{number}") for number in range(6)]

    assert statuses[-1] == 429


def test_forwarded_addresses_count_only_where_that_is_switched_on(
    standin_with: Callable[..., Standin],
) -> None:
    api = Api(standin_with(rate_limit=RateLimit(burst=2, per_s=0.001), forwarded_for=False))

    assert [attempt(api, f"203.0.113.{number}") for number in range(3)] == [400, 400, 429]


def test_only_the_first_forwarded_address_counts(standin_with: Callable[..., Standin]) -> None:
    api = limited(standin_with, burst=6)

    statuses = [attempt(api, f"203.0.113.9, 198.51.100.{number}") for number in range(7)]

    assert statuses[-1] == 429


def test_the_limit_does_not_say_when_to_come_back(standin_with: Callable[..., Standin]) -> None:
    api = limited(standin_with, burst=0)

    response = api.log_in(new_email())

    assert response.status_code == 429
    assert "Retry-After" not in response.headers
    assert not [name for name in response.headers if "ratelimit" in name.lower()]


def test_an_unknown_grant_type_is_told_before_the_limit(standin_with: Callable[..., Standin]) -> None:
    api = limited(standin_with, burst=0)

    response = api.call("POST", "/auth/v1/token?grant_type=magic", {})

    assert response.status_code == 400
    assert response.json()["message"] == "unsupported_grant_type"


def test_every_request_is_noted(api: Api) -> None:
    api.log_in("Ada@example.com", "secret words")

    noted = api.server.requests[-1]
    assert (noted.method, noted.path, noted.query) == ("POST", "/auth/v1/token", "grant_type=password")
    assert noted.headers["apikey"] == api.server.publishable_key
    assert b"secret words" in noted.body
    assert "secret words" not in repr(noted)


def test_the_version_is_never_told_with_a_success(api: Api) -> None:
    assert "X-Supabase-Api-Version" not in api.call("GET", "/auth/v1/health").headers


def test_a_new_key_signs_and_the_old_one_still_verifies(new_standin: Callable[..., Standin]) -> None:
    api = Api(new_standin())
    email = new_email()
    api.server.create_user(email, PASSWORD)
    before = api.log_in(email).json()["access_token"]

    kid = api.server.rotate_keys()

    published = api.call("GET", "/auth/v1/.well-known/jwks.json").json()["keys"]
    assert published[0]["kid"] == kid
    assert len(published) == 2
    assert api.user(before).status_code == 200
    assert api.user(api.log_in(email).json()["access_token"]).status_code == 200


def test_a_revoked_key_takes_its_tokens_along(new_standin: Callable[..., Standin]) -> None:
    api = Api(new_standin())
    email = new_email()
    api.server.create_user(email, PASSWORD)
    before = api.log_in(email).json()["access_token"]

    api.server.rotate_keys(revoke_old=True)

    assert len(api.call("GET", "/auth/v1/.well-known/jwks.json").json()["keys"]) == 1
    assert api.user(before).json()["code"] == "bad_jwt"
