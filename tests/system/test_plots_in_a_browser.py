"""What a reader sees of the reports: each plot is drawn, nothing of it is cut, and the page needs no other file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.fixtures.axe import violations
from tests.unit.ops.bench.samples import run_of
from tests.unit.ops.bench.test_document import MIXED
from tests.unit.ops.monitor.test_document import night
from tests.waiting import eventually
from velro_auth.ops import plots, report
from velro_auth.ops.bench import report as bench_report
from velro_auth.ops.bench.figures import BUCKETS_PER_DECADE, histogram
from velro_auth.ops.monitor import report as monitor_report
from velro_auth.ops.plots import Band, Line, Series

#: Before the page's own script: notes every text on a canvas with its place there, and errors of the policy.
WATCH = """
window.texts = [];
window.refused = [];
addEventListener("securitypolicyviolation", (event) => refused.push(event.violatedDirective + event.blockedURI));
const fill = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, x, y, ...more) {
  const at = this.getTransform().transformPoint(new DOMPoint(x, y));
  const size = this.measureText(text);
  texts.push({ text, canvas: this.canvas, left: at.x - size.actualBoundingBoxLeft,
    right: at.x + size.actualBoundingBoxRight, top: at.y - size.actualBoundingBoxAscent,
    bottom: at.y + size.actualBoundingBoxDescent });
  return fill.call(this, text, x, y, ...more);
};
"""

#: Each plot as it is on the screen.
LOOK = """
() => [...document.querySelectorAll("figure.plot")].map((figure) => {
  const { plot } = figure, { canvas } = plot.ctx;
  const end = (name) => [plot.scales[name].min, plot.scales[name].max];
  const pixels = plot.ctx.getImageData(0, 0, canvas.width, canvas.height).data;
  const probe = document.createElement("canvas").getContext("2d");
  // Dots and lines are smoothed at their edges: a pixel of exactly that colour is inside of one.
  const count = (colour) => {
    probe.fillStyle = colour; probe.fillRect(0, 0, 1, 1);
    const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
    let found = 0;
    for (let i = 0; i < pixels.length; i += 4) {
      found += pixels[i] === r && pixels[i + 1] === g && pixels[i + 2] === b && pixels[i + 3] === 255;
    }
    return found;
  };
  // The pixel at a value, a little to the left of it, at a height without a line of the grid.
  const middle = Math.round(plot.bbox.top + 0.47 * plot.bbox.height);
  const at = (x) => pixels[4 * (middle * canvas.width + Math.round(plot.valToPos(x, "x", true)) - 1) + 3];
  const latest = new Map();
  for (const one of texts.filter((one) => one.canvas === canvas)) {
    latest.set(`${one.text} ${Math.round(one.left)} ${Math.round(one.top)}`, one);
  }
  return {
    x: end("x"), y: end("y"), width: canvas.width, height: canvas.height,
    label: canvas.getAttribute("aria-label"),
    texts: [...latest.values()].map(({ canvas, ...one }) => one),
    numbers: plot.axes.map((axis) => axis._values.filter(Boolean).length),
    colours: plot.series.slice(1).map((series) => count(series.stroke())),
    bands: [1, 300, 600].map(at),
  };
})
"""


def page_of(*figures: str) -> str:
    """Return a report with these plots only."""
    return report.page("report.html").replace("<noscript>", "".join(figures) + "<noscript>")


@pytest.fixture
def shown(page: Page, tmp_path: Path) -> Callable[[str], list[dict[str, Any]]]:
    """Return a function that opens a page from a file and returns its plots."""
    page.add_init_script(WATCH)
    errors: list[str] = []
    loaded: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: loaded.append(request.url))

    def show(html: str) -> list[dict[str, Any]]:
        (file := tmp_path / "report.html").write_text(html, "utf-8")
        page.goto(file.as_uri())
        found: list[dict[str, Any]] = page.evaluate(LOOK)
        assert errors == page.evaluate("refused") == []
        assert set(loaded) == {file.as_uri()}
        return found

    return show


def is_whole(plot: dict[str, Any]) -> bool:
    """Claim that every text is inside the canvas, and that both axes have numbers."""
    for text in plot["texts"]:
        assert text["left"] >= 0, text
        assert text["top"] >= 0, text
        assert text["right"] <= plot["width"], text
        assert text["bottom"] <= plot["height"], text
    assert len(plot["texts"]) >= 4
    assert min(plot["numbers"]) >= 2
    return True


#: Latencies in ms that were badly drawn once, or could be: close together, at the ends of decades, far apart.
LATENCIES = [
    *([5.0], [60.0, 70.0], [99.0, 101.0], [1000.0], [10.0, 10_000.0], [0.01, 100_000.0], [0.0, 3.0]),
    *([54.3] * 400, [999.999, 1000.001], [float(n) for n in range(1, 900)]),
]


def test_no_value_and_no_number_is_cut(page: Page, shown: Callable[[str], list[dict[str, Any]]]) -> None:
    growth = 10 ** (1 / BUCKETS_PER_DECADE)
    scatters = [
        plots.scatter([Series("good", "c1", list(enumerate(times)))], x_label="due after, s", y_label="latency, ms")
        for times in LATENCIES
    ]
    curves = [
        plots.steps(
            [Series("one", "c1", [(min(times), 0.0), *((time, 100.0) for time in sorted(times))])],
            x_label="latency, ms",
            y_label="% at most",
        )
        for times in LATENCIES
    ]
    counts = [
        plots.bars(
            "good logins",
            [(bucket.le_ms, bucket.count * 12_345) for bucket in histogram(times)],
            growth=growth,
            x_label="latency, ms",
            y_label="logins",
        )
        for times in LATENCIES
    ]

    for width in (1000, 320):
        page.set_viewport_size({"width": width, "height": 700})
        drawn = shown(page_of(*scatters, *curves, *counts))

        assert len(drawn) == 3 * len(LATENCIES)
        for times, scatter, curve, bars in zip(
            LATENCIES, drawn[: len(LATENCIES)], drawn[len(LATENCIES) :], drawn[2 * len(LATENCIES) :], strict=False
        ):
            least, most = max(0.01, min(times)), max(0.01, *times)
            assert all(map(is_whole, (scatter, curve, bars)))
            for low, high in (scatter["y"], curve["x"]):
                assert low <= least * (1 + 1e-6)
                assert high >= most * (1 - 1e-6)
            assert scatter["x"][0] <= 0 < len(times) - 1 < scatter["x"][1] or len(times) == 1
            assert curve["y"][0] == 0
            assert curve["y"][1] > 100
            assert bars["x"][0] < least
            assert bars["x"][1] > most * (1 - 1e-6)
            assert scatter["colours"][0] >= 4
            assert curve["colours"][0] >= 20
            assert bars["colours"][0] >= 20
            assert scatter["label"] == "latency, ms by due after, s"


def test_bands_marks_and_lone_values_of_a_line_are_drawn(shown: Callable[[str], list[dict[str, Any]]]) -> None:
    def timeline(values: list[float | None], *, bands: list[Band]) -> str:
        xs = [600 * at / max(1, len(values) - 1) for at in range(len(values))]
        return plots.timeline(
            xs, [Line("p95", "c2", values)], span=600, bands=bands, x_label="seconds", y_label="latency, ms"
        )

    at_the_ends = [Band("c5", at, at, "") for at in (0.0, 600.0)]
    whole, lone, ends, nothing, bare = shown(
        page_of(
            timeline([20.0, 40.0, 20.0], bands=[]),
            timeline([None, 40.0, None], bands=[]),
            timeline([20.0, None, 20.0], bands=at_the_ends),
            timeline([], bands=[Band("c5", 290.0, 310.0, "outage")]),
            timeline([], bands=[]),
        )
    )

    assert whole["colours"][0] > 100
    assert 4 <= lone["colours"][0] < 100
    # The middle of a plot has a pixel where something is drawn; the last plot has neither a line nor a band.
    assert [bool(pixel) for pixel in ends["bands"]] == [True, False, True]
    assert nothing["bands"][1]
    assert nothing["colours"] == bare["colours"] == [0]
    for plot in (whole, lone, ends, nothing, bare):
        assert is_whole(plot)
        assert plot["x"] == [0, 600]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_reports_are_good_to_read(page: Page, shown: Callable[[str], list[dict[str, Any]]], scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    for html in (bench_report.html(run_of(MIXED)), monitor_report.html(night())):
        for width in (1120, 320):
            page.set_viewport_size({"width": width, "height": 800})
            drawn = shown(html)

            assert len(drawn) == 3
            assert all(map(is_whole, drawn))
            assert violations(page) == []
            assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_plot_follows_the_colours_and_the_width_of_its_reader(
    page: Page, shown: Callable[[str], list[dict[str, Any]]]
) -> None:
    series = [Series("good", "c1", [(0.0, 10.0), (1.0, 20.0)])]
    page.set_viewport_size({"width": 900, "height": 700})
    [light] = shown(page_of(plots.scatter(series, x_label="s", y_label="ms")))

    page.evaluate("document.querySelector('figure.plot').plot.isLight = true")
    page.emulate_media(color_scheme="dark")
    eventually(lambda: page.evaluate("!document.querySelector('figure.plot').plot.isLight"))
    page.evaluate("texts.length = 0")
    page.set_viewport_size({"width": 500, "height": 700})
    eventually(lambda: page.evaluate("document.querySelector('figure.plot').plot.width < 500"))
    [dark] = page.evaluate(LOOK)

    # Counted are the pixels in the colour of now.
    assert light["colours"][0] >= 8
    assert dark["colours"][0] >= 8
    assert dark["width"] < light["width"]
    assert is_whole(dark)


def test_the_titles_of_an_interval_are_told_at_the_cursor(page: Page, shown: Callable[[str], Any]) -> None:
    bands = [Band("c5", 20.0, 40.0, "no answer in time"), Band("c6", 80.0, 90.0, "not watched")]
    line = [Line("p50", "c1", [10.0, 12.0])]
    shown(page_of(plots.timeline([0, 100], line, span=100, bands=bands, x_label="s", y_label="ms")))

    plot = page.locator("figure.plot .u-over")
    box = plot.bounding_box()
    assert box
    plot.hover(position={"x": 0.3 * box["width"], "y": 50})
    assert page.locator(".under").inner_text() == "no answer in time"
    plot.hover(position={"x": 0.6 * box["width"], "y": 50})
    assert page.locator(".under").inner_text() == ""
