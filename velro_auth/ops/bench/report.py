"""The HTML report of a run, made from the JSON document. It loads no other file."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Final

from velro_auth.ops import plots
from velro_auth.ops.bench.document import Document
from velro_auth.ops.bench.figures import BUCKETS_PER_DECADE
from velro_auth.ops.bench.openloop import CLASSES
from velro_auth.ops.report import page

#: Class of requests → its colour in all plots.
_COLOURS: Final = {"good": "c1", "wrong_password": "c2", "unknown_user": "c3", "throttled": "c6"}
#: Colours of the levels in the first plot, one after the other.
_LEVELS: Final = ("c1", "c2", "c4", "c3", "c5")
#: Columns of the table of classes, in the report and on a terminal.
HEAD: Final = ("class", "sent", "right", "p50 ms", "p95 ms", "p99 ms", "max ms", "answers")


def html(contents: Document) -> str:
    """Return the report as a page."""
    return page(
        "bench.html",
        **contents,
        head=HEAD,
        rows=lambda level: itertools.starmap(cells, level["classes"].items()),
        overview=_overview(contents["levels"]),
        over_time=_over_time,
        counted=_counted,
    )


def _overview(levels: Sequence[Document]) -> str:
    curves = [
        plots.Series(f"{level['rps']:g} a second", colour, _distribution(level))
        for level, colour in zip(levels, itertools.cycle(_LEVELS), strict=False)
        if _good_times(level)
    ]
    if not curves:
        return ""
    return plots.steps(curves, x_label="latency, ms", y_label="% of good logins at most")


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
