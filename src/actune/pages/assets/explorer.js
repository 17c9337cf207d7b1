"use strict";
/* The explorer: its one state, what changes it, and what is shown of it. */
const explorer = (() => {
  const named = (id) => document.getElementById(id);
  const ORDERS = [["f", "the function"], ["f′", "its slope"], ["f″", "its curvature"]];
  const STILL = 120, ADDRESS = 250; // milliseconds until what costs more follows, and until the address does
  let state = null;
  const timers = {};

  const active = () => state.functions[state.active];
  const withActive = (f) => ({ ...state, functions: state.functions.map((g, i) => (i === state.active ? { ...g, ...f } : g)) });

  // -- changing

  /** Show another state, and keep it in the address. */
  function change(next) {
    state = next;
    show();
    later("study", STILL, () => { if (!motion.isRunning()) rest(); });
    later("address", ADDRESS, () => history.replaceState(null, "", links.write(state)));
  }

  function later(name, wait, what) {
    clearTimeout(timers[name]);
    timers[name] = setTimeout(what, wait);
  }

  /** What stays as it was while something moves; the page can be used in between. */
  function rest() {
    study.measure(active());
    later("signal", 0, () => study.propagate(state, (gain) => change({ ...state, gain })));
  }

  /** Another function in place of the active one; an error if it cannot be drawn. */
  function replace(f) {
    functions.drawable(f);
    motion.stop();
    said("");
    change(withActive(f));
  }

  function add(f) {
    const next = links.added(state, functions.drawable(f));
    motion.stop();
    change(next);
    said(`${f.label} is in the picture, too.`);
  }

  /** Do what a click asks for; why it cannot be done is said. */
  function attempt(what) {
    try {
      what();
    } catch (error) {
      said(error.message);
    }
  }

  const moved = (values) => change(withActive(functions.withValues(active(), values)));

  const ofChips = {
    activate: (i) => { motion.stop(); change({ ...state, active: i }); },
    toggle: (i) => change({ ...state, functions: state.functions.map((f, k) => (k === i ? { ...f, visible: !f.visible } : f)) }),
    remove: (i) => {
      motion.stop();
      const left = state.functions.filter((_, k) => k !== i);
      change({ ...state, functions: left, active: Math.min(state.active - (state.active > i ? 1 : 0), left.length - 1) });
    },
  };

  const ofMovements = {
    moved, values: () => active().values, chosen: (family) => replace(functions.ofFamily(family)), rested: () => change(state),
  };

  const said = (text) => (named("message").textContent = text);

  // -- showing

  function show() {
    const f = active();
    picture.show(state, (x) => readout.point(Number(x.toPrecision(3))));
    readout.show(state.functions);
    about.show(f);
    if (!motion.isRunning()) code.show(f);
    chips.show(state, ofChips);
    entry.show(f);
    named("parameters").hidden = !f.parameters.length;
    sliders.show(named("sliders"), f, (symbol, value) => { motion.stop(); moved({ [symbol]: value }); });
    movements.show(f, ofMovements);
    [...named("orders").children].forEach((button, n) => button.setAttribute("aria-pressed", String(state.orders.includes(n))));
    named("window").value = String(state.window);
    if (catalogue.model) named("place").value = f.place === null ? "" : String(f.place);
    finder.mark(state.functions.filter((g) => g.family && g.place === null).map((g) => g.family.name));
  }

  // -- once

  function furnish() {
    finder.fill({
      choose: (family) => attempt(() => replace(functions.ofFamily(family))),
      add: (family) => attempt(() => add(functions.ofFamily(family))),
    });
    entry.listen(replace);
    readout.furnish(named("readout"), said);
    named("reset").addEventListener("click", () => replace(functions.reset(active())));
    named("orders").append(...ORDERS.map(([text, spoken], order) => orderButton(text, spoken, order)));
    named("window").append(...links.WINDOWS.map((w) => dom.make("option", { value: w }, String(w))));
    named("window").addEventListener("change", (event) => change({ ...state, window: Number(event.target.value) }));
    named("link").append(dom.copyButton(address, "Copy link"));
    if (catalogue.model) placeChoice(catalogue.model);
  }

  function orderButton(text, spoken, order) {
    const toggle = () => change({ ...state, orders: [0, 1, 2].filter((n) => state.orders.includes(n) !== (n === order)) });
    return dom.button({ "aria-label": spoken, title: `Draw ${spoken}`, class: `line${order}`, onclick: toggle }, text);
  }

  function address() {
    history.replaceState(null, "", links.write(state));
    return location.href;
  }

  function placeChoice({ name, places }) {
    const choose = ({ target }) => attempt(() => replace(functions.ofPlace(Number(target.value))));
    const text = (p) => `${p.name}: ${p.says}${p.function ? "" : " (no formula)"}`;
    const options = places.map((p, i) => dom.make("option", { value: i, disabled: !p.function }, text(p)));
    const none = dom.make("option", { value: "", disabled: true }, "choose a place");
    const select = dom.make("select", { id: "place", onchange: choose }, none, options);
    dom.show(named("model"), dom.make("label", {}, `In your model ${name} `, select));
    named("model").hidden = false;
  }

  /** The state that the address stands for; without one, or with a damaged one, the start. */
  function restore() {
    motion.stop();
    let found = null, damage = "";
    try {
      found = location.hash.length > 1 ? links.read(location.hash) : null;
    } catch (error) {
      damage = `This link is damaged: ${error.message}. Here is the start page.`;
    }
    change(found ?? links.start());
    said(damage);
  }

  furnish();
  restore();
  addEventListener("hashchange", restore);
  performance.mark("drawn");
  return { state: () => state };
})();
