"""10,000 cookies that somebody changed, through both lanes: none is a session, and none is a defect of ours."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator

import pytest
import responses
from werkzeug.test import Client

from tests.conftest import SECRET_KEY, MakeClient
from tests.fixtures.hostile import APP
from tests.fixtures.tokens import document
from tests.http.test_cookie_sessions import ENVIRONMENT, KEY, NAME, OURS, PUBLIC, gives, log_in
from tests.upstream_double import PROJECT
from velro_auth.auth.sealing import Sealer, sealing_keys

SECOND = f"{NAME}_2"
#: In each lane.
COUNT = 5000
PATHS = (("GET", "/verify"), ("GET", "/verify"), ("GET", "/me"), ("POST", "/refresh"), ("GET", "/verify?on_fail=login"))

Pair = tuple[str, str]


@pytest.fixture
def supabase() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.get(f"{PROJECT}/auth/v1/.well-known/jwks.json", body=document([KEY]))
        yield mock


def pair_of(client: Client, supabase: responses.RequestsMock, letter: str) -> Pair:
    """Log in; return both cookies of a session of its own."""
    gives(supabase, refresh_token=f"refresh-{letter}", app_metadata={"much": letter * 2500})
    fields = log_in(client).headers.getlist("Set-Cookie")
    first, second = (field.partition(";")[0].partition("=")[2] for field in fields)
    return first, second


def flipped(value: str, chance: random.Random) -> str:
    """Change one bit of what is sealed."""
    raw = bytearray(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)))
    raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def sealed_elsewhere(client: Client) -> Iterator[str]:
    """Yield values that were sealed for something else, or by another key."""
    value = {"session": "0" * 32, "part": f"9999999999\nrefresh\n{KEY.token({})}"}
    binding = f"{NAME} 1/1"
    keys = sealing_keys((), secret=SECRET_KEY)
    for purpose in ("ticket", "oauth", "flow", "sessions", ""):
        yield Sealer(keys, purpose).seal(value, good_for_s=3600, bound_to=binding)
    for bound_to in ("", NAME, f"{NAME} 2/2", f"{SECOND} 1/1", f"{NAME} 1/2"):
        yield Sealer(keys, "session").seal(value, good_for_s=3600, bound_to=bound_to)
    yield Sealer(keys, "session").seal(value, good_for_s=-10, bound_to=binding)
    yield Sealer(keys, "session").seal({**value, "session": "1" * 32}, good_for_s=3600, bound_to=binding)
    yield Sealer([b"an old key, which is listed no more"], "session").seal(value, good_for_s=3600, bound_to=binding)
    begun = client.get(f"/api/v1/auth/authorize/github?redirect_to={APP}/welcome", base_url=PUBLIC)
    [flow] = [field for field in begun.headers.getlist("Set-Cookie") if "velro_flow" in field]
    yield flow.partition(";")[0].partition("=")[2]


def tampered(client: Client, good: Pair, other: Pair, chance: random.Random) -> Iterator[Pair]:
    """Yield pairs of cookies without end."""
    (first, second), (other_first, other_second) = good, other
    elsewhere = [*sealed_elsewhere(client)]
    garbage = ["", "=", "a", "AQ", "*", "\x7f", '"', "%00", "é", first * 2, "x" * 3000, "null", "{}"]
    while True:
        cut = chance.randrange(len(first) - 1)
        yield flipped(first, chance), second
        yield first, flipped(second, chance)
        yield first[:cut], second
        yield first, second[: cut % (len(second) - 1)]
        yield first[cut + 1 :], second
        yield second, first
        yield first, first
        yield first, other_second
        yield other_first, second
        yield first, ""
        yield "", second
        yield chance.choice(elsewhere), chance.choice(["", second])
        yield chance.choice(garbage), chance.choice(["", second])
        yield first, chance.choice([*garbage, *elsewhere])
        yield first + chance.choice("Aa0-_."), second


def test_no_changed_cookie_is_a_session_and_none_a_defect(
    make_client: MakeClient, supabase: responses.RequestsMock
) -> None:
    client = make_client(**ENVIRONMENT)
    first_pair, other_pair = (pair_of(client, supabase, letter) for letter in "ab")
    pairs, wrong = tampered(client, first_pair, other_pair, random.Random(15)), []  # noqa: S311
    good = "; ".join(f"{name}={value}" for name, value in zip((NAME, SECOND), first_pair, strict=True))
    bare = Client(client.application, use_cookies=False)
    headers = {**OURS, "Accept": "text/html"}
    assert bare.get("/api/v1/auth/verify", headers={**headers, "Cookie": good}, base_url=PUBLIC).status_code == 200

    for number in range(COUNT):
        first, second = next(pairs)
        sent = [f"{NAME}={first}"] * bool(first) + [f"{SECOND}={second}"] * bool(second)
        method, path = PATHS[number % len(PATHS)]
        cookie = "; ".join(sent).encode("utf-8").decode("latin-1")
        response = bare.open(
            f"/api/v1/auth{path}", method=method, headers={**headers, "Cookie": cookie}, base_url=PUBLIC
        )
        if response.status_code != (303 if "on_fail" in path else 401):
            wrong.append((response.status_code, path, first[:20], second[:20]))

    assert wrong == []
