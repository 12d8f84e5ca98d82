"""Every failure that Supabase Auth is known to answer, in both of its formats, through both lanes.

All of them are given to a login, also those that only other requests get: a login must cope with whatever
comes, and never with a 5xx that is not one of ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import pytest
from werkzeug.test import TestResponse

from tests.asserts import assert_problem
from tests.upstream_double import VECTORS, UpstreamDouble

CASES: Final[list[dict[str, Any]]] = json.loads((VECTORS / "supabase-auth-errors.json").read_text())
FORMATS: Final = ("2024-01-01", "legacy")

REFUSED: Final = (401, "invalid_credentials")
UNCONFIRMED: Final = (401, "email_not_confirmed")
CAPTCHA: Final = (400, "captcha_required")
INVALID: Final = (422, "invalid_request")
THROTTLED: Final = (429, "upstream_throttled")
TIMEOUT: Final = (503, "upstream_timeout")
FAILED: Final = (503, "upstream_error")
OURS: Final = (503, "upstream_misconfigured")

#: Case → what a login answers then. Cases that are not named here fail upstream and are ``FAILED``.
EXPECTED: Final[dict[str, tuple[int, str]]] = {
    **dict.fromkeys(
        [
            "login_wrong_password",
            "login_unknown_user",
            "login_user_without_password",
            "login_missing_password",
            "login_rejected_by_password_hook",
            "login_user_banned",
            "token_missing_or_unknown_grant_type",
            "access_token_hook_returned_error_403",
            "refresh_user_banned",
            "user_gone",
            "banned_with_live_access_token",
            "admin_user_not_found",
        ],
        REFUSED,
    ),
    **dict.fromkeys(["login_email_not_confirmed", "login_phone_not_confirmed"], UNCONFIRMED),
    **dict.fromkeys(["login_captcha_missing", "login_captcha_rejected"], CAPTCHA),
    **dict.fromkeys(
        [
            "login_missing_email_and_phone",
            "login_email_and_phone_together",
            "signup_missing_password",
            "signup_password_over_72_bytes",
            "refresh_malformed",
            "logout_bad_scope",
        ],
        INVALID,
    ),
    **dict.fromkeys(["token_rate_limited", "email_frequency_limit"], THROTTLED),
    "request_timeout": TIMEOUT,
    **dict.fromkeys(
        [
            "login_email_provider_disabled",
            "login_phone_provider_disabled",
            "no_bearer",
            "insufficient_aal",
            "not_admin",
            "refresh_of_oauth_client_session",
            "unknown_route",
            "method_not_allowed",
        ],
        OURS,
    ),
}


def test_there_are_67_cases_and_each_named_one_is_among_them() -> None:
    cases = {vector["case"] for vector in CASES}

    assert len(cases) == 67
    assert EXPECTED.keys() <= cases


@pytest.mark.parametrize("version", FORMATS)
@pytest.mark.parametrize("vector", CASES, ids=[vector["case"] for vector in CASES])
def test_a_failure_of_supabase_means_the_same_in_both_formats(
    login: Callable[..., TestResponse], upstream: UpstreamDouble, vector: dict[str, Any], version: str
) -> None:
    legacy = version == "legacy"
    upstream.answers(
        vector["body_legacy" if legacy else "body_2024_01_01"],
        status=vector.get("status_legacy", vector["status"]) if legacy else vector["status"],
        headers=vector["headers"][version],
    )

    response = login()

    body = assert_problem(response, *EXPECTED.get(vector["case"], FAILED))
    assert "Supabase" not in json.dumps(body)
    for text in texts(vector):
        assert text not in response.get_data(as_text=True)


def texts(vector: dict[str, Any]) -> list[str]:
    """Return what only the upstream answer says, which no client may read."""
    body = vector["body_2024_01_01"]
    return [body["message"]] if isinstance(body, dict) and body.get("message") else []
