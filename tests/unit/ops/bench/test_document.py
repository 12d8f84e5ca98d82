"""The file a run leaves, and the page made of it."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import jsonschema_rs
import pytest

from tests.unit.ops.bench.samples import logins, run_of, sample
from tests.unit.ops.plotted import plots_of, without_script
from velro_auth.ops.bench import document as files
from velro_auth.ops.bench import report
from velro_auth.ops.bench.document import Document
from velro_auth.ops.bench.openloop import Answer, Sample
from velro_auth.ops.verdict import NotMeasured

PAGE = Path(__file__).parents[4] / "docs/reference/benchmark-file.md"

MIXED = [
    *logins(10, 20, 35),
    sample("wrong_password", answer=Answer(401, code="invalid_credentials")),
    sample("unknown_user", 401),
    sample(answer=Answer(None, failure="timeout"), took_ms=10_000),
    sample(answer=Answer(429, code="too_many_attempts")),
]


def validator() -> jsonschema_rs.Draft202012Validator:
    [schema] = re.findall(r"```json\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return jsonschema_rs.Draft202012Validator(json.loads(schema))


@pytest.mark.parametrize("samples", [MIXED, [], [sample(status=503)]], ids=["mixed", "none", "failed"])
def test_every_run_fits_the_documented_schema(samples: list[Sample]) -> None:
    contents = json.loads(json.dumps(run_of(samples)))

    assert list(validator().iter_errors(contents)) == []


@pytest.mark.parametrize("path", [("machine", "host"), ("levels", 0, "more")])
def test_the_schema_notices_what_is_not_documented(path: tuple[str | int, ...]) -> None:
    contents = run_of(MIXED)
    place = contents
    for name in path[:-1]:
        place = place[name]  # type: ignore[index] # a list has numbers
    place[path[-1]] = 1  # type: ignore[index]

    assert not validator().is_valid(contents)


def test_a_file_is_named_after_its_time_and_read_back_as_written(tmp_path: Path) -> None:
    contents = run_of(MIXED)

    path = files.write(contents, tmp_path, dt.datetime(2026, 8, 1, 12, 4, 26, tzinfo=dt.UTC))

    assert path.name == "auth_benchmark_20260801_120426.json"
    assert files.read(path) == json.loads(json.dumps(contents))


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 0}', "{}", "\xff"])
def test_what_is_no_such_file_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(text, "latin-1")

    with pytest.raises(NotMeasured, match=r"old\.json"):
        files.read(path)


def test_the_commit_is_told_where_there_is_one(tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-C", str(tmp_path)]
    assert files.commit(tmp_path) is None

    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)

    assert re.fullmatch(r"[0-9a-f]{40}", files.commit(tmp_path) or "")


class Page(HTMLParser):
    """Gathers what a page is made of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.feed(page)

    def is_self_contained(self, page: str) -> bool:
        """Tell whether nothing is loaded, and nothing but the one script that comes with the page runs."""
        page = without_script(page)
        return (
            self.tags.count("script") == 1 + len(plots_of(page))
            and not {"link", "img", "iframe", "object", "use"} & set(self.tags)
            and not {"src", "href", "srcset", "xlink:href"} & {name for name, _ in self.attributes}
            and "url(" not in page
            and "@import" not in page
        )

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("samples", [MIXED, [], [sample(status=503)]], ids=["mixed", "none", "failed"])
def test_the_report_loads_nothing(samples: list[Sample]) -> None:
    html = report.html(run_of(samples))

    page = Page(html)
    assert page.open == []
    assert page.is_self_contained(html)
    assert re.findall(r"https?://[^\s<,]+", without_script(html)) == ["http://127.0.0.1:8000"]


def test_only_the_script_and_the_style_of_the_page_are_allowed_by_its_policy() -> None:
    html = report.html(run_of(MIXED))

    [policy] = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', html)
    hashes = [
        "'sha256-" + base64.b64encode(hashlib.sha256(element.encode()).digest()).decode() + "'"
        for element in re.findall(r"<(?:style|script)>(.*?)</(?:style|script)>", html, re.DOTALL)
    ]
    assert policy.startswith("default-src 'none'; ")
    assert sorted(re.findall(r"'sha256-[^']+'", policy)) == sorted(hashes)
    assert "unsafe" not in policy


def test_the_report_plots_every_request() -> None:
    contents = run_of(MIXED)

    distribution, scatter, bars = plots_of(report.html(contents))

    assert [one["label"] for one in distribution["series"]] == ["5 a second"]
    assert distribution["data"][1][-1] == 100
    assert [one["label"] for one in scatter["series"]] == ["good", "wrong password", "unknown user", "throttled"]
    assert len(scatter["data"][0]) == len(MIXED)
    assert [sum(value is not None for value in column) for column in scatter["data"][1:]] == [4, 1, 1, 1]
    counted = contents["levels"][0]["classes"]["good"]["histogram"]
    assert [count for count in bars["data"][1] if count] == [bucket["count"] for bucket in counted]


def test_the_report_says_what_the_file_says() -> None:
    html = report.html(run_of(MIXED))

    assert '<span class="critical">critical</span>' in html
    assert "success rate 75.00 %" in html
    assert "429 too_many_attempts: 1" in html


def test_the_report_escapes_what_strangers_said() -> None:
    contents: Document = run_of(logins(1), url="http://127.0.0.1/<script>alert(1)</script>")

    assert "<script>" not in without_script(report.html(contents))
