"""Where things are in a plot."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velro_auth.bench import plots
from velro_auth.bench.plots import HEIGHT, WIDTH, Axis

positive = st.floats(0.001, 1e6)


@given(low=positive, factor=st.floats(1.02, 1e4), value=st.floats(0, 1e10), is_log=st.booleans())
def test_nothing_is_drawn_outside_of_an_axis(low: float, factor: float, value: float, *, is_log: bool) -> None:
    axis = Axis("x", low, low * factor, 50, 600, is_log)

    assert 50 <= axis(value) <= 600
    assert all(low <= tick <= low * factor for tick in axis.ticks())


@given(low=st.floats(0, 1e4), span=st.floats(0.001, 1e6))
def test_an_even_axis_has_some_ticks_but_not_many(low: float, span: float) -> None:
    assert len(Axis("x", low, low + span, 0, 100).ticks()) <= 10


def test_a_logarithmic_axis_gives_each_decade_the_same_room() -> None:
    axis = Axis("ms", 1, 1000, 0, 300, is_log=True)

    assert [axis(1), axis(10), axis(100), axis(1000)] == [0, 100, 200, 300]
    assert axis.ticks() == pytest.approx([1, 2, 5, 10, 20, 50, 100, 200, 500, 1000])


def test_upwards_is_more() -> None:
    svg = plots.scatter({"good": [(0.0, 10.0), (1.0, 1000.0)]}, x_label="s", y_label="ms")

    first, second = (float(y) for y in re.findall(r'cy="([\d.]+)"', svg))
    assert first > second


@given(points=st.lists(st.tuples(st.floats(0, 600), st.floats(0, 1e5)), min_size=1, max_size=20))
def test_every_dot_is_inside_the_picture(points: list[tuple[float, float]]) -> None:
    svg = plots.scatter({"good": points}, x_label="s", y_label="ms")

    places = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', svg)
    assert len(places) == len(points)
    assert all(0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT for x, y in places)


@given(
    points=st.lists(st.tuples(st.floats(0, 60), st.floats(0, 1e5)), min_size=1, max_size=9),
    bands=st.lists(st.tuples(st.just("gap"), st.floats(0, 60), st.floats(0, 60), st.just("<&>")), max_size=3),
)
def test_a_timeline_stays_inside_the_picture(
    points: list[tuple[float, float]], bands: list[tuple[str, float, float, str]]
) -> None:
    svg = plots.timeline(
        {"p95": [points, points[:1]]}, span=60, bands=bands, marks=[(30, "x")], x_label="s", y_label="ms"
    )

    places = re.findall(r"[ML]([\d.]+) ([\d.]+)", svg)
    assert len(places) == len(points) + 1
    assert all(0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT for x, y in places)
    assert svg.count("&lt;&amp;&gt;") == len(bands)


def test_an_empty_timeline_has_axes() -> None:
    assert "<path" not in plots.timeline({"p95": []}, span=1, x_label="s", y_label="ms")
