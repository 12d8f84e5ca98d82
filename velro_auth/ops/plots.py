"""Plots as inline SVG, without scripts, libraries or other files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, TypeAlias

Points: TypeAlias = Sequence[tuple[float, float]]

WIDTH: Final = 640
HEIGHT: Final = 240
#: Room around the frame for the numbers and names of the axes.
_LEFT: Final = 56
_RIGHT: Final = 24
_TOP: Final = 24
_BOTTOM: Final = 36
_DOT: Final = 2
#: Distance between the frame and both ends of an axis, so that a dot at an end stays inside the frame.
_INSET: Final = _DOT + 1

#: Ticks at 1, 2 and 5 of each decade.
_STEPS: Final = (1, 2, 5)
_MOST_TICKS: Final = 9
#: The smallest value of a logarithmic axis, in ms, and the smallest length of a linear axis.
_LEAST: Final = 0.01
#: Floating-point tolerance: a quotient this close above an integer counts as the integer.
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Axis:
    """Maps values to pixels.

    *low* and *high* are values, *start* and *end* are their pixels.
    """

    label: str
    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of *value*; a value outside the axis is drawn at its end."""
        low, high, value = (self._scaled(number) for number in (self.low, self.high, value))
        share = min(1.0, max(0.0, (value - low) / (high - low)))
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """Return round values along the axis."""
        if self.is_log:
            found = _log_ticks(self.low, self.high)
        else:
            step = _linear_step(self.high - self.low)
            last = math.floor(self.high / step + _ROUNDING)
            found = [step * index for index in range(math.ceil(self.low / step), last + 1)]
        return [value for value in found if self.low <= value <= self.high]

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, self.low)) if self.is_log else value


def _log_ticks(low: float, high: float) -> list[float]:
    """Return the ticks of a logarithmic axis from *low* to *high*, and some beyond both."""
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    return [step * 10.0**decade for decade in decades for step in _STEPS]


def _linear_step(span: float) -> float:
    """Return the distance between two ticks of a linear axis."""
    return next(step for step in _steps(span) if span / step < _MOST_TICKS)


def _steps(span: float) -> Iterator[float]:
    decade = 10.0 ** math.floor(math.log10(span) - 1)
    while True:
        yield from (step * decade for step in _STEPS)
        decade *= 10


def _horizontal(label: str, low: float, high: float, *, is_log: bool = False) -> Axis:
    return Axis(label, low, high, _LEFT + _INSET, WIDTH - _RIGHT - _INSET, is_log)


def _vertical(label: str, low: float, high: float, *, is_log: bool = False) -> Axis:
    return Axis(label, low, high, HEIGHT - _BOTTOM - _INSET, _TOP + _INSET, is_log)


def _decades(values: Sequence[float], *, least: float = _LEAST) -> tuple[float, float]:
    """Return the ends of a logarithmic axis: the nearest ticks around *values*, none of them below *least*."""
    low, high = max(least, min(values)), max(least, *values)
    ticks = _log_ticks(low, high)
    start = max(tick for tick in ticks if tick <= low)
    return start, min(tick for tick in ticks if tick >= high and tick > start)


