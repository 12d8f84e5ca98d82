"""What a 429 of Supabase does to the quota, where callers' addresses are passed on and where they are not."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from werkzeug.test import Client

from supabase_standin import RateLimit, Standin
from tests.asserts import assert_problem
from tests.fixtures.standin import new_email

LOGIN = "/api/v1/auth/login"
TOKEN = "/auth/v1/token"
BURST = 4

_NUMBERS = itertools.count()

Give = Callable[..., Standin]


def log_in(client: Client, caller: int) -> tuple[int, str]:
    answer = client.post(
        LOGIN,
        json={"email": new_email(), "password": "a password"},
        headers={"X-Real-IP": f"203.0.113.{caller}"},
        environ_overrides={"REMOTE_ADDR": "127.0.0.1"},
    )
    if answer.status_code == 429:
        assert_problem(answer, 429, "upstream_throttled")
    return answer.status_code, answer.headers.get("Retry-After", "")


def limited(standin_with: Give, **options: bool) -> Standin:
    # Another number each time: a stand-in of its own, whose buckets are full.
    return standin_with(rate_limit=RateLimit(burst=BURST, per_s=0.001 + next(_NUMBERS) / 1e6), **options)


def test_a_429_of_supabase_empties_the_quota(standin_with: Give, gateway_to: Callable[..., Client]) -> None:
    """Somebody else uses the same address: Supabase's bucket is emptier than ours."""
    standin = limited(standin_with)
    client = gateway_to(standin, AUTH_FORWARD_CLIENT_IP="off")
    while log_in(client, 1)[0] == 401:
        pass
    standin.requests.clear()

    assert log_in(client, 2) == (429, "14")
    assert len(standin.requests.of(TOKEN)) == 0


def test_addresses_that_are_passed_on_in_vain_turn_the_quota_on(
    standin_with: Give, gateway_to: Callable[..., Client]
) -> None:
    standin = limited(standin_with, forwarded_for=False)
    client = gateway_to(standin)

    statuses = [log_in(client, caller)[0] for caller in range(BURST + 1)]
    standin.requests.clear()

    assert statuses == [401] * BURST + [429]
    assert log_in(client, 99) == (429, "14")
    assert len(standin.requests.of(TOKEN)) == 0


def test_one_caller_who_used_up_his_calls_does_not_turn_it_on(
    standin_with: Give, gateway_to: Callable[..., Client]
) -> None:
    client = gateway_to(limited(standin_with))

    assert [log_in(client, 1)[0] for _ in range(BURST + 2)] == [401] * BURST + [429] * 2
    assert [log_in(client, caller)[0] for caller in range(2, 12)] == [401] * 10
