"use strict";

/* A waterfall: the parts of a request as bars on one axis of time, from what the browser and the headers say. */
const Waterfall = (() => {
  const STEPS = [1, 2, 5];
  const MOST_TICKS = 6;
  /* Width of the number at a tick, and of the columns before the axis, in pixels. */
  const TICK = 52;
  const BEFORE = 180;

  const element = (tag, properties, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };
  const ms = (value) => `${value < 100 ? value.toFixed(1) : Math.round(value)}`;

  /** Return name → milliseconds of the value of a Server-Timing header. */
  function serverTiming(header) {
    const entries = (header ?? "").split(",").map((entry) => entry.trim().match(/^([\w-]+);dur=([\d.]+)$/));
    return Object.fromEntries(entries.filter(Boolean).map(([, name, duration]) => [name, Number(duration)]));
  }

  /**
   * Return the bars of one request: name, start and end in milliseconds.
   *
   * Headers give lengths, not starts. The gateway's part ends when its answer arrives; each part inside another one is
   * put in its middle.
   */
  function barsOf({ headersMs, bodyMs, headers }) {
    const { total, upstream, queue } = serverTiming(headers.get("server-timing"));
    const fast = Number(headers.get("x-fastlane-time-ms") ?? NaN);
    const bars = [{ name: "browser", colour: "c6", from: 0, to: bodyMs }];
    const inside = (name, colour, length, [from, to]) => {
      const start = from + Math.max(0, to - from - length) / 2;
      bars.push({ name, colour, from: start, to: start + length });
      return [start, start + length];
    };
    if (total === undefined) return bars;
    let place = [Math.max(0, headersMs - total), Math.max(total, headersMs)];
    if (queue !== undefined) bars.push({ name: "queue", colour: "c2", from: place[0] - queue, to: place[0] });
    bars.push({ name: "total", colour: "c1", from: place[0], to: place[0] + total });
    if (!Number.isNaN(fast)) place = inside("fast lane", "c4", fast, place);
    if (upstream !== undefined) inside("upstream", "c3", upstream, place);
    return bars;
  }

  function ticksOf(end, most) {
    const decade = 10 ** Math.floor(Math.log10(end) - 1);
    const steps = [1, 10, 100].flatMap((factor) => STEPS.map((step) => step * factor * decade));
    const step = steps.find((one) => end / one < most);
    return Array.from({ length: Math.floor(end / step) + 1 }, (_, index) => index * step);
  }

  /** Fill *table* with *bars*. */
  function draw(table, bars) {
    // Half of the number at the end of the axis is beyond its tick.
    const end = Math.max(1, ...bars.map(({ to }) => to)) * 1.08;
    const share = (value) => `${(100 * Math.max(0, value)) / end}%`;
    const axis = element("div", { className: "ticks" });
    const room = Math.floor((table.parentElement.clientWidth - BEFORE) / TICK);
    for (const tick of ticksOf(end, Math.min(MOST_TICKS, Math.max(1.5, room)))) {
      const label = element("span", {}, tick.toLocaleString("en-GB"));
      label.style.left = share(tick);
      axis.append(label);
    }
    const rows = bars.map(({ name, colour, from, to }) => {
      const bar = element("span", { className: `bar ${colour}` });
      bar.style.left = share(from);
      bar.style.width = share(to - from);
      const title = element("th", { scope: "row" }, name);
      return element("tr", {}, title, element("td", {}, ms(to - from)), element("td", { className: "track" }, bar));
    });
    const head = [element("th", { scope: "col" }, "part"), element("th", { scope: "col" }, "ms")];
    head.push(element("th", { scope: "col", className: "track" }, axis));
    table.tHead.replaceChildren(element("tr", {}, ...head));
    table.tBodies[0].replaceChildren(...rows);
  }

  return { barsOf, draw, element };
})();
