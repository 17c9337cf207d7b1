"use strict";
/* The values of formulas over arrays. A formula becomes a list of steps, one per distinct node, which is kept; the step of an operator
   is a loop that formulaTable has, made from the operator's text in JavaScript. */
const formulaValues = (() => {
  const { FormulaError, nodes, expand, simplify } = formulaNodes;
  const plans = new Map(), MOST = 120; // plans that are kept, those used last, with the memory that their steps write to

  /** {leaves: [[slot, number or name]], steps: [[loop, slots of its arguments, slot of its result]], buffers}. */
  function plan(e) {
    const found = plans.get(e) ?? planned(e);
    plans.delete(e); // to be the last in the order of use
    plans.set(e, found);
    if (plans.size > MOST) plans.delete(plans.keys().next().value);
    return found;
  }

  function planned(e) {
    const all = nodes(simplify(expand(e))), slots = new Map(all.map((n, i) => [n, i]));
    const missing = all.find((n) => !n.isLeaf && !formulaTable.loops[n.op]);
    if (missing) throw new FormulaError(`${missing.op} has no form in JavaScript`);
    return {
      leaves: all.filter((n) => n.isLeaf).map((n) => [slots.get(n), n.args[0]]),
      steps: all.filter((n) => !n.isLeaf).map((n) => [formulaTable.loops[n.op], n.args.map((a) => slots.get(a)), slots.get(n)]),
      buffers: [],
    };
  }

  /** A buffer of the plan that lies there from the last time, if it has this length. */
  function buffer(buffers, slot, length) {
    if (buffers[slot]?.length !== length) buffers[slot] = new Float64Array(length);
    return buffers[slot];
  }

  /**
   * The values of a formula, as many as the longest array has, or one.
   *   values   for each of its symbols a number or a Float64Array; the arrays have one length
   */
  function evaluate(e, values) {
    const { leaves, steps, buffers } = plan(e), data = [];
    for (const [slot, leaf] of leaves) {
      const value = typeof leaf === "number" ? leaf : Object.hasOwn(values, leaf) ? values[leaf] : undefined;
      if (value === undefined) throw new FormulaError(`no value for '${leaf}'; give one`);
      data[slot] = typeof value === "number" ? Float64Array.of(value) : value;
    }
    const longest = Math.max(1, ...Object.values(values).map((v) => v.length ?? 1));
    steps.forEach(([loop, inputs, output], i) => {
      const length = Math.max(1, ...inputs.map((slot) => data[slot].length));
      const y = i === steps.length - 1 ? new Float64Array(length) : buffer(buffers, output, length);
      // A number is an array of one, whose index is masked to 0.
      loop(y, ...inputs.flatMap((slot) => [data[slot], data[slot].length === 1 ? 0 : -1]));
      data[output] = y;
    });
    const last = data[data.length - 1];
    if (last.length < longest) return new Float64Array(longest).fill(last[0]);
    return steps.length ? last : last.slice();
  }

  return { evaluate };
})();
