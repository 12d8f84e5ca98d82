"""Small parts of the stand-in: the limiter, the keys, times, durations, passwords."""

from __future__ import annotations

import stat
from pathlib import Path

import bcrypt
import jwt
import pytest

from supabase_standin import RateLimit, timestamps
from supabase_standin.admin import duration_s
from supabase_standin.config import LOCAL_PUBLISHABLE_KEY, LOCAL_SECRET_KEY, StandinConfig
from supabase_standin.errors import Failure, is_new
from supabase_standin.keys import Keys
from supabase_standin.limiter import Limiter
from supabase_standin.passwords import Passwords


class Clock:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_bucket_fills_up_again_with_time(clock: Clock) -> None:
    """The platform's numbers: 30 at once, then one every two seconds."""
    limiter = Limiter(RateLimit(), clock=clock)
    assert [limiter.allows("a") for _ in range(31)] == [True] * 30 + [False]

    clock.now += 2

    assert [limiter.allows("a") for _ in range(2)] == [True, False]


def test_a_bucket_never_holds_more_than_its_burst(clock: Clock) -> None:
    limiter = Limiter(RateLimit(burst=2), clock=clock)
    limiter.allows("a")

    clock.now += 3600

    assert [limiter.allows("a") for _ in range(3)] == [True, True, False]


def test_every_caller_has_a_bucket(clock: Clock) -> None:
    limiter = Limiter(RateLimit(burst=1), clock=clock)

    assert [limiter.allows(key) for key in ("a", "b", "a")] == [True, True, False]


def test_without_a_limit_everything_passes(clock: Clock) -> None:
    limiter = Limiter(None, clock=clock)

    assert all(limiter.allows("a") for _ in range(1000))


def test_keys_outlive_the_process(tmp_path: Path, clock: Clock) -> None:
    token = Keys(tmp_path / "keys.json", clock=clock).sign({"sub": "ada"})

    assert Keys(tmp_path / "keys.json", clock=clock).verify(token) == {"sub": "ada"}


def test_nobody_else_reads_the_keys(tmp_path: Path) -> None:
    Keys(tmp_path / "keys.json")

    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600


def test_published_keys_are_public_halves_only(tmp_path: Path) -> None:
    (key,) = Keys(tmp_path / "keys.json").jwks()["keys"]

    assert "d" not in key
    assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("EC", "P-256", "ES256", "sig")
    assert key["key_ops"] == ["verify"]


def test_a_token_expires_to_the_second(tmp_path: Path, clock: Clock) -> None:
    keys = Keys(tmp_path / "keys.json", clock=clock)
    token = keys.sign({"exp": int(clock.now) + 60})

    clock.now += 59.9
    keys.verify(token)

    clock.now += 0.1
    with pytest.raises(jwt.ExpiredSignatureError):
        keys.verify(token)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00Z"),
        (1.5, "1970-01-01T00:00:01.5Z"),
        (1795169730.125, "2026-11-20T10:15:30.125Z"),
    ],
)
def test_times_have_as_many_digits_as_they_need(seconds: float, text: str) -> None:
    assert timestamps.precise_text(seconds) == text
    assert timestamps.text(timestamps.moment(seconds)) == text


@pytest.mark.parametrize(("text", "seconds"), [("1h30m", 5400), ("90s", 90), ("1.5h", 5400), ("250ms", 0.25)])
def test_durations_are_read_as_in_the_original(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "1d", "1h 30m", "none"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(Failure, match="invalid format for ban duration"):
        duration_s(text)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("2024-01-01", True),
        ("2025-06-30", True),
        ("2023-12-31", False),
        ("latest", False),
        ("", False),
        (None, False),
    ],
)
def test_the_newer_shape_of_errors_is_asked_for_by_date(version: str | None, expected: bool) -> None:
    assert is_new(version) is expected


@pytest.mark.parametrize("password", ["", "a\0b", "\ud800", "ü" * 50])
def test_any_text_can_be_a_wrong_password(password: str) -> None:
    stored = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()

    assert Passwords(cost=4, min_length=6).matches(password, stored) is False


def test_hashes_have_the_cost_that_was_set() -> None:
    assert Passwords(cost=5, min_length=6).hash("right").startswith("$2b$05$")


def test_the_local_keys_look_like_real_ones_and_say_local() -> None:
    assert LOCAL_PUBLISHABLE_KEY.startswith("sb_publishable_local")
    assert LOCAL_SECRET_KEY.startswith("sb_secret_local")
    assert min(len(LOCAL_PUBLISHABLE_KEY), len(LOCAL_SECRET_KEY)) >= 41


def test_secrets_do_not_show_in_the_configuration(tmp_path: Path) -> None:
    shown = repr(StandinConfig(data_dir=tmp_path, secret_key="very secret", database_dsn="with password"))

    assert "very secret" not in shown
    assert "with password" not in shown
