"""The HTML report of a run, made from the JSON document. It loads no other file."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, Final

from velro_auth.ops import plots
from velro_auth.ops.bench.document import Document
from velro_auth.ops.bench.figures import BUCKETS_PER_DECADE
from velro_auth.ops.bench.openloop import CLASSES
from velro_auth.ops.report import bullets, graded, page, table

#: Class of requests → its colour in all plots.
_COLOURS: Final = {"good": "c1", "wrong_password": "c2", "unknown_user": "c3", "throttled": "c6"}
#: Colours of the levels in the first plot, one after the other.
_LEVELS: Final = ("c1", "c2", "c4", "c3", "c5")
_HOW: Final = (
    "Requests are sent at random times, whether or not earlier ones were answered; latency counts from the time a"
    " request was due. Only 200 is a successful login; 429 is counted separately."
)
#: Columns of the table of classes, in the report and on a terminal.
HEAD: Final = ("class", "sent", "right", "p50 ms", "p95 ms", "p99 ms", "max ms", "answers")


def html(contents: Document) -> str:
    """Return the report as a page."""
    target, verdict = contents["target"], contents["verdict"]
    about = f"{target['url']}, version {target['version'] or 'unknown'}, {contents['started_at']}."
    parts = (
        f"<h1>Login benchmark: {graded(verdict['grade'])}</h1>{bullets(verdict['reasons'])}",
        f"<p>{escape(about)} {escape(_machine(contents['machine']))}.</p><p>{_HOW}</p>",
        _overview(contents["levels"]),
        *map(_level, contents["levels"]),
    )
    return page("Login benchmark", *parts)


def _overview(levels: Sequence[Document]) -> str:
    curves = [
        plots.Series(f"{level['rps']:g} a second", colour, _distribution(level))
        for level, colour in zip(levels, itertools.cycle(_LEVELS), strict=False)
        if _good_times(level)
    ]
    if not curves:
        return ""
    plot = plots.steps(curves, x_label="latency, ms", y_label="% of good logins at most")
    return f"<h2>All levels</h2>{plot}"


def _level(level: Document) -> str:
    verdict = level["verdict"]
    return (
        f"<h2>{level['rps']:g} requests a second: {graded(verdict['grade'])}</h2>"
        f"{bullets([*([level['cut']] if level['cut'] else []), *verdict['reasons']])}"
        f'{_table(level)}<div class="plots">{_over_time(level)}{_counted(level)}</div>'
    )


def _table(level: Document) -> str:
    rows = (cells(name, row) for name, row in level["classes"].items())
    own = level["own_ms"]
    rate = level["success_rate_percent"]
    facts = (
        "no success rate" if rate is None else f"success rate {rate:.2f} %",
        "own share unknown" if own is None else f"own share p50 {own['p50']:.1f} ms, p95 {own['p95']:.1f} ms",
        f"wrong answers {level['failed']}",
        f"requests were sent at most {level['punctuality']['late_max_ms']:.1f} ms late",
    )
    return f"{table(HEAD, rows)}<p>{escape(' · '.join(facts))}</p>"


def cells(name: str, row: Document) -> Iterable[str]:
    """Yield the cells of one class for that table."""
    times = row["latency_ms"] or {}
    yield from (name.replace("_", " "), str(row["count"]), str(row["expected"]))
    yield from (f"{times[key]:.1f}" if key in times else "" for key in ("p50", "p95", "p99", "max"))
    yield ", ".join(f"{answer}: {count}" for answer, count in row["outcomes"].items())


def _over_time(level: Document) -> str:
    series = [
        plots.Series(
            name.replace("_", " "),
            _COLOURS[name],
            [(at_s, took_ms) for at_s, took_ms, counted_as, _ in level["samples"] if counted_as == name],
        )
        for name in CLASSES
    ]
    if not level["samples"]:
        return ""
    return plots.scatter(series, x_label="due after, s", y_label="latency, ms")


def _counted(level: Document) -> str:
    good = level["classes"].get("good")
    if not good or not good["histogram"]:
        return ""
    buckets = [(bucket["le_ms"], bucket["count"]) for bucket in good["histogram"]]
    growth = 10 ** (1 / BUCKETS_PER_DECADE)
    return plots.bars("good logins", buckets, growth=growth, x_label="latency, ms", y_label="good logins")


def _good_times(level: Document) -> list[float]:
    return sorted(took_ms for _, took_ms, counted_as, _ in level["samples"] if counted_as == "good")


def _distribution(level: Document) -> list[tuple[float, float]]:
    times = _good_times(level)
    return [(times[0], 0.0), *((value, 100 * (index + 1) / len(times)) for index, value in enumerate(times))]


def _machine(machine: dict[str, Any]) -> str:
    load = machine["load_average"][0]
    return (
        f"{machine['system']}, {machine['processor']}, {machine['cores']} cores, Python {machine['python']},"
        f" load average {load} at the end"
    )
