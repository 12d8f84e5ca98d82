"""The report as JSON and as a page, and the file it is made from."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tests.unit.ops.bench.test_document import Page
from tests.unit.ops.monitor.records import BEGAN_S, aggregate_of, alert, end, observed, run
from tests.unit.ops.plotted import plots_of, without_script
from velro_auth.ops.monitor import document as documents
from velro_auth.ops.monitor import report
from velro_auth.ops.monitor.aggregate import Aggregate
from velro_auth.ops.monitor.document import Document
from velro_auth.ops.monitor.observation import Observation
from velro_auth.ops.verdict import NotMeasured

PAGE = Path(__file__).parents[4] / "docs/reference/observation-file.md"

NIGHT: list[Observation | dict[str, Any]] = [
    *(observed(second) for second in range(60)),
    *(observed(second, target="login", took_ms=120) for second in range(0, 60, 10)),
    observed(3, 429, target="login"),
    observed(4, target="version", note="1 a"),
    observed(60, failure="timeout", took_ms=5000),
    observed(61, failure="connection"),
    alert(62, "critical"),
    observed(63, 401, target="login", code="invalid_credentials"),
    observed(64, target="version", note="2 b"),
    run(600),
    *(observed(second) for second in range(600, 660)),
    observed(660, failure="unsent"),
    end(661),
]


def night() -> Document:
    return documents.document(aggregate_of(*NIGHT), unreadable_lines=1)


def validators() -> tuple[jsonschema_rs.Draft202012Validator, jsonschema_rs.Draft202012Validator]:
    """Return the documented schemas: of a line, of the report."""
    line, whole = re.findall(r"```json\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return jsonschema_rs.Draft202012Validator(json.loads(line)), jsonschema_rs.Draft202012Validator(json.loads(whole))


@pytest.mark.parametrize("records", [NIGHT, [], [observed(status=503)]], ids=["night", "nothing", "failed"])
def test_every_report_fits_the_documented_schema(records: list[Observation | dict[str, Any]]) -> None:
    contents = json.loads(json.dumps(documents.document(aggregate_of(*records), unreadable_lines=0)))

    assert list(validators()[1].iter_errors(contents)) == []


def test_every_line_fits_the_documented_schema() -> None:
    for record in (run(), *NIGHT):
        line = record.record() if isinstance(record, Observation) else record
        assert list(validators()[0].iter_errors(json.loads(json.dumps(line)))) == []


def test_the_schemas_notice_what_is_not_documented() -> None:
    assert not validators()[0].is_valid({**observed().record(), "token": "x"})
    assert not validators()[1].is_valid({**night(), "host": "x"})


def test_the_report_tells_the_night() -> None:
    contents = night()

    assert contents["verdict"]["grade"] == "critical"
    assert [(one["target"], one["kind"], one["ended_by"]) for one in contents["incidents"]] == [
        ("health", "outage", "unwatched"),
        ("health", "alert", None),
        ("login", "account", "unwatched"),
    ]
    assert [one["duration_s"] for one in contents["not_watched"]] == [536]
    assert [(one["was"], one["is"]) for one in contents["deploys"]] == [("1 a", "2 b")]
    assert contents["targets"]["health"]["latency_ms"]["max"] == 5000
    assert contents["targets"]["login"]["throttled"] == 1
    assert contents["watched_s"] == 661 - 536
    assert contents["targets"]["health"]["available_percent"] == pytest.approx(100 * (1 - 4 / 125), abs=0.001)
    assert len(contents["runs"]) == 2


def test_a_file_gives_the_report_that_the_watch_gave(tmp_path: Path) -> None:
    live, loaded = aggregate_of(*NIGHT), list[Observation]()
    lines = [json.dumps(one.record() if isinstance(one, Observation) else one) for one in (run(), *NIGHT)]
    path = tmp_path / "observe.jsonl"
    torn, strange = '{"kind":"observation","at":178', '{"kind":"mood","at":1785600001}'
    path.write_text("\n".join([*lines[:50], torn, strange, *lines[50:], '{"ki']))

    again = Aggregate()
    unreadable = documents.load(again, path, loaded.append)

    assert unreadable == 3
    assert documents.document(again, unreadable_lines=0) == documents.document(live, unreadable_lines=0)
    assert len(loaded) == sum(isinstance(one, Observation) for one in NIGHT)


@pytest.mark.parametrize("text", ["{}", '{"kind":"observation","at":1}', '{"kind":"run","at":1,"schema":9}'])
def test_what_is_no_such_file_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "observe.jsonl"
    path.write_text(text, "latin-1")

    with pytest.raises(NotMeasured, match=r"observe\.jsonl"):
        documents.load(Aggregate(), path)


@pytest.mark.parametrize("text", ["", '{"kind":"ru'])
def test_a_file_whose_first_line_was_torn_off_holds_nothing(text: str, tmp_path: Path) -> None:
    """And can be resumed all the same: a service that starts again and again must not be stuck with it."""
    path, aggregate = tmp_path / "observe.jsonl", Aggregate()
    path.write_text(text)

    assert documents.load(aggregate, path) == bool(text)
    assert aggregate.runs == []


@pytest.mark.parametrize("records", [NIGHT, [], [observed(status=503)]], ids=["night", "nothing", "failed"])
def test_the_page_loads_nothing(records: list[Observation | dict[str, Any]]) -> None:
    html = report.html(documents.document(aggregate_of(*records), unreadable_lines=0))

    page = Page(html)
    assert page.open == []
    assert page.is_self_contained(html)
    assert set(re.findall(r"https?://[^\s<,;]+", without_script(html))) == {"http://127.0.0.1:8000"}


def test_the_page_draws_incidents_gaps_and_builds() -> None:
    html = report.html(night())

    plots = plots_of(html)
    assert len(plots) == 3
    health, version, login = ([band["colour"] for band in plot["bands"]] for plot in plots)
    # Not watched, outage, alert; not watched, account refused.
    assert (health, version, login) == (["c6", "c5", "c2"], ["c6"], ["c6", "c3"])
    assert [len(plot["marks"]) for plot in plots] == [1, 1, 1]
    # Each line of /health is interrupted at the gap.
    [gap] = [band for band in plots[0]["bands"] if band["colour"] == "c6"]
    times, *lines = plots[0]["data"]
    for line in lines:
        assert any(value is None and gap["from"] < time < gap["to"] for time, value in zip(times, line, strict=True))
    assert "not watched afterwards" in html
    assert "1 lines of the file could not be read" in html


def test_the_page_escapes_what_strangers_said() -> None:
    contents = documents.document(
        aggregate_of(
            observed(0, target="version", note="a"), observed(1, target="version", note="<script>alert(1)</script>")
        ),
        unreadable_lines=0,
    )

    assert "<script>" not in without_script(report.html(contents))


def test_times_are_told_in_utc() -> None:
    contents = documents.document(aggregate_of(observed(0)), unreadable_lines=0)

    assert contents["began_at"] == "2026-08-01T16:00:00.000+00:00"
    assert BEGAN_S == 1_785_600_000
