"""The HTML report of a file, made from the JSON document. It loads no other file."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Final

from velro_auth.ops import plots
from velro_auth.ops.monitor.document import Document
from velro_auth.ops.report import bullets, graded, page, table

_STYLE: Final = """
path { fill: none; stroke-width: 1.5; stroke-linecap: round; stroke-linejoin: round }
path.p50 { stroke: #3b82c4 } path.p95 { stroke: #d98324 } path.p99 { stroke: #8b5cc4 }
.key { margin-right: 1em } .key::before { content: "●"; margin-right: .3em }
span.p50 { color: #3b82c4 } span.p95 { color: #d98324 } span.p99 { color: #8b5cc4 }
rect.outage { fill: #c4473b; opacity: .3 } rect.account { fill: #b7791f; opacity: .35 }
rect.gap { fill: #888; opacity: .25 } rect.alert { fill: #d9b324; opacity: .18 }
.mark { stroke: #3f9d5d; stroke-width: 1.5; stroke-dasharray: 4 3 }
span.outage { color: #c4473b } span.account { color: #b7791f } span.alert { color: #d9b324 } span.gap { color: #888 }
span.deploy { color: #3f9d5d } td { white-space: nowrap }
th:last-child, td:last-child { white-space: normal; text-align: left }
"""
_KEYS: Final = {
    "p50": "p50",
    "p95": "p95",
    "p99": "p99",
    "outage": "outage",
    "account": "account refused",
    "alert": "alert",
    "gap": "not watched",
    "deploy": "another build",
}
_TARGETS: Final = (
    *("target", "seen", "failed", "429", "success", "available", "down"),
    *("p50 ms", "p95 ms", "p99 ms", "answers"),
)
_INCIDENTS: Final = ("target", "kind", "grade", "began", "ended", "lasted", "what")

#: Length of the time axis in seconds, from which on the unit is used → the unit.
_UNITS: Final = ((3 * 86_400.0, 86_400.0, "days"), (3 * 3600.0, 3600.0, "hours"), (180.0, 60.0, "minutes"))


def html(contents: Document) -> str:
    """Return the report as a page."""
    verdict = contents["verdict"]
    keys = "".join(f'<span class="key {name}">{text}</span>' for name, text in _KEYS.items())
    return page(
        "Watch of a login gateway",
        f"<h1>Watched: {graded(verdict['grade'])}</h1>{bullets(verdict['reasons'])}",
        f"<p>{escape(_about(contents))}</p>",
        table(_TARGETS, (_cells(name, row) for name, row in contents["targets"].items())),
        "<h2>Incidents</h2>",
        table(_INCIDENTS, map(_incident, contents["incidents"])) if contents["incidents"] else "<p>None.</p>",
        _others(contents),
        f"<h2>Over time</h2><p>{keys}</p>",
        *(f"<h3>{escape(name)}</h3>{_plot(name, contents)}" for name in contents["targets"]),
        style=_STYLE,
    )


def _about(contents: Document) -> str:
    return (
        f"{contents['url']}, from {_clock(contents['began_at'])} to {_clock(contents['ended_at'])} UTC;"
        f" watched for {_span(contents['watched_s'])} in {len(contents['runs'])} run(s)."
        " Success is the share of right answers, availability the share of the time without an incident;"
        " latency includes the DNS look-up and the connect."
    )


def _cells(name: str, row: Document) -> Iterator[str]:
    rate, times = row["success_percent"], row["latency_ms"] or {}
    yield from (name, str(row["observations"]), str(row["failure"]), str(row["throttled"]))
    yield "" if rate is None else f"{rate:.2f} %"
    yield from (f"{row['available_percent']:.2f} %", _span(row["down_s"]))
    yield from (f"{times[key]:.0f}" if key in times else "" for key in ("p50", "p95", "p99"))
    yield ", ".join(f"{outcome}: {count}" for outcome, count in row["outcomes"].items())


def _incident(one: Document) -> Iterator[str]:
    yield from (one["target"], one["kind"], one["grade"], _clock(one["began_at"]))
    yield _clock(one["ended_at"]) if one["ended_at"] else "not over"
    yield _span(one["duration_s"])
    answers = ", ".join(f"{outcome}: {count}" for outcome, count in one["outcomes"].items())
    ending = "; not watched afterwards" if one["ended_by"] == "unwatched" else ""
    yield one["what"] + (f" ({answers})" if answers else "") + ending


def _others(contents: Document) -> str:
    deploys = [f"{_clock(one['at'])}: {one['is']} instead of {one['was']}" for one in contents["deploys"]]
    gaps = [f"{_clock(one['began_at'])}, for {_span(one['duration_s'])}" for one in contents["not_watched"]]
    left_out = [f"{count} more {name} are left out" for name, count in contents["left_out"].items()]
    if contents["unreadable_lines"]:
        left_out.append(f"{contents['unreadable_lines']} lines of the file could not be read")
    titled = {"Builds": deploys, "Not watched": gaps, "Not in this report": left_out}
    return "".join(f"<h2>{title}</h2>{bullets(found)}" for title, found in titled.items() if found)


def _plot(name: str, contents: Document) -> str:
    began_s = _seconds(contents["began_at"])
    span_s = max(1.0, _seconds(contents["ended_at"]) - began_s)
    unit_s, unit = next(((size, word) for least, size, word in _UNITS if span_s >= least), (1.0, "seconds"))

    def position(at: str | None) -> float:
        return (_seconds(at or contents["ended_at"]) - began_s) / unit_s

    bands = [
        ("gap", position(one["began_at"]), position(one["ended_at"]), "not watched") for one in contents["not_watched"]
    ]
    bands += [
        (one["kind"], position(one["began_at"]), position(one["ended_at"]), one["what"])
        for one in contents["incidents"]
        if one["target"] == name
    ]
    rows, length_s = contents["slices"]["targets"][name], contents["slices"]["length_s"]
    # A point is in the middle of its slice, but not after the end.
    middles = [min(span_s, row[0] + length_s / 2) / unit_s for row in rows]
    gaps = [(start, end) for kind, start, end, _ in bands if kind == "gap"]
    return plots.timeline(
        {
            key: list(_segments([(at, row[column]) for at, row in zip(middles, rows, strict=True)], gaps))
            for column, key in ((4, "p50"), (5, "p95"), (6, "p99"))
        },
        span=span_s / unit_s,
        bands=bands,
        marks=[(position(one["at"]), f"{one['is']} instead of {one['was']}") for one in contents["deploys"]],
        x_label=f"{unit} since {_clock(contents['began_at'])} UTC",
        y_label="latency, ms",
    )


def _segments(
    points: Iterable[tuple[float, float | None]], gaps: Sequence[tuple[float, float]]
) -> Iterator[list[tuple[float, float]]]:
    """Split a line where there is no value and where there is a gap."""
    segment: list[tuple[float, float]] = []
    for at, value in points:
        if segment and (value is None or any(segment[-1][0] < end and start < at for start, end in gaps)):
            yield segment
            segment = []
        if value is not None:
            segment.append((at, value))
    if segment:
        yield segment


def _seconds(iso: str) -> float:
    return dt.datetime.fromisoformat(iso).timestamp()


def _clock(iso: str) -> str:
    return dt.datetime.fromisoformat(iso).strftime("%Y-%m-%d %H:%M:%S")


def _span(seconds: float) -> str:
    if seconds < 100:  # noqa: PLR2004 - two digits read well
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"  # noqa: PLR2004 - as above
