"use strict";

/*
 * Draws plots with uPlot. A plot is described by a JSON object:
 *
 *   x, y     {"label", "log"}: the axes. "start" and "end" fix the ends of a linear one, which starts at 0 otherwise;
 *            "whole" keeps its numbers whole.
 *   series   [{"label", "colour", "as"}]: "as" is "line", "dots", "steps" or "bars"; "colour" a variable of look.css.
 *   data     [[x, …], [y, …], …]: the values of each series; null where it has none.
 *   bands    [{"colour", "from", "to", "title"}]: shaded intervals of x.
 *   marks    [{"at", "title"}]: vertical lines.
 *   height   in pixels.
 *
 * Each <figure class="plot"> with such an object in a <script type="application/json"> is drawn when the page is ready.
 */
const Plots = (() => {
  const DOT = 5;
  const FONT = "12px system-ui, sans-serif";
  const SMALLEST_BAND = 2;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const number = (value) => (value == null ? "–" : Number(value.toPrecision(4)).toLocaleString("en-GB"));

  /* Steps of a logarithmic axis in each decade, and a tolerance for floating-point quotients. */
  const STEPS = [1, 2, 5, 10];
  const SAME = 1e-9;
  /* Room that a number at a logarithmic axis needs, in pixels: along it, and upwards. */
  const ROOM = [40, 14];
  const WHOLE = [1, 10, 100, 1e3, 1e4, 1e5, 1e6].flatMap((decade) => [1, 2, 5].map((step) => step * decade));

  const decadeOf = (value) => 10 ** Math.floor(Math.log10(value) + SAME);

  /* A dot at the end of an axis must not be cut. */
  const linear = ({ start, end }) => (_plot, _low, high) => [start ?? 0, end ?? (high > 0 ? high * 1.04 : 1)];

  /* From the last step below all values to the first one above them. */
  function logarithmic(_plot, low, high) {
    if (low == null) return [1, 100];
    const above = (value) => decadeOf(value) * STEPS.find((step) => value / decadeOf(value) <= step * (1 + SAME));
    const below = decadeOf(low) * STEPS.findLast((step) => low / decadeOf(low) >= step * (1 - SAME));
    return [below, Math.max(above(high), above(below * 1.5))];
  }

  /* The ticks of a logarithmic axis that have a number and a line; the others are null. */
  function shown(plot, ticks, index) {
    const { scale } = plot.axes[index];
    const room = Math.abs(plot.valToPos(10, scale) - plot.valToPos(5, scale));
    const steps = room >= ROOM[index] ? STEPS : [1, 10];
    return ticks.map((tick) => (steps.includes(Math.round(tick / decadeOf(tick))) ? tick : null));
  }

  const scale = (axis) =>
    axis.log ? { time: false, distr: 3, range: logarithmic } : { time: false, range: linear(axis) };

  function widthOf(plot, values, index, cycle) {
    const axis = plot.axes[index];
    if (cycle > 1) return axis._size;
    const longest = (values ?? []).reduce((most, one) => (one.length > most.length ? one : most), "");
    plot.ctx.font = axis.font[0];
    const text = longest ? plot.ctx.measureText(longest).width / devicePixelRatio : 0;
    return Math.ceil(axis.ticks.size + axis.gap + text + 2);
  }

  function axisOf({ log, whole }, more) {
    const line = { stroke: () => colour("line"), width: 1, ...(log ? { filter: shown } : {}) };
    return {
      labelFont: FONT,
      font: FONT,
      labelSize: 20,
      stroke: () => colour("faint"),
      grid: line,
      ticks: { ...line, size: 5 },
      values: (_plot, ticks) => ticks.map((tick) => (tick == null ? "" : number(tick))),
      ...(log ? { filter: shown } : {}),
      ...(whole ? { incrs: WHOLE } : {}),
      ...more,
    };
  }

  /* uPlot draws no line to a value between two gaps, so such a value gets a dot. */
  function alone(plot, index) {
    const values = plot.data[index];
    return values.flatMap((value, at) =>
      value != null && values[at - 1] == null && values[at + 1] == null ? [at] : []
    );
  }

  function seriesOf({ label, colour: name, as }) {
    const stroke = () => colour(name);
    const common = { label, stroke, value: (_plot, value) => number(value), width: 2, points: { show: false } };
    switch (as) {
      case "dots":
        return { ...common, paths: () => null, points: { show: true, size: DOT, width: 0, fill: stroke } };
      case "steps":
        // The series of a plot have different x: the nulls between are no gaps.
        return { ...common, spanGaps: true, paths: uPlot.paths.stepped({ align: 1 }) };
      case "bars":
        return { ...common, width: 0, fill: stroke, paths: uPlot.paths.bars({ size: [0.9], align: -1 }) };
      default:
        return { ...common, points: { show: true, filter: alone, size: DOT, width: 0, fill: stroke } };
    }
  }

  function shade(plot, bands) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.globalAlpha = 0.25;
    for (const band of bands) {
      const from = plot.valToPos(band.from, "x", true);
      const width = Math.max(SMALLEST_BAND * devicePixelRatio, plot.valToPos(band.to, "x", true) - from);
      ctx.fillStyle = colour(band.colour);
      ctx.fillRect(Math.min(from, bbox.left + bbox.width - width), bbox.top, width, bbox.height);
    }
    ctx.restore();
  }

  function mark(plot, marks) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = colour("c4");
    ctx.lineWidth = 1.5 * devicePixelRatio;
    ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
    for (const { at } of marks) {
      const x = plot.valToPos(at, "x", true);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  /* What is at the cursor, in words: the titles of bands and marks. */
  function titles(plot, { bands = [], marks = [] }) {
    const { left } = plot.cursor;
    if (left == null || left < 0) return "";
    const near = (at) => Math.abs(plot.valToPos(at, "x") - left) <= 4;
    const within = ({ from, to }) =>
      near(from) || near(to) || (from <= plot.posToVal(left, "x") && plot.posToVal(left, "x") <= to);
    return [...bands.filter(within), ...marks.filter(({ at }) => near(at))].map(({ title }) => title).join(" · ");
  }

  /** Draw *plot* into *figure* and return uPlot's object; *figure* has it as its property "plot". */
  function draw(figure, plot) {
    figure.plot?.destroy();
    for (const made of figure.querySelectorAll("figcaption, .under")) made.remove();
    const { bands = [], marks = [] } = plot;
    const under = Object.assign(document.createElement("p"), { className: "under" });
    figure.append(Object.assign(document.createElement("figcaption"), { textContent: plot.y.label }));
    const hooks = {
      drawClear: [(drawn) => shade(drawn, bands)],
      draw: [(drawn) => mark(drawn, marks)],
      setCursor: [(drawn) => (under.textContent = titles(drawn, plot))],
    };
    const options = {
      width: Math.max(200, figure.clientWidth),
      height: plot.height ?? 240,
      // Half of the number at the end of the axis is beyond it.
      padding: [12, 30, 0, 0],
      cursor: { drag: { x: true, y: false } },
      scales: { x: scale(plot.x), y: scale(plot.y) },
      axes: [axisOf(plot.x, { label: plot.x.label, size: 30 }), axisOf(plot.y, { size: widthOf })],
      series: [{ label: plot.x.label, value: (_plot, value) => number(value) }, ...plot.series.map(seriesOf)],
      hooks,
    };
    figure.plot = new uPlot(options, plot.data, figure);
    figure.plot.ctx.canvas.setAttribute("role", "img");
    figure.plot.ctx.canvas.setAttribute("aria-label", `${plot.y.label} by ${plot.x.label}`);
    if (bands.length || marks.length) figure.append(under);
    return figure.plot;
  }

  /** Draw *plot* into *figure* now, and again when its width or the colours change. */
  function keep(figure, plot) {
    draw(figure, plot);
    new ResizeObserver(() => {
      const width = Math.max(200, figure.clientWidth);
      if (width !== figure.plot.width) figure.plot.setSize({ width, height: figure.plot.height });
    }).observe(figure);
    // The legend takes its colours when it is made.
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      draw(figure, { ...plot, data: figure.plot.data });
    });
  }

  for (const source of document.querySelectorAll("figure.plot > script[type='application/json']")) {
    keep(source.parentElement, JSON.parse(source.textContent));
  }

  return { keep };
})();
