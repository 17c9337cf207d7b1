"use strict";
/* A slider and a number for each parameter of a function. */
const sliders = (() => {
  const STEPS = 200;
  let rows = [], shown = "";

  /**
   * Where a slider begins and ends and how it steps; `log` where it moves the distance from `origin` by factors.
   * Between two bounds it has all there is; above a lower bound 1/100 to 100 times the initial distance from it; else as much on
   * both sides of the initial value. Its steps are at round numbers. A number outside, in the field, moves the knob to the end.
   */
  function scale({ initial, bounds, entry }) {
    const low = bounds.find(([sign]) => ">≥".includes(sign))?.[1], high = bounds.find(([sign]) => "<≤".includes(sign))?.[1];
    if (low !== undefined && high !== undefined) return linear(low, high);
    if (low !== undefined && initial > low) {
      const middle = Math.log10(initial - low);
      return { low: -Infinity, high: Infinity, min: middle - 2, max: middle + 2, step: 0.01, log: true, origin: low };
    }
    const reach = Math.max(entry && initial !== 0 ? 0 : 2, 4 * Math.abs(initial));
    return linear(low ?? initial - reach, high ?? initial + reach);
  }

  function linear(low, high) {
    const rough = (high - low) / STEPS, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find((k) => k * power >= rough * 0.999) * power;
    return { low, high, min: round(Math.floor(low / step + 1e-9) * step), max: high, step: round(step), log: false, origin: 0 };
  }

  const round = (value) => Number(value.toPrecision(12));

  const toKnob = (s, value) => (s.log ? Math.log10(Math.max(value - s.origin, Number.MIN_VALUE)) : value);
  const within = (s, value) => Math.min(s.high, Math.max(s.low, value));
  const fromKnob = (s, knob) => round(s.log ? s.origin + Number((10 ** knob).toPrecision(3)) : within(s, knob));

  /** Show the parameters of a function; `moved(symbol, value)` may throw what is wrong with a value. Rows stay while they fit. */
  function show(place, f, moved) {
    const kind = JSON.stringify([f.id, f.label, f.parameters]);
    if (kind !== shown) {
      shown = kind;
      rows = f.parameters.map((p, i) => row(p, `parameter-${i}`, moved));
      dom.show(place, rows.map((r) => r.element));
    }
    for (const r of rows) r.set(f.values[r.symbol]);
  }

  function row(p, id, moved) {
    const s = scale(p), { symbol } = p;
    const says = dom.make("p", { class: "says", id: `${id}-says`, role: "status" });
    const described = { "aria-describedby": says.id };
    const knob = dom.make("input", { type: "range", id, min: s.min, max: s.max, step: s.step, ...described });
    const field = { inputmode: "decimal", autocomplete: "off", spellcheck: "false", "aria-label": `${symbol}, exact value` };
    const number = dom.make("input", { ...field, ...described });
    const attempt = (read) => {
      try {
        moved(symbol, read());
      } catch (error) {
        number.setAttribute("aria-invalid", "true");
        says.textContent = error.message;
      }
    };
    knob.addEventListener("input", () => attempt(() => fromKnob(s, Number(knob.value))));
    number.addEventListener("change", () => attempt(() => numbers.read(number.value, symbol)));
    const set = (value) => {
      number.value = String(value);
      number.removeAttribute("aria-invalid");
      says.textContent = "";
      if (fromKnob(s, Number(knob.value)) !== value) knob.value = toKnob(s, value);
      knob.setAttribute("aria-valuetext", String(value));
    };
    const label = dom.make("label", { for: id }, numbers.symbol(symbol), dom.make("span", { class: "quiet" }, ` ${note(p)}`));
    return { symbol, set, element: dom.make("div", { class: "slider" }, label, knob, number, says) };
  }

  function note({ symbol, bounds, trainable }) {
    const limits = bounds.map(([sign, bound]) => `${sign} ${numbers.short(bound)}`).join(", ");
    const words = [numbers.symbol(symbol) === symbol ? "" : symbol, limits, trainable ? "" : "fixed unless you train it"];
    return words.filter(Boolean).join(" · ");
  }

  return { show };
})();
