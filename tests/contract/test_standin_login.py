"""The password grant, check by check in the order the contract lists them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from supabase_standin import Standin
from tests.fixtures.standin import PASSWORD, Api, new_email


@pytest.fixture
def api(standin: Standin) -> Api:
    return Api(standin)


@pytest.fixture
def email(standin: Standin) -> str:
    address = new_email()
    standin.create_user(address, PASSWORD)
    return address


def claims(token: str) -> dict[str, Any]:
    said: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return said


def token_call(api: Api, body: dict[str, Any], **more: Any) -> Any:
    return api.call("POST", "/auth/v1/token?grant_type=password", body, **more)


def test_a_right_password_gives_a_session(api: Api, email: str) -> None:
    response = api.log_in(email)

    body = response.json()
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert "Cache-Control" not in response.headers
    assert list(body) == [
        "access_token",
        "token_type",
        "expires_in",
        "expires_at",
        "refresh_token",
        "user",
        "weak_password",
    ]
    assert body["token_type"] == "bearer"
    assert body["expires_in"] == 3600
    assert body["weak_password"] is None
    assert re.fullmatch(r"[a-z0-9]{12}", body["refresh_token"])
    assert body["user"]["email"] == email


def test_the_answer_names_user_session_and_token_in_headers(api: Api, email: str) -> None:
    """Gateways have to strip them."""
    response = api.log_in(email)

    body = response.json()
    assert response.headers["sb-auth-user-id"] == body["user"]["id"]
    assert response.headers["sb-auth-session-id"] == claims(body["access_token"])["session_id"]
    assert response.headers["sb-auth-refresh-token-prefix"] == body["refresh_token"][:5]


def test_the_access_token_carries_every_claim(api: Api, email: str) -> None:
    body = api.log_in(email).json()

    said = claims(body["access_token"])
    assert set(said) == {
        "iss", "sub", "aud", "exp", "iat", "email", "phone", "app_metadata", "user_metadata",
        "role", "aal", "amr", "session_id", "is_anonymous",
    }  # fmt: skip
    assert said["iss"] == f"{api.server.url}/auth/v1"
    assert said["sub"] == body["user"]["id"]
    assert said["aud"] == said["role"] == "authenticated"
    assert said["exp"] - said["iat"] == 3600
    assert said["exp"] == body["expires_at"]
    assert said["aal"] == "aal1"
    assert said["amr"] == [{"method": "password", "timestamp": said["amr"][0]["timestamp"]}]
    assert abs(said["amr"][0]["timestamp"] - said["iat"]) <= 1
    assert said["is_anonymous"] is False


def test_the_token_verifies_with_the_published_keys(api: Api, email: str) -> None:
    token = api.log_in(email).json()["access_token"]
    document = api.call("GET", "/auth/v1/.well-known/jwks.json", key="")

    header = jwt.get_unverified_header(token)
    key = next(key for key in jwt.PyJWKSet.from_dict(document.json()).keys if key.key_id == header["kid"])
    said = jwt.decode(token, key, algorithms=["ES256"], audience="authenticated")
    assert header["alg"] == "ES256"
    assert header["typ"] == "JWT"
    assert said["email"] == email
    assert document.headers["Cache-Control"] == "public, max-age=600"


def test_the_user_is_shown_as_in_the_recorded_answer(api: Api, email: str) -> None:
    """Keys as in the vector, those apart which depend on the account's history."""
    user = api.log_in(email).json()["user"]

    assert list(user) == [
        "id", "aud", "role", "email", "phone", "email_confirmed_at", "confirmed_at", "last_sign_in_at",
        "app_metadata", "user_metadata", "identities", "created_at", "updated_at", "is_anonymous",
    ]  # fmt: skip
    assert user["phone"] == ""
    assert user["app_metadata"] == {"provider": "email", "providers": ["email"]}
    assert user["user_metadata"] == {
        "sub": user["id"],
        "email": email,
        "email_verified": True,
        "phone_verified": False,
    }
    assert set(user["identities"][0]) == {
        "identity_id", "id", "user_id", "identity_data", "provider", "last_sign_in_at", "created_at",
        "updated_at", "email",
    }  # fmt: skip


