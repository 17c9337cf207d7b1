"use strict";
/* Formulas as source to copy, one operator a line and each common part once, as the exporters of export/ write them; the texts of the
   operators come from those, by formulaTable. */
const formulaSource = (() => {
  const { FormulaError, OPS, node, constant, fold, nodes, expand, simplify, substitute, symbols, floatText } = formulaNodes;

  /** Replace each part without symbols by its number. */
  function folded(e) {
    return fold(e, (n) => n, (n, ...args) => {
      const found = node(n.op, args);
      if (OPS.get(n.op).boolean || n.op === "where" || args.some((a) => a.op !== "const")) return found;
      const [value] = formulaValues.evaluate(found, {});
      return Number.isFinite(value) ? constant(value) : found;
    });
  }

  /** {e, lines: [text of each node in order], result}; leaf and term write a leaf, and a node from the texts of its arguments. */
  function statements(formula, values, leaf, term) {
    const e = folded(simplify(expand(substitute(formula, values)))), lines = [];
    const result = fold(e, leaf, (n, ...texts) => `t${lines.push(term(n, texts)) - 1}`);
    return { e, lines, result, inner: nodes(e).filter((n) => !n.isLeaf) };
  }

  const filled = (form, texts) => form.replace(/\{(\d)\}/g, (_, i) => texts[i]);
  const parameters = (e) => symbols(e).filter((name) => name !== "x");
  const symbol = (name) => (name === "x" ? name : `v_${name}`); // which is no t0, and no word of the language
  const helpers = (inner, texts) => [...new Set(inner.flatMap((n) => texts(OPS.get(n.op)) ?? []))];

  function number(n, suffix = "") {
    return n.args[0] < 0 ? `(${floatText(n.args[0])}${suffix})` : `${floatText(n.args[0])}${suffix}`;
  }

  function lacking(op, place) {
    return new FormulaError(`${op} has no function in ${place}; actune export writes a formula that comes near`);
  }

  /** A function over torch; symbols without a value are its arguments after x. */
  function python(formula, values = {}) {
    const term = (n, texts) => {
      const forms = OPS.get(n.op).python;
      if (!forms) throw lacking(n.op, "torch");
      const which = n.args.reduce((bits, a) => 2 * bits + Number(a.op === "const"), 0);
      return filled(forms[which] ?? forms[0], texts);
    };
    const { e, lines, result, inner } = statements(formula, values, (n) => (n.op === "const" ? number(n) : symbol(n.args[0])), term);
    const given = ["x", ...parameters(e).map(symbol)].join(", "), parts = helpers(inner, (op) => op.pythonHelper);
    const isNumber = e.op === "const";
    const imports = ["import torch", ...(/\bF\./.test([...lines, ...parts].join()) ? ["import torch.nn.functional as F"] : []),
      ...(parts.length ? ["from torch import Tensor"] : [])];
    const body = [...lines.map((line, i) => `t${i} = ${line}`), `return ${isNumber ? `torch.full_like(x, ${result})` : result}`];
    return [imports.join("\n"), ...parts.map((part) => part.trimEnd()),
      [`def activation(${given}):`, ...body.map((line) => `    ${line}`)].join("\n")].join("\n\n\n") + "\n";
  }

  /** A function in C99, in double; symbols without a value are its arguments after x. */
  function c(formula, values = {}) {
    const term = (n, texts) => {
      const form = OPS.get(n.op).c;
      if (!form) throw lacking(n.op, "C");
      return filled(form, texts);
    };
    const { e, lines, result, inner } = statements(formula, values, (n) => (n.op === "const" ? number(n) : symbol(n.args[0])), term);
    const given = ["x", ...parameters(e).map(symbol)].map((name) => `double ${name}`).join(", ");
    const body = [...(symbols(e).includes("x") ? [] : ["(void)x;"]),
      ...lines.map((line, i) => `const ${OPS.get(inner[i].op).boolean ? "int" : "double"} t${i} = ${line};`), `return ${result};`];
    return ["#include <math.h>\n", ...helpers(inner, (op) => op.cHelpers).map((helper) => `${helper}\n`),
      `double activation(${given}) {`, ...body.map((line) => `    ${line}`), "}"].join("\n") + "\n";
  }

  return { python, c };
})();
