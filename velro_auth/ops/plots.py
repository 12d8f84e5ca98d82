"""Plots of the reports, as data: ``web_assets/plots.js`` draws them with uPlot in the reader's browser."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from markupsafe import Markup

Points: TypeAlias = Sequence[tuple[float, float]]
#: The values of one series, one for each x; None where it has none.
Values: TypeAlias = Sequence[float | None]

#: The smallest value of a logarithmic axis, in ms.
_LEAST: Final = 0.01
#: Decimal places: a microsecond where a value is in ms, and a tenth of a second where it is in days.
_PLACES: Final = 6


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one name. *colour* is a variable of ``web_assets/look.css``."""

    name: str
    colour: str
    points: Points


@dataclass(frozen=True, slots=True)
class Line:
    """A line over time, which is interrupted at each None."""

    name: str
    colour: str
    values: Values


@dataclass(frozen=True, slots=True)
class Band:
    """A shaded interval."""

    colour: str
    start: float
    end: float
    title: str


def scatter(series: Sequence[Series], *, x_label: str, y_label: str) -> Markup:
    """Draw a dot for each point; the vertical axis is logarithmic."""
    return _figure(
        x={"label": x_label},
        y={"label": y_label, "log": True},
        series=[_described(one, "dots") for one in series],
        data=_aligned([[(x, max(_LEAST, y)) for x, y in one.points] for one in series]),
    )


def steps(series: Sequence[Series], *, x_label: str, y_label: str) -> Markup:
    """Draw a step line for each series, such as a cumulative distribution; the horizontal axis is logarithmic."""
    return _figure(
        x={"label": x_label, "log": True},
        y={"label": y_label},
        series=[_described(one, "steps") for one in series],
        data=_aligned([[(max(_LEAST, x), y) for x, y in one.points] for one in series]),
    )


def bars(name: str, buckets: Points, *, growth: float, x_label: str, y_label: str) -> Markup:
    """Draw a bar for each bucket (upper bound, count). *growth* is the ratio of a bound to the previous one."""
    filled = list(_filled(buckets, growth))
    return _figure(
        x={"label": x_label, "log": True},
        y={"label": y_label, "whole": True},
        series=[{"label": name, "colour": "c1", "as": "bars"}],
        data=[[_rounded(bound) for bound, _ in filled], [count for _, count in filled]],
    )


def timeline(
    xs: Sequence[float],
    lines: Sequence[Line],
    *,
    span: float,
    bands: Sequence[Band] = (),
    marks: Sequence[tuple[float, str]] = (),
    x_label: str,
    y_label: str,
) -> Markup:
    """Draw lines over time; the vertical axis is logarithmic.

    *xs* are ascending, and each line has a value for each of them; the horizontal axis goes from 0 to *span*. A mark is
    a time with its title.
    """
    columns = [[None if one is None else _rounded(max(_LEAST, one)) for one in line.values] for line in lines]
    return _figure(
        x={"label": x_label, "end": span},
        y={"label": y_label, "log": True},
        series=[_described(line, "line") for line in lines],
        data=[[_rounded(x) for x in xs], *columns],
        bands=[{"colour": band.colour, "from": band.start, "to": band.end, "title": band.title} for band in bands],
        marks=[{"at": at, "title": title} for at, title in marks],
    )


def _described(series: Series | Line, style: str) -> Mapping[str, str]:
    return {"label": series.name, "colour": series.colour, "as": style}


def _aligned(series: Sequence[Points]) -> list[list[float | None]]:
    """Return the x of all points in ascending order, and the values of each series there."""
    rows = sorted((x, number, y) for number, points in enumerate(series) for x, y in points)
    columns = [[_rounded(y) if number == owner else None for _, owner, y in rows] for number in range(len(series))]
    return [[_rounded(x) for x, _, _ in rows], *columns]


def _filled(buckets: Points, growth: float) -> Iterator[tuple[float, float]]:
    """Yield *buckets* with the empty ones between them and one at each end, so that all bars are equally wide."""
    yield buckets[0][0] / growth, 0
    for (bound, count), (following, _) in itertools.pairwise(buckets):
        yield bound, count
        while (bound := bound * growth) * growth**0.5 < following:
            yield bound, 0
    yield buckets[-1]
    yield buckets[-1][0] * growth, 0


def _rounded(value: float) -> float:
    return round(value, _PLACES)


def _figure(**plot: Any) -> Markup:
    # An element of this type is never run. Without "<" nothing in it can end it.
    described = json.dumps(plot, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return Markup(f'<figure class="plot"><script type="application/json">{described}</script></figure>')  # noqa: S704
