"use strict";
/* What moves the active function by itself: its sweep, the members of its form, the units of a model. */
const movements = (() => {
  const place = document.getElementById("movements");
  const PERIOD = 6, GLIDE = 1.2; // seconds
  let shown = "";

  /** moved(values) moves the active function, chosen(family) shows another, `values()` are the present ones. */
  function show(f, actions) {
    const kind = JSON.stringify([f.id, f.label]);
    if (kind === shown) return;
    shown = kind;
    const relatives = f.family && f.place === null ? catalogue.relatives(f.family) : [];
    dom.show(place,
      f.family?.sweep ? (motion.isReduced() ? stepper : player)(f.family.sweep, actions) : null,
      relatives.length > 1 ? members(relatives, actions) : null,
      f.place === null ? null : units(catalogue.model.places[f.place], actions));
  }

  /** A button that walks a parameter through its sweep and back, until it is pressed again. */
  function player([symbol, sweep], { moved, values, rested }) {
    const low = sweep[0], high = sweep.at(-1), button = dom.button({ id: "play" });
    const say = (text) => (button.textContent = `${text} ${numbers.symbol(symbol)} from ${low} to ${high}`);
    const play = () => {
      const share = Math.max(0, Math.min(1, (values()[symbol] - low) / (high - low)));
      const begun = (Math.acos(1 - 2 * share) / (2 * Math.PI)) * PERIOD; // where the wave has the present value
      say("❚❚ Pause");
      const step = (seconds) => moved({ [symbol]: rounded(low + (high - low) * motion.wave(seconds + begun, PERIOD)) });
      motion.run(step, () => { say("▶ Play"); rested(); });
    };
    button.addEventListener("click", () => (motion.isRunning() ? motion.stop() : play()));
    say("▶ Play");
    return button;
  }

  /** The button of those who prefer less motion: each press takes the next value of the sweep. */
  function stepper([symbol, sweep], { moved, values }) {
    const next = () => moved({ [symbol]: sweep.find((v) => v > values()[symbol]) ?? sweep[0] });
    return dom.button({ id: "play", onclick: next }, `Next ${numbers.symbol(symbol)} of ${sweep.join(", ")}`);
  }

  /** Buttons to the other members of a form: all parameters glide to theirs. */
  function members(relatives, { moved, values, chosen, rested }) {
    const glide = (member) => () => {
      const from = values(), to = Object.fromEntries(member.parameters.map((p) => [p.symbol, p.initial]));
      const between = (share) => Object.fromEntries(Object.keys(to).map((s) => [s, rounded(from[s] + share * (to[s] - from[s]))]));
      let there = motion.isReduced();
      if (there) return chosen(member);
      const step = (seconds) => {
        there = seconds >= GLIDE;
        moved(there ? to : between(motion.ease(seconds, GLIDE)));
        return !there;
      };
      motion.run(step, () => (there ? chosen(member) : rested()));
    };
    const buttons = relatives.map((member) => dom.button({ onclick: glide(member) }, member.name));
    const group = { class: "members", role: "group", "aria-label": "Members of this form" };
    return dom.make("div", group, dom.make("span", { class: "quiet" }, "Move to"), buttons);
  }

  const rounded = (value) => Number(value.toFixed(4));

  /** The choice among the units of a place that has learned a value for each. */
  function units(place, { moved }) {
    const most = Math.max(0, ...Object.values(place.learned).map((v) => v.values.length));
    if (most < 2) return null;
    const choose = (event) => moved(functions.learned(place, event.target.value === "" ? null : Number(event.target.value)));
    const options = Array.from({ length: most }, (_, i) => dom.make("option", { value: i }, `unit ${i + 1}`));
    const select = dom.make("select", { id: "unit", onchange: choose }, dom.make("option", { value: "" }, "the median"), options);
    return dom.make("label", {}, "Learned values of ", select);
  }

  return { show };
})();