def test_times_are_written_without_trailing_zeros(api: Api, email: str) -> None:
    user = api.log_in(email).json()["user"]

    for name in ("created_at", "updated_at", "last_sign_in_at", "email_confirmed_at"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z", user[name])


@pytest.mark.parametrize("spelling", [str.upper, str.title])
def test_the_address_is_compared_without_case(api: Api, email: str, spelling: Callable[[str], str]) -> None:
    assert api.log_in(spelling(email)).status_code == 200


def test_the_address_is_not_trimmed(api: Api, email: str) -> None:
    assert api.log_in(f" {email}").json()["code"] == "invalid_credentials"


def test_keys_match_in_any_case_and_strange_ones_are_ignored(api: Api, email: str) -> None:
    response = token_call(api, {"Email": email, "PASSWORD": PASSWORD, "remember": [1]})

    assert response.status_code == 200


def test_only_the_first_72_bytes_of_a_password_count(standin: Standin, api: Api) -> None:
    """bcrypt sees no more, and the login does not refuse longer ones."""
    email = new_email()
    standin.create_user(email, "x" * 72)

    assert api.log_in(email, "x" * 100).status_code == 200


def test_a_wrong_password_and_an_unknown_user_get_the_same_answer(api: Api, email: str) -> None:
    wrong, unknown = api.log_in(email, "wrong"), api.log_in(new_email(), "wrong")

    assert wrong.status_code == unknown.status_code == 400
    assert wrong.json() == unknown.json()


def test_an_unknown_user_costs_no_hash(standin_with: Callable[..., Standin]) -> None:
    """So timing tells who has an account; a gateway in front has to hide it."""
    slow = Api(standin_with(bcrypt_cost=12))
    email = new_email()
    slow.server.create_user(email, PASSWORD)

    known, unknown = (min(slow.log_in(address, "wrong").elapsed for _ in range(3)) for address in (email, new_email()))

    assert known > 2 * unknown


def test_a_banned_user_is_told_so_before_the_password_is_looked_at(standin: Standin, api: Api) -> None:
    email = new_email()
    standin.create_user(email, PASSWORD, banned=True)

    assert api.log_in(email, "wrong").json()["code"] == "user_banned"


def test_an_unconfirmed_address_is_told_with_the_right_password_only(standin: Standin, api: Api) -> None:
    email = new_email()
    standin.create_user(email, PASSWORD, confirmed=False)

    assert api.log_in(email, "wrong").json()["code"] == "invalid_credentials"
    assert api.log_in(email).json()["code"] == "email_not_confirmed"


def test_a_malformed_hash_is_an_internal_error(standin: Standin, api: Api) -> None:
    email = new_email()
    user_id = standin.create_user(email, PASSWORD)
    api.sql("update auth.users set encrypted_password = 'plain' where id = %s", user_id)

    response = api.log_in(email)

    assert response.status_code == 500
    assert response.json()["code"] == "unexpected_failure"


@pytest.mark.parametrize("address", ["a\0b@example.com", "\0"])
def test_a_nul_in_the_address_reaches_the_database(api: Api, address: str) -> None:
    """A gateway that forwards it unchecked lets strangers trip its circuit breaker."""
    response = api.log_in(address)

    assert response.status_code == 500
    assert response.json() == {"code": "unexpected_failure", "message": "Database error querying schema"}


@pytest.mark.parametrize("column", ["confirmation_token", "email_change", "created_at"])
def test_a_row_with_a_null_where_none_is_expected_is_unreadable(
    new_standin: Callable[..., Standin], column: str
) -> None:
    """The classic of users inserted by hand."""
    api, email = Api(new_standin()), new_email()
    user_id = api.server.create_user(email, PASSWORD)
    api.sql(f"update auth.users set {column} = null where id = %s", user_id)  # noqa: S608 - our own words

    assert api.log_in(email).json()["message"] == "Database error querying schema"


def test_users_without_an_instance_are_invisible(standin: Standin, api: Api) -> None:
    email = new_email()
    user_id = standin.create_user(email, PASSWORD)
    api.sql("update auth.users set instance_id = null where id = %s", user_id)

    assert api.log_in(email).json()["code"] == "invalid_credentials"


def test_another_audience_has_other_users(api: Api, email: str) -> None:
    """Which is why a gateway never passes this header on."""
    body = {"email": email, "password": PASSWORD}

    assert token_call(api, body, headers={"X-JWT-AUD": "others"}).json()["code"] == "invalid_credentials"


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        (b"", "unexpected end of JSON input"),
        (b"{", "unexpected end of JSON input"),
        (b"email=a&password=b", "invalid character 'e' looking for beginning of value"),
        (b"[]", "json: cannot unmarshal array into Go value"),
        (b'{"email": 1}', "json: cannot unmarshal number into Go struct field"),
        (b'{"password": {}}', "json: cannot unmarshal object into Go struct field"),
    ],
)
def test_a_body_that_is_no_fitting_object_is_bad_json(api: Api, raw: bytes, detail: str) -> None:
    response = api.call("POST", "/auth/v1/token?grant_type=password", data=raw)

    assert response.status_code == 400
    assert response.json()["code"] == "bad_json"
    assert detail in response.json()["message"]


