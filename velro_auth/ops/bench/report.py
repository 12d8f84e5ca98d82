"""The HTML report of a run, made from the JSON document. It loads no other file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, Final

from velro_auth.ops import plots
from velro_auth.ops.bench.document import Document
from velro_auth.ops.bench.figures import BUCKETS_PER_DECADE
from velro_auth.ops.bench.openloop import CLASSES
from velro_auth.ops.report import bullets, graded, page, table

#: Each class of requests has one colour in all plots; each level has one in the first plot.
_STYLE: Final = """
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(25rem, 1fr)); gap: 1rem }
rect { fill: #3b82c4 } path { fill: none; stroke-width: 2 }
.good { fill: #3b82c4 } .wrong_password { fill: #d98324 } .unknown_user { fill: #8b5cc4 } .throttled { fill: #999 }
path.level0 { stroke: #3b82c4 } path.level1 { stroke: #d98324 } path.level2 { stroke: #3f9d5d }
path.level3 { stroke: #8b5cc4 } path.level4 { stroke: #c4473b }
.key::before { content: "●"; margin-right: .3em } span.key { margin-right: 1em }
span.good { color: #3b82c4 } span.wrong_password { color: #d98324 } span.unknown_user { color: #8b5cc4 }
span.throttled { color: #999 } span.level0 { color: #3b82c4 } span.level1 { color: #d98324 }
span.level2 { color: #3f9d5d } span.level3 { color: #8b5cc4 } span.level4 { color: #c4473b }
"""
_HOW: Final = (
    "Requests are sent at random times, whether or not earlier ones were answered; latency counts from the time a"
    " request was due. Only 200 is a successful login; 429 is counted separately."
)
_COLOURS: Final = 5
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
    return page("Login benchmark", *parts, style=_STYLE)


def _overview(levels: Sequence[Document]) -> str:
    curves = {
        f"level{index % _COLOURS}": _distribution(level) for index, level in enumerate(levels) if _good_times(level)
    }
    if not curves:
        return ""
    keys = "".join(
        f'<span class="key level{index % _COLOURS}">{level["rps"]:g} a second</span>'
        for index, level in enumerate(levels)
    )
    plot = plots.steps(curves, x_label="latency, ms", y_label="% of good logins at most")
    return f"<h2>All levels</h2><p>{keys}</p>{plot}"


def _level(level: Document) -> str:
    verdict = level["verdict"]
    keys = "".join(f'<span class="key {name}">{name.replace("_", " ")}</span>' for name in CLASSES)
    return (
        f"<h2>{level['rps']:g} requests a second: {graded(verdict['grade'])}</h2>"
        f"{bullets([*([level['cut']] if level['cut'] else []), *verdict['reasons']])}"
        f'{_table(level)}<p>{keys}</p><div class="plots">{_over_time(level)}{_counted(level)}</div>'
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
    series: dict[str, plots.Points] = {
        name: [(at_s, took_ms) for at_s, took_ms, counted_as, _ in level["samples"] if counted_as == name]
        for name in CLASSES
    }
    if not level["samples"]:
        return ""
    return plots.scatter(series, x_label="due after, s", y_label="latency, ms")


def _counted(level: Document) -> str:
    good = level["classes"].get("good")
    if not good or not good["histogram"]:
        return ""
    buckets = [(bucket["le_ms"], bucket["count"]) for bucket in good["histogram"]]
    growth = 10 ** (1 / BUCKETS_PER_DECADE)
    return plots.bars(buckets, growth=growth, x_label="latency, ms", y_label="good logins")


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
