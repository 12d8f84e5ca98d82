"""Plots as inline SVG, drawn from numbers alone: no script, no library, nothing to load."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, TypeAlias

Points: TypeAlias = Sequence[tuple[float, float]]

WIDTH: Final = 640
HEIGHT: Final = 240
_LEFT: Final = 56
_RIGHT: Final = 12
_TOP: Final = 12
_BOTTOM: Final = 36

#: Ticks at 1, 2 and 5 of each decade.
_STEPS: Final = (1, 2, 5)
_MOST_TICKS: Final = 9


@dataclass(frozen=True, slots=True)
class Axis:
    """Maps values to places.

    Attributes:
        label: What is measured.
        low: The value at the start.
        high: The value at the end; above ``low``.
        start: Where it starts, in pixels.
        end: Where it ends.
        is_log: Whether each decade takes the same room.
    """

    label: str
    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of *value*; what is beyond an end sticks to it."""
        low, high, value = (self._scaled(number) for number in (self.low, self.high, value))
        share = min(1.0, max(0.0, (value - low) / (high - low)))
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """Return round values along the axis."""
        if self.is_log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            found = [step * 10.0**decade for decade in decades for step in _STEPS]
        else:
            step = next(step for step in _steps(self.high - self.low) if (self.high - self.low) / step < _MOST_TICKS)
            found = [step * index for index in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        return [value for value in found if self.low <= value <= self.high]

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, self.low)) if self.is_log else value


def _steps(span: float) -> Iterator[float]:
    decade = 10.0 ** math.floor(math.log10(span) - 1)
    while True:
        yield from (step * decade for step in _STEPS)
        decade *= 10


def _across(label: str, low: float, high: float, *, is_log: bool = False) -> Axis:
    return Axis(label, low, max(high, low * 1.01 + 1e-6), _LEFT, WIDTH - _RIGHT, is_log)


def _up(label: str, low: float, high: float, *, is_log: bool = False) -> Axis:
    return Axis(label, low, max(high, low * 1.01 + 1e-6), HEIGHT - _BOTTOM, _TOP, is_log)


def scatter(series: Mapping[str, Points], *, x_label: str, y_label: str) -> str:
    """Draw a dot for each point, the vertical axis logarithmic; a series is a CSS class."""
    xs, ys = _values(series)
    x, y = _across(x_label, 0, max(xs)), _up(y_label, max(0.01, min(ys)) * 0.9, max(ys) * 1.1, is_log=True)
    dots = "".join(
        f'<circle class="{escape(name)}" cx="{x(a)}" cy="{y(b)}" r="2"/>'
        for name, points in series.items()
        for a, b in points
    )
    return _svg(x, y, dots)


def steps(series: Mapping[str, Points], *, x_label: str, y_label: str) -> str:
    """Draw a line of steps for each series, as a distribution of counted values is; horizontal axis logarithmic."""
    xs, ys = _values(series)
    x, y = _across(x_label, max(0.01, min(xs)) * 0.9, max(xs) * 1.1, is_log=True), _up(y_label, 0, max(ys))
    lines = "".join(f'<path class="{escape(name)}" d="{_path(points, x, y)}"/>' for name, points in series.items())
    return _svg(x, y, lines)


def bars(buckets: Points, *, growth: float, x_label: str, y_label: str) -> str:
    """Draw a bar for each bucket: its upper bound and its count. *growth* is a bound over the one before."""
    bounds = [bound for bound, _ in buckets]
    x = _across(x_label, min(bounds) / growth, max(bounds), is_log=True)
    y = _up(y_label, 0, max(count for _, count in buckets))
    drawn = "".join(
        f'<rect x="{x(bound / growth)}" y="{y(count)}" width="{max(1.0, round(x(bound) - x(bound / growth) - 1, 1))}"'
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
    """Draw what happened from 0 to *span*, the vertical axis logarithmic.

    Args:
        series: CSS class → pieces of a line, which is broken between them.
        span: Where the horizontal axis ends.
        bands: CSS class, start, end and title of stretches that are shaded.
        marks: Place and title of moments that are marked.
        x_label: What is measured along.
        y_label: What is measured upwards.
    """
    heights = [value for pieces in series.values() for piece in pieces for _, value in piece] or [1.0, 100.0]
    x, y = _across(x_label, 0, span), _up(y_label, max(0.1, min(heights)) * 0.8, max(heights) * 2, is_log=True)
    shades = "".join(
        f'<rect class="{escape(name)}" x="{x(start)}" y="{_TOP}" width="{max(2.0, round(x(end) - x(start), 1))}"'
        f' height="{y.start - _TOP}"><title>{escape(title)}</title></rect>'
        for name, start, end, title in bands
    )
    moments = "".join(
        f'<line class="mark" x1="{x(at)}" x2="{x(at)}" y1="{_TOP}" y2="{y.start}"><title>{escape(title)}</title></line>'
        for at, title in marks
    )
    lines = "".join(
        f'<path class="{escape(name)}" d="{"".join(_line(piece, x, y) for piece in pieces)}"/>'
        for name, pieces in series.items()
        if any(pieces)
    )
    return _svg(x, y, shades + moments + lines)


def _values(series: Mapping[str, Points]) -> tuple[list[float], list[float]]:
    points = [point for members in series.values() for point in members]
    return [a for a, _ in points], [b for _, b in points]


def _path(points: Points, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    first, *rest = points
    return f"M{x(first[0])} {y(first[1])}" + "".join(f"H{x(a)}V{y(b)}" for a, b in rest)


def _line(points: Points, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    first, *rest = points
    # A line of no length is a dot where ends are round.
    return f"M{x(first[0])} {y(first[1])}" + ("".join(f"L{x(a)} {y(b)}" for a, b in rest) or "h0")


def _svg(x: Axis, y: Axis, inside: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(y.label)} by {escape(x.label)}">'
        f"{_grid(x, y)}{inside}"
        f'<text x="{(x.start + x.end) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x.label)}</text>'
        f'<text x="4" y="{_TOP + 8}">{escape(y.label)}</text></svg>'
    )


def _grid(x: Axis, y: Axis) -> str:
    upright = "".join(
        f'<line x1="{x(tick)}" x2="{x(tick)}" y1="{y.start}" y2="{y.end}"/>'
        f'<text x="{x(tick)}" y="{y.start + 14}" text-anchor="middle">{tick:g}</text>'
        for tick in x.ticks()
    )
    level = "".join(
        f'<line x1="{x.start}" x2="{x.end}" y1="{y(tick)}" y2="{y(tick)}"/>'
        f'<text x="{x.start - 4}" y="{y(tick) + 4}" text-anchor="end">{tick:g}</text>'
        for tick in y.ticks()
    )
    return f'<g class="grid">{upright}{level}</g>'
