"""Where things are in a plot."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ops.pictures import Box, drawn, frame, labels, ticks
from velro_auth.ops import plots
from velro_auth.ops.bench.figures import BUCKETS_PER_DECADE, histogram
from velro_auth.ops.plots import HEIGHT, WIDTH, Axis

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

    points_drawn = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', svg)
    assert len(points_drawn) == len(points)
    assert all(0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT for x, y in points_drawn)


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

    points_drawn = re.findall(r"[ML]([\d.]+) ([\d.]+)", svg)
    assert len(points_drawn) == len(points) + 1
    assert all(0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT for x, y in points_drawn)
    assert svg.count("&lt;&amp;&gt;") == len(bands)


# Everything that is drawn, over generated data

times_ms = st.floats(0.01, 1e5)
points = st.lists(st.tuples(st.floats(0, 600), times_ms), min_size=1, max_size=20)
GROWTH = 10 ** (1 / BUCKETS_PER_DECADE)


def distribution(values: list[float]) -> list[tuple[float, float]]:
    ascending = sorted(values)
    return [(ascending[0], 0.0), *((one, 100 * (n + 1) / len(ascending)) for n, one in enumerate(ascending))]


def stays_inside(svg: str) -> bool:
    """Claim that all of it is inside the frame, and every text inside the picture."""
    area, picture = frame(svg), Box("picture", 0, 0, WIDTH, HEIGHT)
    assert area.is_inside(picture)
    assert [box for box in drawn(svg) if not box.is_inside(area)] == []
    assert [box for box in labels(svg) if not box.is_inside(picture)] == []
    return True


def spans(ticks: list[float], values: list[float]) -> bool:
    """Tell whether the numbers at an axis enclose all values; they are rounded to six digits."""
    slack = 1e-5
    return min(ticks) <= min(values) * (1 + slack) and max(values) <= max(ticks) * (1 + slack)


@given(good=points, wrong=points)
def test_a_scatter_stays_inside_its_axes(good: list[tuple[float, float]], wrong: list[tuple[float, float]]) -> None:
    svg = plots.scatter({"good": good, "wrong": wrong, "none": []}, x_label="due after, s", y_label="latency, ms")

    assert stays_inside(svg)
    along, upwards = ticks(svg)
    assert spans(along, [x for x, _ in good + wrong])
    assert spans(upwards, [y for _, y in good + wrong])


@given(values=st.lists(times_ms, min_size=1, max_size=30))
def test_a_distribution_stays_inside_its_axes(values: list[float]) -> None:
    svg = plots.steps({"level0": distribution(values)}, x_label="latency, ms", y_label="% of good logins at most")

    assert stays_inside(svg)
    along, upwards = ticks(svg)
    assert spans(along, values)
    assert (min(upwards), max(upwards)) == (0, 100)


@given(values=st.lists(times_ms, min_size=1, max_size=60))
def test_bars_stay_inside_their_axes(values: list[float]) -> None:
    buckets = [(bucket.le_ms, bucket.count) for bucket in histogram(values)]

    svg = plots.bars(buckets, growth=GROWTH, x_label="latency, ms", y_label="good logins")

    assert stays_inside(svg)
    along, upwards = ticks(svg)
    assert spans(along, [bound for bound, _ in buckets])
    assert spans(upwards, [count for _, count in buckets])


@given(
    pieces=st.lists(points, max_size=3),
    bands=st.lists(
        st.tuples(st.sampled_from(["gap", "outage"]), st.floats(0, 600), st.floats(0, 600), st.just("why")), max_size=5
    ),
    marks=st.lists(st.tuples(st.floats(0, 600), st.just("a build")), max_size=5),
)
def test_a_timeline_stays_inside_its_axes(
    pieces: list[list[tuple[float, float]]],
    bands: list[tuple[str, float, float, str]],
    marks: list[tuple[float, str]],
) -> None:
    svg = plots.timeline({"p95": pieces}, span=600, bands=bands, marks=marks, x_label="seconds", y_label="latency, ms")

    assert stays_inside(svg)
    if any(pieces):
        assert spans(ticks(svg)[1], [y for piece in pieces for _, y in piece])


@pytest.mark.parametrize("at", [0.0, 600.0])
def test_what_lasts_no_time_at_either_end_is_shown_inside(at: float) -> None:
    svg = plots.timeline(
        {"p95": []}, span=600, bands=[("gap", at, at, "")], marks=[(at, "")], x_label="s", y_label="ms"
    )

    assert stays_inside(svg)
    assert len(drawn(svg)) == 2


@pytest.mark.parametrize("values", [[60.0, 70.0], [5.0], [99.0, 101.0], [1000.0]])
def test_close_values_lie_between_two_numbers_of_their_axis(values: list[float]) -> None:
    """An axis from 54 to 77 would have had no number at all."""
    svg = plots.scatter({"good": [(1.0, value) for value in values]}, x_label="s", y_label="ms")

    upwards = ticks(svg)[1]
    assert len(upwards) >= 2
    assert spans(upwards, values)


def test_an_empty_timeline_has_axes() -> None:
    assert "<path" not in plots.timeline({"p95": []}, span=1, x_label="s", y_label="ms")
