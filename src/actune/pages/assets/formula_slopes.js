"use strict";
/* Derivatives of formulas by the rules of the table, as _diff of language/expr.py takes them: no product of slopes computes 0*inf,
   for a factor that is exactly zero on one side of a condition selects instead of being multiplied. */
const formulaSlopes = (() => {
  const { FormulaError, OPS, ARGUMENTS, ZERO, ONE, nodes, fold, expand, simple } = formulaNodes;
  const rules = new Map(), slopeRules = new Map(), known = new Map(), zeros = new Map();

  /** The derivative of this order in the named symbol; at a kink it is the one that torch takes. */
  function diff(e, wrt = "x", order = 1) {
    for (let i = 0; i < order; i++) e = once(expand(e), wrt);
    return e;
  }

  /** The derivative by the chain rule, from the leaves up: small inner slopes are multiplied before large outer ones. */
  function once(e, wrt) {
    const key = `${wrt} ${e.id}`;
    if (!known.has(key)) {
      const slope = new Map();
      for (const n of nodes(e)) {
        if (n.isLeaf) slope.set(n, n.op === "symbol" && n.args[0] === wrt ? ONE : ZERO);
        else if (n.op === "where") slope.set(n, simple("where", [n.args[0], slope.get(n.args[1]), slope.get(n.args[2])]));
        else slope.set(n, chain(n, n.args.map((a) => slope.get(a))));
      }
      known.set(key, slope.get(e));
    }
    return known.get(key);
  }

  function rulesOf(op) {
    if (!rules.has(op)) rules.set(op, OPS.get(op).grad.map(formulaParser.parse));
    return rules.get(op);
  }

  function slopeRuleOf(op) {
    if (!slopeRules.has(op)) slopeRules.set(op, formulaParser.parse(OPS.get(op).slope));
    return slopeRules.get(op);
  }

  /** The derivative of a node from those of its arguments. */
  function chain(n, slopes) {
    const values = new Map([...n.args.map((a, i) => [ARGUMENTS[i], a]), ["y", n]]);
    if (OPS.get(n.op).slope) {
      slopes.forEach((slope, i) => values.set(`d${ARGUMENTS[i]}`, slope));
      return fill(slopeRuleOf(n.op), values);
    }
    const found = rulesOf(n.op);
    if (!found.length && slopes.some((slope) => slope !== ZERO)) {
      throw new FormulaError(`${n.op} is a second derivative and has no derivative of its own: those of mittag_leffler exist up to `
        + "order 2; take further ones by finite differences");
    }
    // An argument without the symbol contributes nothing, even if the partial derivative is infinite.
    return slopes.reduce((total, slope, i) => (slope === ZERO ? total : plus(total, select(fill(found[i], values), slope))), ZERO);
  }

  /** The sum of two slopes; two choices with the same condition become one choice. */
  function plus(a, b) {
    if (a.op === "where" && b.op === "where" && a.args[0] === b.args[0]) {
      return simple("where", [a.args[0], plus(a.args[1], b.args[1]), plus(a.args[2], b.args[2])]);
    }
    return simple("add", [a, b]);
  }

  /** The rule with formulas in place of its symbols, simplified. */
  const fill = (rule, values) => fold(rule, (s) => (s.op === "symbol" ? values.get(s.args[0]) : s), (s, ...args) => simple(s.op, args));

  /** The product partial*slope, in which an exact zero on one side of a condition stays zero. */
  function select(partial, slope) {
    if (partial === ZERO || slope === ZERO) return ZERO;
    if (partial === ONE || slope === ONE) return partial === ONE ? slope : partial;
    for (const [number, other] of [[partial, slope], [slope, partial]]) if (number.op === "const") return times(number, other);
    return spread(slope, (s) => spread(partial, (p) => (p === ZERO || s === ZERO ? ZERO : simple("mul", [p, s]))));
  }

  function times(number, e) {
    if (e.op !== "where" || !e.args.includes(ZERO)) return simple("mul", [number, e]);
    return simple("where", [e.args[0], ...e.args.slice(1).map((a) => (a === ZERO ? a : simple("mul", [number, a])))]);
  }

  /** The parts that a factor may be multiplied into: the sides of a choice, the terms of a sum, what a number multiplies. */
  function parts(e) {
    if (e.op === "mul") return e.args[0].op === "const" ? [e.args[1]] : [];
    return e.op === "where" ? e.args.slice(1) : ["add", "sub", "neg"].includes(e.op) ? e.args : [];
  }

  /** The formula multiplied part by part by `times`, as far down as there are choices with a side that is exactly zero. */
  function spread(e, multiplied) {
    const done = new Map(), stack = [e];
    while (stack.length) {
      const n = stack[stack.length - 1], split = hasZero(n) ? parts(n) : [];
      const waiting = split.filter((p) => !done.has(p));
      if (waiting.length) {
        stack.push(...waiting);
      } else if (!done.has(stack.pop())) {
        done.set(n, split.length ? simple(n.op, n.args.map((a) => (split.includes(a) ? done.get(a) : a))) : multiplied(n));
      }
    }
    return done.get(e);
  }

  /** Whether this is a choice with a side that is exactly zero, or has such a choice among its parts. */
  function hasZero(e) {
    const stack = [e];
    while (stack.length) {
      const n = stack[stack.length - 1], waiting = zeros.has(n) ? [] : parts(n).filter((p) => !zeros.has(p));
      if (waiting.length) stack.push(...waiting);
      else if (!zeros.has(stack.pop())) zeros.set(n, parts(n).some((p) => (p === ZERO && n.op === "where") || zeros.get(p)));
    }
    return zeros.get(e);
  }

  return { diff };
})();
