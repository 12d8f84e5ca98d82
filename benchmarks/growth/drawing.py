"""Draws curves with two logarithmic axes as SVG: small enough to read, and no library for it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 640
HEIGHT: Final = 360
_LEFT: Final = 70
_RIGHT: Final = 20
_TOP: Final = 20
_BOTTOM: Final = 50
#: Told apart by people who cannot tell red from green.
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of one name; both values are positive."""

    name: str
    points: Sequence[tuple[float, float]]


def log_log(curves: Sequence[Curve], *, x: str, y: str) -> str:
    """Return a drawing of the curves.

    Args:
        curves: At most four.
        x: What the horizontal axis shows.
        y: What the vertical axis shows.
    """
    across = _decades(value for curve in curves for value, _ in curve.points)
    up = _decades(value for curve in curves for _, value in curve.points)

    def place(point: tuple[float, float]) -> tuple[float, float]:
        right = (math.log10(point[0]) - across[0]) / (across[1] - across[0])
        high = (math.log10(point[1]) - up[0]) / (up[1] - up[0])
        return _LEFT + right * (WIDTH - _LEFT - _RIGHT), HEIGHT - _BOTTOM - high * (HEIGHT - _TOP - _BOTTOM)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">']
    parts.append(f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>')
    for decade in range(across[0], across[1] + 1):
        at, bottom = place((10.0**decade, 10.0 ** up[0]))
        parts.append(f'<path d="M{at:.1f} {_TOP}V{bottom:.1f}" stroke="#ddd"/>')
        parts.append(_text(at, bottom + 18, f"{10**decade:,}", "middle"))
    for decade in range(up[0], up[1] + 1):
        left, at = place((10.0 ** across[0], 10.0**decade))
        parts.append(f'<path d="M{left:.1f} {at:.1f}H{WIDTH - _RIGHT}" stroke="#ddd"/>')
        parts.append(_text(left - 6, at + 4, f"{10**decade:,}", "end"))
    for number, curve in enumerate(curves):
        line = " ".join("{:.1f},{:.1f}".format(*place(point)) for point in curve.points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{_COLOURS[number]}" stroke-width="2.5"/>')
        parts.append(_text(_LEFT + 12, _TOP + 18 + 18 * number, curve.name, "start", _COLOURS[number]))
    parts.append(_text(WIDTH / 2, HEIGHT - 10, x, "middle"))
    parts.append(f'<g transform="rotate(-90)">{_text(-HEIGHT / 2, 14, y, "middle")}</g></svg>')
    return "\n".join(parts) + "\n"


def _decades(values: Iterator[float]) -> tuple[int, int]:
    found = list(values)
    first, last = math.floor(math.log10(min(found))), math.ceil(math.log10(max(found)))
    return first, max(first + 1, last)


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#333") -> str:
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {where} font-size="13" fill="{colour}">{escape(text)}</text>'
