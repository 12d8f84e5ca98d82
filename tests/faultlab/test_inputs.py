"""The generated inputs: a few of each part for real, and that no part can pass while its parser is broken."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner

from tests.faultlab.inputs import __main__ as command
from tests.faultlab.inputs.__main__ import PARTS
from tests.faultlab.inputs.answers import Answers
from tests.faultlab.inputs.heads import Requests, framed
from tests.faultlab.inputs.part import Part, Wrong
from tests.faultlab.inputs.proofs import SealedValues, Solutions, Tokens
from tests.faultlab.inputs.routes import Routes
from tests.faultlab.inputs.run import Row, is_good, line_of, run_part, share_of
from tests.faultlab.inputs.values import AddressesPart, RedirectsPart, SettingsPart
from tests.faultlab.page import page
from velro_auth.auth.keys import Key
from velro_auth.auth.sealing import Sealer
from velro_auth.config import rules_file
from velro_auth.endpoints.sessions import LoginEndpoint
from velro_auth.guards.challenges import MemorySpent
from velro_auth.server.request_parser import RequestParser
from velro_auth.upstream import identity
from velro_auth.web import middleware, redirects
from velro_auth.web.client_address import Addresses

COUNT = 3_000

Patch = pytest.MonkeyPatch


def kinds(row: Row) -> str:
    return "\n".join([failure["kind"] for failure in row["failures"]] + row["lacks"])


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_no_input_goes_wrong(part: type[Part]) -> None:
    row = run_part(part, share_of(part, COUNT), 1)

    assert is_good(row), (row["failures"], row["lacks"])
    assert sum(row["verdicts"].values()) == row["inputs"] >= 1000


def any_coding(patch: Patch) -> None:
    patch.setattr(RequestParser, "_check_coding", lambda *_: None)


def failing_login(patch: Patch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    patch.setattr(LoginEndpoint, "__call__", fail)


def logged_header(patch: Patch) -> None:
    patch.setattr(middleware, "_user_agent", lambda environ: environ.get("HTTP_AUTHORIZATION", ""))


def any_signature(patch: Patch) -> None:
    patch.setattr(Key, "signed", lambda *_: True)


def no_end(patch: Patch) -> None:
    real = Sealer.open_until

    def open_until(self: Sealer, text: str, *, bound_to: str = "") -> Any:
        self._now = lambda: 0.0
        return real(self, text, bound_to=bound_to)

    patch.setattr(Sealer, "open_until", open_until)


def spent_again(patch: Patch) -> None:
    patch.setattr(MemorySpent, "spend", lambda *_: True)


def any_user(patch: Patch) -> None:
    patch.setattr(identity, "demand", lambda **_: None)


def raising_check(patch: Patch) -> None:
    def fail(path: str) -> str:
        return path[4000]

    patch.setattr(rules_file, "check_path", fail)


def any_peer(patch: Patch) -> None:
    patch.setattr(Addresses, "_trusts", lambda *_: True)


def any_path(patch: Patch) -> None:
    patch.setattr(redirects, "_is_clean", lambda _: True)


@pytest.mark.parametrize(
    ("part", "breaks", "kind"),
    [
        (Requests, any_coding, "accepted, and RFC 9112 allows no or several readings"),
        (Routes, failing_login, "500 internal_error: POST /api/v1/auth/login"),
        (Routes, logged_header, "a secret is logged (eyJhbGci)"),
        (Routes, any_signature, "accepted without a session"),
        (Tokens, any_signature, "a bad token is accepted"),
        (SealedValues, no_end, "flow: a bad value is accepted"),
        (Solutions, spent_again, "a solution is accepted twice"),
        (Answers, any_user, "the answer about another user is taken: login"),
        (SettingsPart, raising_check, "IndexError in rules_file.py, _advice"),
        (AddressesPart, any_peer, "the word of a peer that is not trusted counts"),
        (RedirectsPart, any_path, "an address beyond the list is allowed"),
    ],
)
def test_a_broken_parser_is_noticed(
    part: type[Part], breaks: Callable[[Patch], None], kind: str, monkeypatch: Patch
) -> None:
    breaks(monkeypatch)

    row = run_part(part, share_of(part, COUNT), 1)

    assert kind in kinds(row)
    assert not is_good(row)
    assert all(failure["input"] and failure["at"] >= 0 for failure in row["failures"])


class Words:
    """A parser."""

    @staticmethod
    def read(text: str) -> str:
        return text


class Reading(Part):
    """A part as it should be."""

    name = "reading"
    share = 1
    parsers: ClassVar[Sequence[tuple[Any, str]]] = ((Words, "read"),)
    wanted = frozenset({"a", "b"})

    def make(self, chance: random.Random) -> str:
        return chance.choice("ab")

    def judge(self, given: str) -> str:
        return Words.read(given)


class NeverReading(Reading):
    """The parser is not reached."""

    def judge(self, given: str) -> str:
        return given


class RarelyReading(Reading):
    """Some inputs do not reach it."""

    def judge(self, given: str) -> str:
        return given if given == "a" else Words.read(given)


class Refusing(Reading):
    """All are answered alike."""

    def judge(self, given: str) -> str:
        return Words.read("a")


class WithoutParser(Reading):
    """Nothing is claimed."""

    parsers = ()


class Accepting(Reading):
    """One is accepted that must not be."""

    name = "accepting"

    def judge(self, given: str) -> str:
        if given == "b":
            raise Wrong("b is accepted")
        return Words.read(given)


@pytest.mark.parametrize(
    ("part", "told"),
    [
        (Reading, ""),
        (NeverReading, "read was reached by 0 of 50"),
        (RarelyReading, "read was reached by "),
        (Refusing, "no input was 'b'"),
        (WithoutParser, "names no parser, or no verdict"),
        (Accepting, "b is accepted"),
    ],
)
def test_no_part_passes_by_accident(part: type[Part], told: str) -> None:
    row = run_part(part, 50, 1)

    assert kinds(row).startswith(told)
    assert is_good(row) == (not told)
    assert ("FAILED" in line_of(row)) == bool(told)


def test_one_input_can_be_tried_again() -> None:
    (failure,) = run_part(Accepting, 50, 7)["failures"]

    again = run_part(Accepting, 1, 7, at=failure["at"])

    assert (failure["at"], failure["input"]) == (7, "'b'")
    assert [(each["at"], each["input"]) for each in again["failures"]] == [(7, "'b'")]


def test_the_seed_makes_the_inputs() -> None:
    def made(seed: int) -> list[Any]:
        part = Requests()
        return [part.make(random.Random(f"{seed} {number}")) for number in range(50)]  # noqa: S311

    assert made(1) == made(1) != made(2)


def test_a_million_are_a_million() -> None:
    assert sum(part.share for part in PARTS) == 1000
    assert sum(share_of(part, 1_000_000) for part in PARTS) == 1_000_000
    assert share_of(Routes, 1_000_000) >= 100_000
    assert share_of(Solutions, 1) == 1000


@pytest.mark.parametrize(
    ("data", "read"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest", (27, 27, b"")),
        (b"\r\nPOST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nabc", (40, 42, b"ab")),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n0\r\nA: b\r\n\r\nX", (46, 68, b"ab")),
        (b"GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n", None),
        (b"GET / HTTP/1.1\r\nA : b\r\n\r\n", None),
        (b"GET / HTTP/1.1\r\n A: b\r\n\r\n", None),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", None),
        (b"GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\na", None),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", None),
        (b"GET / HTTP/2.0\r\n\r\n", None),
        (b"GET / HTTP/1.1\r\n", None),
    ],
)
def test_the_rule_that_requests_are_compared_with(data: bytes, read: tuple[int, int, bytes] | None) -> None:
    assert framed(data) == read


def ask(*options: str) -> Any:
    return CliRunner().invoke(command.main, options, catch_exceptions=False)


def test_the_command_tells_what_went_wrong(monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.setattr(command, "PARTS", (Reading, Accepting))
    file = tmp_path / "inputs.json"

    good, bad = ask("--only", "reading"), ask("--count", "1", "--seed", "3", "--json", str(file))

    assert good.exit_code == 0
    assert good.output.startswith("reading                passed      1,000 inputs")
    assert bad.exit_code == 1
    assert "--seed 3 --only 'accepting' --at " in bad.output
    told = json.loads(file.read_text("utf-8"))
    assert [(row["part"], row["inputs"], is_good(row)) for row in told["parts"]] == [
        ("reading", 1000, True),
        ("accepting", 1000, False),
    ]
    assert told["seed"] == 3


@pytest.mark.parametrize("options", [("--only", "nothing"), ("--at", "3")])
def test_a_part_that_is_not_there_is_refused(options: tuple[str, ...]) -> None:
    assert ask(*options).exit_code == 2


def test_the_page_has_the_numbers_of_a_run() -> None:
    row = {"part": "routes", "inputs": 1200, "took_s": 3.2, "failures": [{"count": 2}], "lacks": []}
    rows = [{**row, "verdicts": {str(status): 100 for status in range(200, 209)}}]
    told = {"at": "2026-11-27T19:00:00+00:00", "machine": "2 cores", "seed": 5, "took_s": 300, "parts": rows}

    text = page([], [], [], told)

    assert "2026-11-27, 2 cores: 1,200 inputs with `--seed 5` in 300 s, of which 2 went wrong." in text
    assert "| routes | 1,200 | 200: 100, 201: 100, 202: 100, 203: 100, 204: 100, 205: 100, 3 other kinds | 3 |" in text
    assert "No run is recorded.\n\n## How to read it" in page([], [], [])
