"use strict";
/* Plots by uPlot, in the page's colours, which follow light and dark; each has a name for screen readers. */
const plots = (() => {
  const all = new Set();
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => all.forEach((u) => u.redraw()));

  function axis(label, more = {}) {
    return {
      label, labelSize: 22, labelFont: "12px system-ui, sans-serif", font: "12px system-ui, sans-serif", stroke: () => colour("quiet"),
      grid: { stroke: () => colour("line"), width: 0.5 }, ticks: { stroke: () => colour("line"), width: 0.5 }, ...more,
    };
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
            c.beginPath(); c.moveTo(at(u.data[0][k], "x"), at(low, "y")); c.lineTo(at(u.data[0][k], "x"), at(s.high[k], "y")); c.stroke();
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
   * Draw curves or points over x. Returns {update(x, values), remove(), figure}.
   *   place    the element to append to
   *   title    the caption, and `description` what a screen reader says of it
   *   x        {label, values, log, range: [low, high]}, y likewise without values
   *   series   [{label, values, colour: "s1" … "s8", dash, points, step, low, high}]; null where there is no value
   */
  function draw(place, { title = "", description = title, x, y, series, height = 260, legend = true }) {
    const figure = dom.make("figure", { class: "plot" }, title ? dom.make("figcaption", {}, title) : null);
    place.append(figure);
    series.forEach((s, i) => (s.colour ??= `s${(i % 8) + 1}`));
    const options = {
      width: Math.max(200, figure.clientWidth), height,
      scales: {
        x: { time: false, distr: x.log ? 3 : 1, ...(x.range ? { range: x.range } : {}) },
        y: { distr: y.log ? 3 : 1, ...(y.range ? { range: y.range } : {}) },
      },
      axes: [axis(x.label), axis(y.label, { size: 60 })],
      legend: { show: legend, live: true },
      cursor: { drag: { x: false, y: false } },
      series: [{ label: x.label }, ...series.map((s) => ({
        label: s.label, stroke: () => colour(s.colour), width: s.points ? 0 : 2, dash: s.dash, spanGaps: false,
        points: { show: Boolean(s.points), size: s.points === true ? 6 : s.points, fill: () => colour(s.colour) },
        ...(s.step ? { paths: uPlot.paths.stepped({ align: 1 }) } : s.points ? { paths: () => null } : {}),
      }))],
      hooks: { drawClear: [spread(series)] },
    };
    const u = new uPlot(options, [x.values, ...series.map((s) => s.values)], figure);
    u.root.querySelector("canvas").setAttribute("role", "img");
    u.root.querySelector("canvas").setAttribute("aria-label", description);
    const watch = new ResizeObserver(() => {
      if (figure.clientWidth > 0 && figure.clientWidth !== u.width) u.setSize({ width: figure.clientWidth, height });
    });
    watch.observe(figure);
    all.add(u);
    return {
      figure, plot: u,
      update: (xs, values) => u.setData([xs, ...values]),
      remove: () => { watch.disconnect(); all.delete(u); u.destroy(); figure.remove(); },
    };
  }

  return { draw, colour };
})();