def _from_zero(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of a linear axis: 0, and the lowest tick that no value exceeds."""
    high = max(*values, _LEAST)
    while True:
        step = _linear_step(high)
        end = step * math.ceil(high / step - _ROUNDING)
        if end <= high:
            return 0.0, high
        # A longer axis may have wider steps.
        high = end


def scatter(series: Mapping[str, Points], *, x_label: str, y_label: str) -> str:
    """Draw a dot for each point; the vertical axis is logarithmic. The name of a series is its CSS class."""
    xs, ys = _values(series)
    x, y = _horizontal(x_label, *_from_zero(xs)), _vertical(y_label, *_decades(ys), is_log=True)
    dots = "".join(
        f'<circle class="{escape(name)}" cx="{x(a)}" cy="{y(b)}" r="{_DOT}"/>'
        for name, points in series.items()
        for a, b in points
    )
    return _svg(x, y, dots)


def steps(series: Mapping[str, Points], *, x_label: str, y_label: str) -> str:
    """Draw a step line for each series, such as a cumulative distribution; the horizontal axis is logarithmic."""
    xs, ys = _values(series)
    x, y = _horizontal(x_label, *_decades(xs), is_log=True), _vertical(y_label, *_from_zero(ys))
    lines = "".join(f'<path class="{escape(name)}" d="{_path(points, x, y)}"/>' for name, points in series.items())
    return _svg(x, y, lines)


def bars(buckets: Points, *, growth: float, x_label: str, y_label: str) -> str:
    """Draw a bar for each bucket (upper bound, count). *growth* is the ratio of a bound to the previous one."""
    bounds = [bound for bound, _ in buckets]
    x = _horizontal(x_label, *_decades([min(bounds) / growth, *bounds], least=min(bounds) / growth), is_log=True)
    y = _vertical(y_label, *_from_zero([count for _, count in buckets]))
    drawn = "".join(
        f'<rect {_extent(x, bound / growth, bound, least=1.0, gap=1.0)} y="{y(count)}"'
        f' height="{round(y(0) - y(count), 1)}"/>'
        for bound, count in buckets
    )
    return _svg(x, y, drawn)


def timeline(
    series: Mapping[str, Sequence[Points]],
    *,
    span: float,
    bands: Sequence[tuple[str, float, float, str]] = (),
    marks: Sequence[tuple[float, str]] = (),
    x_label: str,
    y_label: str,
) -> str:
    """Draw lines over time; the vertical axis is logarithmic.

    Args:
        series: CSS class → segments of a line.
        span: End of the horizontal axis, which starts at 0.
        bands: CSS class, start, end and title of each shaded interval.
        marks: Time and title of each vertical line.
        x_label: Name of the horizontal axis.
        y_label: Name of the vertical axis.
    """
    heights = [value for segments in series.values() for segment in segments for _, value in segment] or [1.0, 100.0]
    x, y = _horizontal(x_label, 0, span), _vertical(y_label, *_decades(heights), is_log=True)
    shaded = "".join(
        f'<rect class="{escape(name)}" {_extent(x, start, end, least=2.0)} y="{y.end}"'
        f' height="{y.start - y.end}"><title>{escape(title)}</title></rect>'
        for name, start, end, title in bands
    )
    mark_lines = "".join(
        f'<line class="mark" x1="{x(at)}" x2="{x(at)}" y1="{y.end}" y2="{y.start}">'
        f"<title>{escape(title)}</title></line>"
        for at, title in marks
    )
    lines = "".join(
        f'<path class="{escape(name)}" d="{"".join(_line(segment, x, y) for segment in segments)}"/>'
        for name, segments in series.items()
        if any(segments)
    )
    return _svg(x, y, shaded + mark_lines + lines)


def _extent(x: Axis, start: float, end: float, *, least: float, gap: float = 0.0) -> str:
    """Return the SVG attributes of a rectangle from *start* to *end*, at least *least* wide and inside the axis."""
    left, right = sorted((x(start), x(end)))
    width = max(least, round(right - left - gap, 1))
    return f'x="{round(min(left, x.end - width), 1)}" width="{width}"'


def _values(series: Mapping[str, Points]) -> tuple[list[float], list[float]]:
    points = [point for members in series.values() for point in members]
    return [a for a, _ in points], [b for _, b in points]


def _path(points: Points, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    first, *rest = points
    return f"M{x(first[0])} {y(first[1])}" + "".join(f"H{x(a)}V{y(b)}" for a, b in rest)


def _line(points: Points, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    first, *rest = points
    # A line of length 0 is drawn as a dot, because line ends are round.
    return f"M{x(first[0])} {y(first[1])}" + ("".join(f"L{x(a)} {y(b)}" for a, b in rest) or "h0")


def _svg(x: Axis, y: Axis, content: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(y.label)} by {escape(x.label)}">'
        f'<rect class="frame" x="{_LEFT}" y="{_TOP}" width="{WIDTH - _LEFT - _RIGHT}"'
        f' height="{HEIGHT - _TOP - _BOTTOM}"/>'
        f"{_grid(x, y)}{content}"
        f'<text x="{(x.start + x.end) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x.label)}</text>'
        f'<text x="4" y="{_TOP - 10}">{escape(y.label)}</text></svg>'
    )


def _grid(x: Axis, y: Axis) -> str:
    vertical = "".join(
        f'<line x1="{x(tick)}" x2="{x(tick)}" y1="{HEIGHT - _BOTTOM}" y2="{_TOP}"/>'
        f'<text x="{x(tick)}" y="{HEIGHT - _BOTTOM + 14}" text-anchor="middle">{tick:g}</text>'
        for tick in x.ticks()
    )
    horizontal = "".join(
        f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(tick)}" y2="{y(tick)}"/>'
        f'<text x="{_LEFT - 4}" y="{y(tick) + 4}" text-anchor="end">{tick:g}</text>'
        for tick in y.ticks()
    )
    return f'<g class="grid">{vertical}{horizontal}</g>'
