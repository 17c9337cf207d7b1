"use strict";
/* Formulas as mathematics: MathML, which browsers set, and LaTeX, to copy. Both print one tree of boxes, which `boxed` makes. */
const formulaNotation = (() => {
  const { FormulaError, OPS, fold, size, numberText, grouped } = formulaNodes;
  const LONGEST = 3000; // nodes as written out: beyond, nobody reads it
  const GREEK = {
    alpha: "α", beta: "β", gamma: "γ", delta: "δ", epsilon: "ε", zeta: "ζ", eta: "η", theta: "θ", iota: "ι", kappa: "κ", lambda: "λ",
    mu: "μ", nu: "ν", xi: "ξ", pi: "π", rho: "ρ", sigma: "σ", tau: "τ", phi: "φ", chi: "χ", psi: "ψ", omega: "ω",
  };
  const SIGNS = { "<": "<", "<=": "≤", ">": ">", ">=": "≥", "==": "=", "!=": "≠" };
  const LATEX_SIGNS = { "≤": "\\le", "≥": "\\ge", "≠": "\\ne", "−": "-", "·": "\\cdot", "×": "\\times" };

  const escaped = (text) => text.replaceAll("_", "\\_");

  // How tightly a box binds: what binds less than its place needs gets parentheses. A choice has no end that one sees, so it binds least.
  const CHOICE = 0, COMPARISON = 1, SUM = 2, NEGATIVE = 3, PRODUCT = 4, FRACTION = 5, POWER = 6, ATOM = 7;

  const box = (kind, binds, parts, more = {}) => ({ kind, binds, parts, ...more });
  const sign = (text) => box("sign", ATOM, [], { text });
  const row = (binds, ...parts) => box("row", binds, parts);
  const upright = (text) => box("upright", ATOM, [], { text });
  const fraction = (a, b) => box("fraction", FRACTION, [flat(a), flat(b)]);
  const power = (a, b) => box("power", POWER, [least(a, ATOM), flat(b)]);
  const root = (a) => box("root", ATOM, [a]);
  const call = (name, args) => box("call", ATOM, [name, ...args]);
  const least = (a, binds) => (a.binds >= binds ? a : box("parentheses", ATOM, [a]));
  const digits = (n) => box("number", ATOM, [], { text: String(n) });
  const negative = (a) => row(NEGATIVE, box("minus", ATOM, []), least(a, PRODUCT));

  /** The box with a slash in place of each fraction, as exponents and the parts of a fraction have it: nothing gets tiny. */
  function flat(b) {
    const parts = b.parts.map(flat);
    if (b.kind !== "fraction") return { ...b, parts };
    const above = least(parts[0], NEGATIVE);
    return row(Math.min(above.binds, PRODUCT), above, sign("/"), least(parts[1], POWER));
  }

  /** Whether a box is higher than a line, so that brackets around it must grow. */
  function isTall(b) {
    if (b.kind === "fraction" || b.kind === "cases") return true;
    return (b.kind === "power" || b.kind === "subscript" ? b.parts.slice(0, 1) : b.parts).some(isTall);
  }

  const has = (b, kinds) => kinds.includes(b.kind) || b.parts.some((part) => has(part, kinds));

  function number(value) {
    if (value < 0) return negative(number(-value));
    const [mantissa, exponent] = numberText(value).split("e");
    if (exponent === undefined) return box("number", ATOM, [], { text: mantissa });
    const ten = power(digits(10), number(Number(exponent)));
    return mantissa === "1" ? ten : row(PRODUCT, box("number", ATOM, [], { text: mantissa }), sign("×"), ten);
  }

  /** A name: Greek letters as such, what follows an underscore and trailing digits as a subscript. */
  function name(text) {
    const found = /^([A-Za-z]+)(?:_?(\d+)|_([A-Za-z]\w*))$/.exec(text);
    if (!found) return letter(text);
    return box("subscript", ATOM, [letter(found[1]), found[2] ? digits(found[2]) : letter(found[3])]);
  }

  function letter(text) {
    if (Object.hasOwn(GREEK, text)) return box("letter", ATOM, [], { text: GREEK[text], latex: `\\${text}` });
    return box("letter", ATOM, [], { text, latex: text.length === 1 ? text : `\\mathrm{${escaped(text)}}` }); // browsers set words upright
  }

  const named = (op) => {
    const show = OPS.get(op)?.show ?? op;
    return Object.hasOwn(GREEK, show) ? box("upright", ATOM, [], { text: GREEK[show], latex: `\\${show}` }) : upright(show);
  };

  /** Whether a product needs a sign before this factor: 2·3, x·2, but 2x. */
  function beginsWithNumber(a) {
    return a.kind === "number" || (["row", "power"].includes(a.kind) && a.parts.length > 0 && beginsWithNumber(a.parts[0]));
  }

  function product(a, b) {
    const left = a.binds >= NEGATIVE ? a : least(a, PRODUCT), right = least(b, PRODUCT);
    const dotted = beginsWithNumber(right) || (left.kind === "fraction" && right.kind === "fraction");
    return row(left.binds === NEGATIVE ? NEGATIVE : PRODUCT, left, dotted ? sign("·") : box("times", ATOM, []), right);
  }

  /** The cases of a choice as [value, condition]; the last has no condition. A choice on its other side goes on. */
  const cases = (c, a, b) => box("cases", CHOICE, [a, c, ...(b.kind === "cases" ? b.parts : [b])]);

  /** E_{b,c}(a), or a derivative of it, whose orders in the three arguments the name ends in. */
  function mittagLeffler(op, [a, b, c]) {
    const orders = /_(\d)(\d)(\d)$/.exec(op), e = letter("E");
    const under = row(ATOM, b, sign(","), c);
    const over = orders && row(ATOM, sign("("), ...orders.slice(1).flatMap((n, i) => [...(i ? [sign(",")] : []), digits(n)]), sign(")"));
    return call(over ? box("both", ATOM, [e, under, over]) : box("subscript", ATOM, [e, under]), [a]);
  }

  const exponential = (a) => (has(a, ["call", "cases"]) ? call(upright("exp"), [a]) : power(upright("e"), a));
  const extreme = (op) => (a, b) => call(named(op), a.extreme === op ? [...a.parts.slice(1), b] : [a, b]);

  const SHAPES = {
    add: (a, b) => row(SUM, a.binds >= SUM ? a : least(a, SUM), sign("+"), b.binds === NEGATIVE ? least(b, PRODUCT) : least(b, SUM)),
    sub: (a, b) => row(SUM, least(a, SUM), sign("−"), least(b, PRODUCT)),
    mul: product, div: fraction, neg: negative, pow: power, square: (a) => power(a, digits(2)),
    reciprocal: (a) => fraction(digits(1), a), sqrt: root, abs: (a) => box("bars", ATOM, [a]),
    hypot: (a, b) => root(row(SUM, power(a, digits(2)), sign("+"), power(b, digits(2)))),
    exp: exponential, expm1: (a) => row(SUM, exponential(a), sign("−"), digits(1)),
    log1p: (a) => call(named("log"), [row(SUM, digits(1), sign("+"), a.binds === NEGATIVE ? least(a, PRODUCT) : least(a, SUM))]),
    sinc: (a) => call(named("sinc"), [product(letter("pi"), a)]), pi: () => letter("pi"), where: cases,
    max: (a, b) => ({ ...extreme("max")(a, b), extreme: "max" }), min: (a, b) => ({ ...extreme("min")(a, b), extreme: "min" }),
  };

  function shaped(op, args) {
    if (SHAPES[op]) return SHAPES[op](...args);
    if (SIGNS[op]) return row(COMPARISON, least(args[0], SUM), sign(SIGNS[op]), least(args[1], SUM));
    if (op.startsWith("mittag_leffler_ratio")) {
      return fraction(mittagLeffler(op, args.slice(0, 3)), mittagLeffler("", args.slice(3)));
    }
    return op.startsWith("mittag_leffler") ? mittagLeffler(op, args) : call(named(op), args);
  }

  function boxed(e) {
    const nodes = size(e);
    if (nodes > LONGEST) throw new FormulaError(`written out the formula has more than ${grouped(LONGEST)} parts; too many to be read`);
    return fold(e, (n) => (n.op === "symbol" ? name(n.args[0]) : number(n.args[0])), (n, ...args) => shaped(n.op, args));
  }

  // -- MathML --------------------------------------------------------------------------------------------------------------------

  const make = (tag, attributes, ...children) => dom.makeIn("math", tag, attributes, ...children);
  const fence = (text, grows) => make("mo", { fence: "true", stretchy: String(grows) }, text);
  const fenced = (b, left, right, ...parts) => [fence(left, b.parts.some(isTall)), ...parts, fence(right, b.parts.some(isTall))];
  const list = (parts) => parts.flatMap((part, i) => (i ? [make("mo", { separator: "true" }, ","), part] : [part]));

  const MATHML = {
    number: (b) => make("mn", {}, b.text),
    letter: (b) => make("mi", {}, b.text),
    upright: (b) => make("mi", { mathvariant: "normal" }, b.text),
    sign: (b) => make("mo", "()/".includes(b.text) ? { stretchy: "false", lspace: "0", rspace: "0" } : {}, b.text),
    minus: () => make("mo", { form: "prefix" }, "−"),
    times: () => make("mo", { lspace: "0", rspace: "0.12em" }, "\u2062"),
    row: (b, ...parts) => make("mrow", {}, ...parts),
    fraction: (b, above, below) => make("mfrac", {}, above, below),
    power: (b, base, above) => make("msup", {}, base, above),
    subscript: (b, base, below) => make("msub", {}, base, below),
    both: (b, base, below, above) => make("msubsup", {}, base, below, above),
    root: (b, a) => make("msqrt", {}, a),
    bars: (b, a) => make("mrow", {}, ...fenced(b, "|", "|", a)),
    parentheses: (b, a) => make("mrow", {}, ...fenced(b, "(", ")", a)),
    call: (b, f, ...args) => make("mrow", {}, f, make("mo", {}, "\u2061"), make("mrow", {}, ...fenced(b, "(", ")", ...list(args)))),
    cases(b, ...parts) {
      const rows = [];
      for (let i = 0; i < parts.length; i += 2) {
        const rest = i + 1 === parts.length;
        const words = make("mtext", {}, rest ? "otherwise" : "if\u00a0");
        rows.push(make("mtr", {}, cell(parts[i]), cell(words, rest ? null : parts[i + 1])));
      }
      return make("mrow", {}, fence("{", true), make("mtable", {}, ...rows));
    },
  };

  function cell(...children) {
    const found = make("mtd", {}, ...children);
    found.style.textAlign = "left"; // by the object, for the page's policy refuses the attribute
    return found;
  }

  const printed = (b, writers) => writers[b.kind](b, ...b.parts.map((part) => printed(part, writers)));

  /** The formula as an element <math>, which says the formula's text to who cannot see it. */
  function mathml(e) {
    return make("math", { displaystyle: "true" }, make("semantics", {}, printed(boxed(e), MATHML),
      make("annotation", { encoding: "application/x-tex" }, latex(e))));
  }

  // -- LaTeX ---------------------------------------------------------------------------------------------------------------------

  const COMMANDS = new Set(["sin", "cos", "sinh", "cosh", "tanh", "exp", "log", "max", "min"]);

  function bracketed(b, text, left = "(", right = ")") {
    return b.parts.some(isTall) ? `\\left${left}${text}\\right${right}` : left + text + right;
  }

  const LATEX = {
    number: (b) => b.text,
    letter: (b) => b.latex,
    upright: (b) => b.latex ?? (COMMANDS.has(b.text) ? `\\${b.text}` : b.text === "e" ? "e" : `\\operatorname{${escaped(b.text)}}`),
    sign: (b) => (LATEX_SIGNS[b.text] ? ` ${LATEX_SIGNS[b.text]} ` : "+=<>".includes(b.text) ? ` ${b.text} ` : b.text),
    minus: () => "-",
    times: () => " ",
    row: (b, ...parts) => parts.join("").trim(),
    fraction: (b, above, below) => `\\frac{${above}}{${below}}`,
    power: (b, base, above) => `${base}^{${above}}`,
    subscript: (b, base, below) => `${base}_{${below}}`,
    both: (b, base, below, above) => `${base}_{${below}}^{${above}}`,
    root: (b, a) => `\\sqrt{${a}}`,
    bars: (b, a) => bracketed(b, a, "|", "|"),
    parentheses: (b, a) => bracketed(b, a),
    call: (b, f, ...args) => `${f}${bracketed(b, args.join(", "))}`,
    cases(b, ...parts) {
      const rows = [];
      for (let i = 0; i < parts.length; i += 2) {
        rows.push(`${parts[i]} & ${i + 1 === parts.length ? "\\text{otherwise}" : `\\text{if } ${parts[i + 1]}`}`);
      }
      return `\\begin{cases} ${rows.join(" \\\\ ")} \\end{cases}`;
    },
  };

  const latex = (e) => printed(boxed(e), LATEX);

  return { mathml, latex };
})();
