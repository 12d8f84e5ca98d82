"""The HTML report of a file, made from the JSON document. It loads no other file."""

from __future__ import annotations

import datetime as dt
import itertools
import operator
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from velro_auth.ops import plots
from velro_auth.ops.monitor.document import Document
from velro_auth.ops.report import bullets, graded, page, table

_STYLE: Final = """
td { white-space: nowrap } td:last-child { white-space: normal }
"""
#: Kind of an incident, and what else is shaded or marked → its colour and its name.
_KEYS: Final = {
    "outage": ("c5", "outage"),
    "account": ("c3", "account refused"),
    "alert": ("c2", "alert"),
    "gap": ("c6", "not watched"),
    "deploy": ("c4", "another build"),
}
#: Column of a slice → name and colour of its line.
_LINES: Final = {4: ("p50", "c1"), 5: ("p95", "c2"), 6: ("p99", "c3")}
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
    keys = "".join(f'<span class="key"><i class="{colour}"></i>{text}</span>' for colour, text in _KEYS.values())
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

    gaps = [(position(one["began_at"]), position(one["ended_at"])) for one in contents["not_watched"]]
    bands = [plots.Band(_KEYS["gap"][0], start, end, _KEYS["gap"][1]) for start, end in gaps]
    bands += [
        plots.Band(_KEYS[one["kind"]][0], position(one["began_at"]), position(one["ended_at"]), one["what"])
        for one in contents["incidents"]
        if one["target"] == name
    ]
    length_s = contents["slices"]["length_s"]
    # A point is in the middle of its slice, but not after the end.
    rows = [(min(span_s, row[0] + length_s / 2) / unit_s, row) for row in contents["slices"]["targets"][name]]
    rows = sorted([*rows, *_breaks([at for at, _ in rows], gaps)], key=operator.itemgetter(0))
    return plots.timeline(
        [at for at, _ in rows],
        [
            plots.Line(key, colour, [row[column] if row else None for _, row in rows])
            for column, (key, colour) in _LINES.items()
        ],
        span=span_s / unit_s,
        bands=bands,
        marks=[(position(one["at"]), f"{one['is']} instead of {one['was']}") for one in contents["deploys"]],
        x_label=f"{unit} since {_clock(contents['began_at'])} UTC",
        y_label="latency, ms",
    )


def _breaks(times: Sequence[float], gaps: Sequence[tuple[float, float]]) -> Iterator[tuple[float, None]]:
    """Yield a time without values between two that a gap separates: no line is drawn across it."""
    for before, after in itertools.pairwise(times):
        if any(before < end and start < after for start, end in gaps):
            yield (before + after) / 2, None


def _seconds(iso: str) -> float:
    return dt.datetime.fromisoformat(iso).timestamp()


def _clock(iso: str) -> str:
    return dt.datetime.fromisoformat(iso).strftime("%Y-%m-%d %H:%M:%S")


def _span(seconds: float) -> str:
    if seconds < 100:  # noqa: PLR2004 - two digits read well
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"  # noqa: PLR2004 - as above
