"""What is handed over to the plots; ``tests/system/test_plots_in_a_browser.py`` looks at what is drawn."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ops.plotted import plots_of
from velro_auth.ops import plots
from velro_auth.ops.bench.figures import BUCKETS_PER_DECADE, histogram
from velro_auth.ops.plots import Band, Line, Series

GROWTH = 10 ** (1 / BUCKETS_PER_DECADE)

times_ms = st.floats(0.01, 1e5)
points = st.lists(st.tuples(st.floats(0, 600), times_ms), max_size=20)


def rounded(pairs: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return sorted((round(x, 6), round(y, 6)) for x, y in pairs)


@given(good=points, wrong=points)
def test_every_point_is_handed_over_once_in_its_series(
    good: list[tuple[float, float]], wrong: list[tuple[float, float]]
) -> None:
    series = [Series("good", "c1", good), Series("wrong", "c2", wrong), Series("none", "c3", [])]

    [plot] = plots_of(plots.scatter(series, x_label="s", y_label="ms"))

    xs, *columns = plot["data"]
    assert xs == sorted(xs)
    assert {len(column) for column in columns} == {len(good) + len(wrong)}
    for column, expected in zip(columns, (good, wrong, []), strict=True):
        assert sorted((x, y) for x, y in zip(xs, column, strict=True) if y is not None) == rounded(expected)
    assert [one["label"] for one in plot["series"]] == ["good", "wrong", "none"]
    assert (plot["x"], plot["y"]) == ({"label": "s"}, {"label": "ms", "log": True})


def test_a_logarithmic_axis_gets_no_zero() -> None:
    [scatter] = plots_of(plots.scatter([Series("good", "c1", [(0.0, 0.0)])], x_label="s", y_label="ms"))
    [steps] = plots_of(plots.steps([Series("good", "c1", [(0.0, 0.0)])], x_label="ms", y_label="%"))
    [timeline] = plots_of(plots.timeline([0.0], [Line("p50", "c1", [0.0])], span=1, x_label="s", y_label="ms"))

    assert scatter["data"] == [[0.0], [0.01]]
    assert steps["data"] == [[0.01], [0.0]]
    assert timeline["data"] == [[0.0], [0.01]]


@given(values=st.lists(times_ms, min_size=1, max_size=60))
def test_bars_are_neighbours_and_keep_every_count(values: list[float]) -> None:
    buckets = [(bucket.le_ms, bucket.count) for bucket in histogram(values)]

    [plot] = plots_of(plots.bars("good logins", buckets, growth=GROWTH, x_label="ms", y_label="logins"))

    bounds, counts = plot["data"]
    assert [count for count in counts if count] == [count for _, count in buckets]
    assert [bound for bound, count in zip(bounds, counts, strict=True) if count] == [bound for bound, _ in buckets]
    assert (counts[0], counts[-1]) == (0, 0)
    assert all(b / a == pytest.approx(GROWTH, rel=0.01) for a, b in itertools.pairwise(bounds) if a > 0.05)
    assert plot["y"]["whole"]


def test_a_line_over_time_keeps_its_gaps_bands_and_marks() -> None:
    [plot] = plots_of(
        plots.timeline(
            [0.0, 1.0, 2.0],
            [Line("p50", "c1", [5.0, None, 7.0]), Line("p95", "c2", [8.0, None, None])],
            span=3.0,
            bands=[Band("c5", 0.5, 1.5, "outage")],
            marks=[(2.5, "2 b instead of 1 a")],
            x_label="s",
            y_label="ms",
        )
    )

    assert plot["data"] == [[0.0, 1.0, 2.0], [5.0, None, 7.0], [8.0, None, None]]
    assert plot["x"] == {"label": "s", "end": 3.0}
    assert plot["bands"] == [{"colour": "c5", "from": 0.5, "to": 1.5, "title": "outage"}]
    assert plot["marks"] == [{"at": 2.5, "title": "2 b instead of 1 a"}]


def test_no_text_ends_the_element_that_it_is_in() -> None:
    hostile = "</script><script>alert(1)</script><!--"

    markup = plots.timeline(
        [], [], span=1, bands=[Band("c5", 0, 1, hostile)], marks=[(0, hostile)], x_label=hostile, y_label=hostile
    )

    assert markup.count("<") == 4
    [plot] = plots_of(markup)
    assert plot["bands"][0]["title"] == plot["marks"][0]["title"] == plot["x"]["label"] == hostile
