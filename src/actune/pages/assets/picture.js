"use strict";
/* The curves of all visible functions, their slopes and curvatures, over what a place of the model sees. */
const picture = (() => {
  const place = document.getElementById("picture");
  const POINTS = 500, MOVING = 100; // on each side of 0, so that 0 and round numbers are met; fewer while something moves
  const DASHES = [undefined, [9, 5], [2, 4]], WORDS = ["", "slope of ", "curvature of "];
  const LEAP = 0.01, SUDDEN = 20; // a jump is more than this share of the window, and so many times what is usual beside it
  let drawn = null, kind = "", limits = [-1, 1], histogram = null;

  const abscissae = (window, count) => Float64Array.from({ length: 2 * count + 1 }, (_, i) => (window * (i - count)) / count);

  /** The curves of these orders, null where one below is not finite: 1/x is no slope of log(x) at x < 0. */
  function curvesOf(f, orders, x) {
    const all = Array.from({ length: Math.max(-1, ...orders) + 1 }, (_, order) => functions.evaluate(f, order, x));
    const isDefined = (i, order) => all.slice(0, order + 1).every((values) => Number.isFinite(values[i]));
    return orders.map((order) => Array.from(all[order], (v, i) => (isDefined(i, order) ? v : null)));
  }

  /** Lift the pen at poles and jumps, where the line would be vertical. */
  function lifted(values, height) {
    const steps = values.slice(1).map((v, i) => (v === null || values[i] === null ? 0 : Math.abs(v - values[i])));
    const usual = (i) => steps.slice(Math.max(0, i - 4), i + 5).sort((a, b) => a - b)[4] ?? 0;
    const isVertical = (i) => steps[i] > height || (steps[i] > LEAP * height && steps[i] > SUDDEN * usual(i));
    return values.map((v, i) => (i < steps.length && isVertical(i) ? null : v));
  }

  /** A window that shows all of tame curves and the part near 0 of those that grow fast. */
  function span(curves, window) {
    const seen = curves.flat().filter((v) => v !== null).map((v) => Math.max(-window, Math.min(window, v)));
    const low = seen.reduce((a, b) => Math.min(a, b), seen[0] ?? -1), high = seen.reduce((a, b) => Math.max(a, b), seen[0] ?? 1);
    const margin = 0.06 * Math.max(high - low, 0.5);
    return [low - margin, high + margin];
  }

  /** Draw a state; `pointed(x)` follows the pointer. */
  function show(state, pointed) {
    const x = abscissae(state.window, motion.isRunning() ? MOVING : POINTS), active = state.functions[state.active];
    const visible = state.functions.filter((f) => f.visible);
    const lines = visible.flatMap((f) => state.orders.map((order) => ({ f, order })));
    const curves = visible.flatMap((f) => curvesOf(f, state.orders, x));
    const seen = catalogue.model?.places[active.place]?.inputs;
    histogram = seen && seen.counts.length > 1 ? seen : null;
    limits = span(curves, state.window);
    const values = curves.map((c) => lifted(c, limits[1] - limits[0]));
    const series = lines.map(({ f, order }, i) => ({
      label: WORDS[order] + functions.title(f), values: values[i], colour: f.colour, dash: DASHES[order],
      width: f === active ? 2.5 : 1.75,
    }));
    const now = JSON.stringify([state.window, series.map((s) => [s.colour, s.dash ?? null, s.width])]);
    if (now === kind) drawn.update(x, values);
    else draw(state.window, x, series, pointed);
    kind = now;
    drawn.describe(description(state.window, series, active));
  }

  function draw(window, x, series, pointed) {
    drawn?.remove();
    drawn = plots.draw(place, {
      x: { label: "x", values: x, range: [-window, window] }, y: { label: "", range: () => limits }, series,
      height: innerWidth < 600 ? 300 : 430, legend: false, origin: true, histogram: () => histogram, pointed,
    });
  }

  function description(window, series, active) {
    const bars = histogram ? `; under them the inputs that ${catalogue.model.places[active.place].name} saw` : "";
    return `Curves for x from −${window} to ${window}: ${series.map((s) => s.label).join("; ") || "none"}${bars}`;
  }

  return { show };
})();
