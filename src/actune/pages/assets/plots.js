"use strict";
/* Plots by uPlot, in the page's colours, which follow light and dark; each has a name for screen readers. */
const plots = (() => {
  const FONT = "12px system-ui, sans-serif";
  const all = new Map(); // plot -> its series
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => all.forEach(recolour));

  /** Draw again in the colours that hold now; the legend has its own. */
  function recolour(series, u) {
    const markers = [...u.root.querySelectorAll(".u-marker")].slice(-series.length);
    markers.forEach((marker, i) => (marker.style.background = colour(series[i].colour)));
    u.redraw();
  }

  /** A value for the legend. */
  const shown = (v) => (v === null || v === undefined ? "" : String(Number(v.toPrecision(4))).replace("-", "−"));

  function axis(label, more = {}) {
    return {
      ...(label ? { label, labelSize: 20, labelGap: 0, labelFont: FONT } : {}), font: FONT, stroke: () => colour("quiet"),
      grid: { stroke: () => colour("line"), width: 0.5 }, ticks: { stroke: () => colour("line"), width: 0.5 }, ...more,
    };
  }

  /** The ticks of a short logarithmic axis: 1, 2, 5, 10, …, or more. */
  function between(low, high) {
    const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high));
    const digits = high / low < 10 ? [1, 1.5, 2, 3, 4, 5, 6, 8] : [1, 2, 5];
    const all = Array.from({ length: last - first + 1 }, (_, k) => digits.map((m) => m * 10 ** (first + k))).flat();
    return all.filter((v) => v >= low * (1 - 1e-9) && v <= high * (1 + 1e-9));
  }

  const scientific = (v) => v.toExponential(0).replace("+", "").replace("-", "−");

  /** What the axis of a logarithmic scale has: a few powers of ten, as many digits apart as the plot has room for. */
  const powers = {
    splits: (u, i, low, high) => {
      if (high / low < 1000) return between(low, high);
      const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
      const step = Math.max(1, Math.ceil((last - first) / (u.bbox.height / devicePixelRatio / 40)));
      const count = Math.max(0, Math.floor((last - first) / step) + 1);
      return Array.from({ length: count }, (_, k) => 10 ** (last - k * step)).reverse();
    },
    filter: (u, splits) => splits,
    values: (u, splits) => splits.map((v) => (v >= 1e-3 && v <= 1e4 ? String(Number(v.toPrecision(3))) : scientific(v))),
  };

  /** Draw a histogram under the lines, on the axis of x, at most a third as high as the plot. */
  function bars(histogram) {
    return (u) => {
      const { edges, counts } = histogram() ?? { edges: [], counts: [] };
      const most = Math.max(...counts), width = (edges[1] - edges[0]) / counts.length;
      const c = u.ctx, { top, height } = u.bbox, at = (v) => u.valToPos(v, "x", true);
      c.save();
      c.beginPath(); c.rect(u.bbox.left, top, u.bbox.width, height); c.clip();
      c.fillStyle = colour("bars");
      counts.forEach((count, k) => {
        const left = at(edges[0] + k * width), tall = (count / most) * (height / 3);
        c.fillRect(left, top + height - tall, Math.max(1, at(edges[0] + (k + 1) * width) - left - devicePixelRatio), tall);
      });
      c.restore();
    };
  }

  /** Draw the two axes through 0. */
  function zero(u) {
    const c = u.ctx, { left, top, width, height } = u.bbox, x = u.valToPos(0, "x", true), y = u.valToPos(0, "y", true);
    c.save();
    c.strokeStyle = colour("quiet"); c.globalAlpha = 0.6; c.lineWidth = devicePixelRatio; c.setLineDash([]);
    c.beginPath();
    if (x >= left && x <= left + width) { c.moveTo(x, top); c.lineTo(x, top + height); }
    if (y >= top && y <= top + height) { c.moveTo(left, y); c.lineTo(left + width, y); }
    c.stroke();
    c.restore();
  }

  /** Ticks of an axis at whole numbers, which may have names. */
  function whole(names) {
    return {
      incrs: [0, 1, 2, 3, 4, 5, 6].flatMap((e) => [1, 2, 5].map((k) => k * 10 ** e)),
      ...(names ? { values: (_, at) => at.map((v) => names[v - 1] ?? "") } : {}),
    };
  }

  const NEAR = 24; // pixels

  /** The index of the point that is nearest to the pointer; null where none is near. */
  function nearest(u, series) {
    const { left, top } = u.cursor;
    let found = null, least = NEAR ** 2;
    if (!(left >= 0)) return found;
    series.forEach((s, k) => {
      if (!s.points || !u.series[k + 1].show) return;
      u.data[k + 1].forEach((v, i) => {
        if (v === null) return;
        const distance = (u.valToPos(u.data[0][i], "x") - left) ** 2 + (u.valToPos(v, "y") - top) ** 2;
        if (distance < least) [found, least] = [i, distance];
      });
    });
    return found;
  }

  /** The range of an axis on which values and what spreads around them have room. */
  function withSpread(series) {
    const all = series.flatMap((s) => [...s.values, ...(s.low ?? []), ...(s.high ?? [])]).filter((v) => v !== null);
    const [low, high] = [Math.min(...all), Math.max(...all)];
    const margin = 0.06 * (high - low || Math.abs(high) || 1);
    return [low - margin, high + margin];
  }

  /** Draw from low to high at each x, under the lines: a band for a line, a bar for points. */
  function spread(series) {
    return (u) => {
      series.forEach((s, i) => {
        if (!s.low || !u.series[i + 1].show) return;
        const c = u.ctx, at = (v, scale) => u.valToPos(v, scale, true);
        c.save();
        c.strokeStyle = c.fillStyle = colour(s.colour);
        c.lineWidth = 1.5 * devicePixelRatio;
        if (s.points) {
          s.low.forEach((low, k) => {
            if (low === null) return;
            const x = at(u.data[0][k], "x");
            c.beginPath(); c.moveTo(x, at(low, "y")); c.lineTo(x, at(s.high[k], "y")); c.stroke();
          });
        } else {
          c.globalAlpha = 0.15; c.beginPath();
          s.high.forEach((v, k) => c.lineTo(at(u.data[0][k], "x"), at(v, "y")));
          for (let k = s.low.length - 1; k >= 0; k--) c.lineTo(at(u.data[0][k], "x"), at(s.low[k], "y"));
          c.fill();
        }
        c.restore();
      });
    };
  }

  /**
   * Draw curves or points over x. Returns {figure, update(x, values), describe(text), remove()}.
   *   place    the element to append to
   *   title    the caption, and `description` what a screen reader says of it
   *   x        {label, values, log, range: [low, high] or a function that returns it, whole, names}, y likewise without values;
   *            `whole`: ticks at whole numbers only, which `names` calls by names, from 1 on
   *   series   [{label, values, colour: "s1" … "s8", width, dash, points, step, low, high}]; null where there is no value
   *   origin   whether the axes through 0 are drawn
   *   histogram  a function that returns {edges: [low, high], counts} to draw under the lines, or null
   *   pointed  is called with x where the pointer is, `pick` with the index of the point near it, null where none is
   *   live     whether the legend shows the values where the pointer is
   */
  function draw(place, {
    title = "", description = title, x, y, series, height = 260, legend = true, live = true, origin = false, histogram, pointed, pick,
  }) {
    const figure = dom.make("figure", { class: "plot" }, title ? dom.make("figcaption", {}, title) : null);
    place.append(figure);
    series.forEach((s, i) => (s.colour ??= `s${(i % 8) + 1}`));
    const range = y.range ?? (series.some((s) => s.low) ? () => withSpread(series) : null);
    const options = {
      width: Math.max(200, figure.clientWidth), height,
      scales: {
        x: { time: false, distr: x.log ? 3 : 1, ...(x.range ? { range: x.range } : {}) },
        y: { distr: y.log ? 3 : 1, ...(range ? { range } : {}) },
      },
      axes: [
        axis(x.label, { size: 34, ...(x.log ? powers : x.whole ? whole(x.names) : {}) }),
        axis(y.label, { size: 56, space: 40, ...(y.log ? powers : {}) }),
      ],
      legend: { show: legend, live, markers: { width: 0, fill: (u, i) => colour(series[i - 1].colour) } },
      cursor: { drag: { x: false, y: false } },
      series: [{ label: x.label, value: (u, v) => shown(v) }, ...series.map((s) => ({
        label: s.label, value: (u, v) => shown(v), stroke: () => colour(s.colour), width: s.points ? 0 : (s.width ?? 2),
        dash: s.dash, spanGaps: false, pxAlign: 0,
        points: { show: Boolean(s.points), size: s.points === true ? 6 : s.points, fill: () => colour(s.colour) },
        ...(s.step ? { paths: uPlot.paths.stepped({ align: 1 }) } : s.points ? { paths: () => null } : {}),
      }))],
      hooks: {
        drawClear: [...(origin ? [zero] : []), ...(histogram ? [bars(histogram)] : []), spread(series)],
        setCursor: [
          ...(pointed ? [(u) => u.cursor.left >= 0 && pointed(u.posToVal(u.cursor.left, "x"))] : []),
          ...(pick ? [(u) => pick(nearest(u, series))] : []),
        ],
      },
    };
    const u = new uPlot(options, [x.values, ...series.map((s) => s.values)], figure);
    const canvas = u.root.querySelector("canvas");
    const describe = (text) => canvas.setAttribute("aria-label", text);
    canvas.setAttribute("role", "img");
    describe(description);
    const watch = new ResizeObserver(() => {
      if (figure.clientWidth > 0 && figure.clientWidth !== u.width) u.setSize({ width: figure.clientWidth, height });
    });
    watch.observe(figure);
    all.set(u, series);
    return {
      figure, describe,
      update: (xs, values) => u.setData([xs, ...values]),
      remove: () => { watch.disconnect(); all.delete(u); u.destroy(); figure.remove(); },
    };
  }

  return { draw };
})();
