"use strict";
/*
 * The state of the page, and its address: #f=swish;beta=2&f=relu&hide=1&active=1&show=02&window=10&gain=own
 *   state  {functions: [{…function, id, colour, visible}], active, orders: [0, 1], window, gain}
 */
const links = (() => {
  const WINDOWS = [1, 2, 5, 10, 20, 50, 100];
  const GAINS = ["1", "he", "own"];
  const KEYS = ["f", "hide", "active", "show", "window", "gain"];
  const MOST = 8; // functions at once, one per colour
  const LONGEST = 60_000; // characters
  const COLOURS = Array.from({ length: MOST }, (_, i) => `s${i + 1}`);
  let last = 0; // the number of the newest function

  const dressed = (f, colour, visible = true) => ({ ...f, id: ++last, colour, visible });

  /** The state without a link: the first place of the model, or a function with something to move. */
  function start() {
    const first = catalogue.model?.places.findIndex((p) => p.function) ?? -1;
    const f = first >= 0 ? functions.ofPlace(first) : functions.ofFamily(catalogue.find("swish"));
    return { functions: [dressed(f, "s1")], active: 0, orders: [0, 1], window: 5, gain: "he" };
  }

  /** One more function, in the first colour that is free. */
  function added(state, f) {
    const colour = COLOURS.find((c) => state.functions.every((g) => g.colour !== c));
    if (!colour) throw new Error(`${MOST} functions are in the picture; remove one first`);
    return { ...state, functions: [...state.functions, dressed(f, colour)], active: state.functions.length };
  }

  function write(state) {
    const p = new URLSearchParams(state.functions.map((f) => ["f", functions.spec(f)]));
    const hidden = state.functions.flatMap((f, i) => (f.visible ? [] : [i]));
    if (hidden.length) p.set("hide", hidden.join("."));
    if (state.active) p.set("active", state.active);
    if (state.orders.join("") !== "01") p.set("show", state.orders.join("") || "none");
    if (state.window !== 5) p.set("window", state.window);
    if (state.gain !== "he") p.set("gain", state.gain);
    return `#${p}`;
  }

  /** The state that a link stands for; an error that says what is wrong with it. */
  function read(hash) {
    if (hash.length > LONGEST) throw new Error("it is too long");
    const p = new URLSearchParams(hash.slice(1)), specs = p.getAll("f"), show = p.get("show") ?? "01";
    const strange = [...p.keys()].find((key) => !KEYS.includes(key));
    if (strange !== undefined) throw new Error(`it has the unknown part '${strange.slice(0, 30)}'`);
    if (!specs.length || specs.length > MOST) throw new Error(`it has ${specs.length} functions, and there can be 1 to ${MOST}`);
    if (!/^(none|(?=.)0?1?2?)$/.test(show)) throw new Error("it names a curve that there is not");
    const hidden = indices(p.get("hide") ?? "", specs.length), [active = 0] = indices(p.get("active") ?? "0", specs.length);
    return {
      functions: specs.map((spec, i) => dressed(functions.drawable(functions.ofSpec(spec)), COLOURS[i], !hidden.includes(i))),
      active,
      orders: show === "none" ? [] : [...show].map(Number),
      window: oneOf(Number(p.get("window") ?? 5), WINDOWS, "window"),
      gain: oneOf(p.get("gain") ?? "he", GAINS, "gain"),
    };
  }

  function indices(text, count) {
    const found = text.split(".").filter(Boolean).map(Number);
    const isThere = (i) => Number.isInteger(i) && i >= 0 && i < count;
    if (!found.every(isThere)) throw new Error("it names a function that it does not have");
    return found;
  }

  function oneOf(value, choices, what) {
    if (!choices.includes(value)) throw new Error(`its ${what} is none of ${choices.join(", ")}`);
    return value;
  }

  return { start, added, write, read, WINDOWS };
})();
