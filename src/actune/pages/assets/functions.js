"use strict";
/*
 * Functions as immutable data:
 *   family      the record of the catalogue, null for a formula that was typed in
 *   place       the number of a place of the model, null elsewhere
 *   label       a name
 *   formula     as text, without values
 *   parameters  [{symbol, initial, bounds: [[sign, number]], trainable, entry}]
 *   values      by symbol
 *   assumed     the parameters of a typed formula that got no value and so start at 1
 */
const functions = (() => {
  const KEPT = 40; // formulas with their derivatives
  const prepared = new Map();
  const initial = (parameters) => Object.fromEntries(parameters.map((p) => [p.symbol, p.initial]));
  const start = (label, { formula, parameters }, more) =>
    ({ family: null, place: null, label, formula, parameters, values: initial(parameters), assumed: [], ...more });

  /** A family at its initial values, but for those given. */
  const ofFamily = (record, values = {}) => withValues(start(record.name, record, { family: record }), values);

  /** What the model has learned at a place: the medians, or the values given. An error if the card has no formula for the place. */
  function ofPlace(index, values = null) {
    const place = catalogue.model?.places[index];
    if (!place) throw new Error(`the page has no place ${index} of a model`);
    if (!place.function) throw new Error(`the card has no formula for ${place.name} (${place.says})`);
    const f = place.function, family = catalogue.find(f.name) ?? null;
    const made = start(`${place.name}: ${f.name === f.formula ? place.says : f.name}`, f, { family, place: index });
    return values === null ? { ...made, values: { ...made.values, ...learned(place, null) } } : withValues(made, values);
  }

  /** The learned values of a place: those of one unit, or the medians. */
  function learned(place, unit) {
    const of = ({ median, values }) => (unit === null ? median : values[values.length === 1 ? 0 : unit]);
    const found = Object.entries(place.learned).map(([symbol, summary]) => [symbol, of(summary)]);
    return Object.fromEntries(found.filter(([, value]) => value !== null && value !== undefined));
  }

  // -- text

  /** The function in a text as `actune show` takes it, `x*sigmoid(b*x); b=1`. A name of a formula without a value starts at 1. */
  function read(text) {
    const [, body, rest] = /^([^;]*);?([^]*)$/.exec(text).map((part) => part.trim());
    const given = readValues(rest), family = catalogue.find(body);
    if (!body) throw new Error("write a formula of x, such as x*tanh(x), or the name of a function");
    if (family) return ofFamily(family, given);
    if (/^[A-Za-z_]\w*$/.test(body) && body !== "x" && body !== "pi")
      throw new Error(`unknown function '${body.slice(0, 40)}'; the list shows all, and the input of a formula is x`);
    const symbols = formulas.symbols(formulas.parse(body)).filter((s) => s !== "x");
    const parameters = symbols.map((symbol) => ({ symbol, initial: 1, bounds: [], trainable: true, entry: false }));
    const assumed = symbols.filter((symbol) => !Object.hasOwn(given, symbol));
    return withValues(start(body, { formula: body, parameters }, { assumed }), given);
  }

  function readValues(text) {
    const found = {};
    for (const part of text.split(",").map((p) => p.trim()).filter(Boolean)) {
      const [, name, number] = /^([A-Za-z_]\w*)\s*=\s*(.+)$/.exec(part) ?? [];
      if (!name) throw new Error(`cannot read '${part.slice(0, 40)}' after ';'; write it as b=1.0`);
      if (Object.hasOwn(found, name)) throw new Error(`${name} has two values after ';'; leave one out`);
      found[name] = numbers.read(number, name);
    }
    return found;
  }

  const valuesText = (f, only = () => true) => f.parameters.filter(only).map((p) => `${p.symbol}=${f.values[p.symbol]}`).join(", ");
  const joined = (body, values) => (values ? `${body}; ${values}` : body);

  /** The formula with all values, as `actune show` and `actune.resolve` take it. */
  const text = (f) => joined(f.formula, valuesText(f));

  /** The function in a link: a name or a formula or a place, and the values that are not initial. */
  function spec(f) {
    const body = f.place !== null ? `place ${f.place}` : f.family ? f.family.name : f.formula;
    return joined(body, valuesText(f, (p) => f.place !== null || !f.family || f.values[p.symbol] !== p.initial));
  }

  /** The function of a `spec`. */
  function ofSpec(text) {
    const [, place, values] = /^place (\d{1,6})(?:;(.*))?$/.exec(text) ?? [];
    return place === undefined ? read(text) : ofPlace(Number(place), readValues(values ?? ""));
  }

  /** A name for legends: that of the family with the values that were moved, or a formula; an ellipsis ends what is too long. */
  function title(f, most = 34) {
    const moved = f.parameters.filter((p) => f.values[p.symbol] !== p.initial || (!f.family && f.place === null));
    const values = moved.map((p) => `${numbers.symbol(p.symbol)} = ${numbers.short(f.values[p.symbol], 3)}`);
    const whole = [f.label, ...values].join(", ");
    return whole.length > most ? `${whole.slice(0, most - 1)}…` : whole;
  }

  // -- values

  /** The function at other values; an error for an unknown name, and for a value outside its bounds. */
  function withValues(f, values) {
    for (const [symbol, value] of Object.entries(values)) {
      const parameter = f.parameters.find((p) => p.symbol === symbol);
      const called = f.family ? f.family.name : "the formula", known = f.parameters.map((p) => p.symbol).join(", ") || "none";
      if (!parameter) throw new Error(`${called} has no parameter '${symbol.slice(0, 40)}' (it has ${known})`);
      const bounds = parameter.bounds.map(([sign, bound]) => `${sign} ${bound}`).join(" and ");
      if (!parameter.bounds.every((b) => isWithin(value, b))) throw new Error(`${symbol} must be ${bounds}, got ${value}`);
    }
    return { ...f, values: { ...f.values, ...values } };
  }

  function isWithin(value, [sign, bound]) {
    return sign === ">" ? value > bound : sign === "≥" ? value >= bound : sign === "<" ? value < bound : value <= bound;
  }

  const reset = (f) => (f.place === null ? { ...f, values: initial(f.parameters) } : ofPlace(f.place));

  /** The formula as Expr and its first two derivatives. */
  function derivatives(formula) {
    if (!prepared.has(formula)) {
      if (prepared.size >= KEPT) prepared.delete(prepared.keys().next().value);
      const e = formulas.parse(formula), first = formulas.diff(e, "x");
      prepared.set(formula, [e, first, formulas.diff(first, "x")]);
    }
    return prepared.get(formula);
  }

  /** The values of a function, of its slope (order 1) or of its curvature (order 2) at each x. */
  const evaluate = (f, order, x) => formulas.evaluate(derivatives(f.formula)[order], { x, ...f.values });

  /** The function itself, once it is sure that the page can draw it; else an error. */
  function drawable(f) {
    for (const order of [0, 1, 2]) evaluate(f, order, Float64Array.of(0.5));
    return f;
  }

  return { read, ofFamily, ofPlace, ofSpec, learned, withValues, reset, text, spec, title, derivatives, evaluate, drawable };
})();
