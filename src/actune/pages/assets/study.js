"use strict";
/* What the active function does in numbers, to a normal input, and to a signal in a deep network. */
const study = (() => {
  const named = (id) => document.getElementById(id);
  const GAINS = [["1", "1"], ["he", "√2 (He)"], ["own", "its own"]];
  const HUGE = 1e300; // beyond it nothing can be drawn
  const RANGES = "Lowest value, steepest slope and fixed points are those on [−10, 10]; normal inputs are from N(0, 1).";
  const METHOD = "Computed, not simulated: in a very wide network without biases, with weights from N(0, gain²/width) and " +
    "inputs of variance 1, what enters each layer is normal, and its variance q becomes gain² E f(√q z)², z from N(0, 1), by " +
    "quadrature. The function's own gain is 1/√E f(z)².";
  const KEPT = 32; // functions of which the way through the layers is kept
  const known = new Map();
  let drawn = [];

  const shape = (f) => [(x) => functions.evaluate(f, 0, x), (x) => functions.evaluate(f, 1, x)];

  // -- numbers

  /** Show the numbers of a function. */
  function measure(f) {
    const [value, slope] = shape(f), { saturated, dead } = signal.shares(slope), { short, percent } = numbers;
    const zero = Float64Array.of(0), low = measures.lowest(value), rows = [
      ["At 0", `value ${short(value(zero)[0])}, slope ${short(slope(zero)[0])}`],
      ["Lowest value", low ? `${short(low.value)} at x = ${short(low.x)}` : "none is finite"],
      ["Lipschitz constant", steepness(measures.lipschitz(value, slope))],
      ["Fixed points", measures.fixedPoints(value, slope).map(fixedPoint).slice(0, 8).join("; ") || "none"],
      ["Saturated", `${percent(saturated)} of normal inputs: slope below 0.01`],
      ["Dead", `${percent(dead)} of normal inputs: slope exactly 0`],
      ...(f.place === null ? [] : seen(catalogue.model.places[f.place].inputs)),
    ];
    const cells = ([name, text]) => dom.make("tr", {}, dom.make("th", { scope: "row" }, name), dom.make("td", {}, text));
    dom.show(named("measures"), dom.make("h3", {}, "In numbers"),
      dom.make("table", { class: "rows" }, dom.make("tbody", {}, rows.map(cells))),
      dom.make("p", { class: "quiet small" }, RANGES));
  }

  function steepness(found) {
    if (!found) return "unknown: no slope is finite";
    const where = `at x = ${numbers.short(found.x)}`;
    return found.value === Infinity ? `none: it jumps ${where}` : `${numbers.short(found.value)}, the steepest slope, ${where}`;
  }

  function fixedPoint({ x, slope, from, to }) {
    if (x === undefined) return `all of [${numbers.short(from)}, ${numbers.short(to)}]`;
    const kind = Math.abs(slope) < 1 ? "attracts" : Math.abs(slope) > 1 ? "repels" : "neutral";
    return `x = ${numbers.short(x)} (slope ${numbers.short(slope, 3)}, ${kind})`;
  }

  function seen(inputs) {
    if (!inputs) return [["In the model", "the card saw no inputs here"]];
    const { count, infinite, low, high, mean, deviation, saturated, units, dead } = inputs, { short, percent } = numbers;
    const range = `from ${short(low)} to ${short(high)}, mean ${short(mean)}, deviation ${short(deviation)}`;
    const wild = infinite ? `; ${infinite.toLocaleString("en")} infinite or nan` : "";
    return [
      ["Inputs in the model", `${count.toLocaleString("en")} ${low === null ? "" : range}${wild}`],
      ["Saturated there", `${percent(saturated)} of the inputs`],
      ["Dead there", `${percent(dead)} of ${units} units`],
    ];
  }

  // -- a signal through layers

  /** Show the way of a signal through layers; `chosen(gain)` takes another gain. */
  function propagate(state, chosen) {
    const active = state.functions[state.active];
    const runs = state.functions.filter((f) => f.visible || f === active).map((f) => ({ f, ...propagated(f, state.gain) }));
    const { own, layers } = runs.find((r) => r.f === active);
    if (!named("gain")) furnish(chosen);
    named("gain").lastElementChild.textContent = `its own: ${numbers.short(own)}`;
    named("gain").value = state.gain;
    named("signal-says").textContent = ending(functions.title(active), layers);
    draw(runs);
  }

  function propagated(f, gain) {
    const key = `${gain} ${functions.text(f)}`;
    if (known.has(key)) return known.get(key);
    const [value, slope] = shape(f), own = signal.ownGain(value);
    if (known.size >= KEPT) known.delete(known.keys().next().value);
    known.set(key, { own, layers: signal.layers(value, slope, { 1: 1, he: Math.SQRT2, own }[gain]) });
    return known.get(key);
  }

  function furnish(chosen) {
    const options = GAINS.map(([value, text]) => dom.make("option", { value }, text));
    const select = dom.make("select", { id: "gain", onchange: (event) => chosen(event.target.value) }, options);
    dom.show(named("signal"), dom.make("h3", {}, `A signal through ${signal.LAYERS} layers`),
      dom.make("label", { class: "gain" }, "Gain of the weights ", select), dom.make("div", { id: "signal-plot" }),
      dom.make("p", { id: "signal-says" }), dom.make("p", { class: "quiet small" }, METHOD));
  }

  function ending(name, layers) {
    const last = layers.at(-1), growth = layers.reduce((product, l) => product * l.gradient, 1);
    if (!Number.isFinite(last.variance) || !Number.isFinite(growth)) return `With ${name} the signal overflows on its way.`;
    const change = `squared gradients have been multiplied by ${numbers.short(growth, 3)}`;
    return `With ${name} the variance is ${numbers.short(last.variance, 3)} after ${layers.length} layers, and ${change}.`;
  }

  function draw(runs) {
    const all = (key) => runs.map(({ layers }) => layers.map((l) => (Math.abs(l[key]) < HUGE ? l[key] : null)));
    const sizes = all("variance").flat().filter((v) => v > 0), log = Math.max(...sizes) > 100 * Math.min(...sizes);
    const variances = all("variance").map((values) => values.map((v) => (log && v <= 0 ? null : v)));
    const range = (u, low, high) => [0, Math.max(high, 1e-9) * 1.08];
    drawn.forEach((plot) => plot.remove());
    drawn = [
      plot("Mean of the outputs", runs, all("mean"), {}),
      plot(`Variance of the outputs${log ? ", logarithmic" : ""}`, runs, variances, log ? { log } : { range }),
    ];
  }

  function plot(title, runs, values, y) {
    const x = { label: "layer", values: Array.from({ length: signal.LAYERS }, (_, i) => i + 1) };
    const series = runs.map(({ f }, i) => ({ label: functions.title(f), values: values[i], colour: f.colour, points: 5 }));
    return plots.draw(named("signal-plot"), { title, x, y, series, height: 190, legend: false });
  }

  return { measure, propagate };
})();