def test_a_body_of_more_than_a_megabyte_is_refused(api: Api) -> None:
    response = api.call("POST", "/auth/v1/token?grant_type=password", data=b" " * (1024 * 1024 + 1))

    assert response.status_code == 413


def test_a_login_leaves_its_traces(standin: Standin, api: Api, email: str) -> None:
    api.call(
        "POST",
        "/auth/v1/token?grant_type=password",
        {"email": email, "password": PASSWORD},
        key=standin.secret_key,
        headers={"Sb-Forwarded-For": "203.0.113.7", "User-Agent": "gateway/1"},
    )

    rows = api.sql(
        "select s.user_agent, host(s.ip), s.aal::text, t.revoked, t.parent, m.authentication_method,"
        " u.last_sign_in_at is not null, (select payload ->> 'action' from auth.audit_log_entries"
        " where payload ->> 'actor_id' = u.id::text)"
        " from auth.users u join auth.sessions s on s.user_id = u.id"
        " join auth.refresh_tokens t on t.session_id = s.id"
        " join auth.mfa_amr_claims m on m.session_id = s.id where u.email = %s",
        email,
    )
    assert rows == [("gateway/1", "203.0.113.7", "aal1", False, None, "password", True, "login")]


def test_a_user_with_a_second_factor_gets_a_session_too(standin: Standin, api: Api) -> None:
    """Demanding the factor is the caller's job; only ``user.factors`` tells of it."""
    email = new_email()
    user_id = standin.create_user(email, PASSWORD)
    api.sql(
        "insert into auth.mfa_factors (id, user_id, factor_type, status, created_at, updated_at)"
        " values (gen_random_uuid(), %s, 'totp', 'verified', now(), now())",
        user_id,
    )

    body = api.log_in(email).json()

    assert claims(body["access_token"])["aal"] == "aal1"
    assert [factor["factor_type"] for factor in body["user"]["factors"]] == ["totp"]


def test_a_failing_trigger_on_users_breaks_the_login(new_standin: Callable[..., Standin]) -> None:
    """Every login updates ``auth.users``; nothing of it stays when a trigger objects."""
    api = Api(new_standin())
    email = new_email()
    api.server.create_user(email, PASSWORD)
    api.sql("create function public.no() returns trigger language plpgsql as $$begin raise 'no'; end$$")
    api.sql("create trigger no after update on auth.users for each row execute function public.no()")

    new, old = api.log_in(email), Api(api.server, version=None).log_in(email)

    assert new.status_code == old.status_code == 500
    assert new.json() == {"code": "unexpected_failure", "message": "Database error granting user"}
    assert old.json() == {"code": "P0001", "message": "no"}
    assert api.sql("select count(*) from auth.sessions") == [(0,)]
    assert api.sql("select count(*) from auth.refresh_tokens") == [(0,)]
    assert api.sql("select count(*) from auth.audit_log_entries") == [(0,)]
