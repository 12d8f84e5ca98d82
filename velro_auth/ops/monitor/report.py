"""The HTML report of a file, made from the JSON document. It loads no other file."""

from __future__ import annotations

import datetime as dt
import itertools
import operator
from collections.abc import Iterator, Sequence
from typing import Final

from velro_auth.ops import plots
from velro_auth.ops.monitor.document import Document
from velro_auth.ops.report import page

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
#: Length of the time axis in seconds, from which on the unit is used → the unit.
_UNITS: Final = ((3 * 86_400.0, 86_400.0, "days"), (3 * 3600.0, 3600.0, "hours"), (180.0, 60.0, "minutes"))


def html(contents: Document) -> str:
    """Return the report as a page."""
    return page(
        "monitor.html",
        style=_STYLE,
        **contents,
        keys=list(_KEYS.values()),
        plot=lambda name: _plot(name, contents),
        clock=_clock,
        span=_span,
    )


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
