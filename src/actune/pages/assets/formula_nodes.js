"use strict";
/* Formulas as immutable nodes {op, args}, of which equal ones are one object: build, walk, expand, simplify, text, plain data.
   What functions there are, formulaTable says. Each function here has its counterpart in language/expr.py. */
const formulaNodes = (() => {
  class FormulaError extends Error {
    constructor(message) {
      super(message);
      this.name = "FormulaError";
    }
  }

  const LARGEST = 1_000_000; // nodes as written out
  const NAME = /^[A-Za-z_]\w*$/;
  const ARGUMENTS = "abcdef"; // the names of a function's arguments in its rules and in its definition
  const OPS = new Map(Object.entries(formulaTable.ops)); // a Map, for `constructor` is no function of the language
  const ALIASES = new Map(Object.entries(formulaTable.aliases));
  const interned = new Map();

  function node(op, args) {
    const leaf = op === "const" || op === "symbol";
    const key = `${op} ${leaf ? args[0] : args.map((a) => a.id).join(" ")}`;
    let found = interned.get(key);
    if (!found) {
      found = Object.freeze({ op, args: Object.freeze([...args]), id: interned.size, isLeaf: leaf });
      interned.set(key, found);
    }
    return found;
  }

  function constant(value) {
    if (!Number.isFinite(value)) {
      const shown = Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
      throw new FormulaError(`a constant of a formula must be finite, got ${shown}; limits come from the functions themselves`);
    }
    return node("const", [value + 0]); // one zero: -0 + 0 is 0
  }

  function symbol(name) {
    if (!NAME.test(name) || OPS.has(name) || ALIASES.has(name)) {
      throw new FormulaError(`${shown(name)} cannot name a parameter: use letters, digits and _, and no name of a function`);
    }
    return node("symbol", [name]);
  }

  const lift = (value) => (typeof value === "number" ? constant(value) : value);
  const isComparison = (e) => !e.isLeaf && OPS.get(e.op).boolean;
  const children = (e) => (e.isLeaf ? [] : e.args);

  /** The formula name(...args), where numbers become constants; nothing is simplified, except that -2 is a constant. */
  function apply(name, ...given) {
    const op = ALIASES.get(name) ?? name, row = OPS.get(op);
    if (!row) throw new FormulaError(`unknown function ${shown(name)}${suggestion(name, [...OPS.keys(), ...ALIASES.keys()])}`);
    if (given.length !== row.arity) {
      throw new FormulaError(`${op} takes ${row.arity} argument${row.arity === 1 ? "" : "s"}, got ${given.length}`);
    }
    const args = given.map(lift);
    args.forEach((e, i) => {
      if (isComparison(e) === (op === "where" && i === 0)) return;
      const got = `'${shorten(text(e))}'`;
      throw new FormulaError(isComparison(e)
        ? `${op} needs a number as argument ${i + 1}, got the comparison ${got}; use where(condition, a, b)`
        : `where needs a comparison such as x > 0 as its first argument, got ${got}`);
    });
    return op === "neg" && args[0].op === "const" ? constant(-args[0].args[0]) : node(op, args);
  }

  // -- walks -----------------------------------------------------------------------------------------------------------------

  /** The distinct nodes, every one after its arguments; the formula itself is last. */
  function nodes(e) {
    const done = new Set(), stack = [e];
    while (stack.length) {
      const n = stack[stack.length - 1], waiting = children(n).filter((a) => !done.has(a));
      if (waiting.length) stack.push(...waiting.reverse());
      else done.add(stack.pop());
    }
    return [...done];
  }

  /** Compute bottom-up: leaf(e) at the leaves, above them inner(e, ...results of the arguments), once per distinct node. */
  function fold(e, leaf, inner) {
    const done = new Map();
    for (const n of nodes(e)) done.set(n, n.isLeaf ? leaf(n) : inner(n, ...n.args.map((a) => done.get(a))));
    return done.get(e);
  }

  const symbols = (e) => nodes(e).filter((n) => n.op === "symbol").map((n) => n.args[0]).sort();

  /** Replace symbols by formulas or numbers. */
  function substitute(e, values) {
    const leaf = (n) => (n.op === "symbol" && Object.hasOwn(values, n.args[0]) ? lift(values[n.args[0]]) : n);
    return fold(e, leaf, (n, ...args) => node(n.op, args));
  }

  const definitions = new Map();
  function definitionOf(op) {
    if (!definitions.has(op)) definitions.set(op, fromTrustedRows(OPS.get(op).definition));
    return definitions.get(op);
  }

  /** Write out the functions that are defined by a formula, so that only primitives remain. */
  function expand(e) {
    while (nodes(e).some((n) => !n.isLeaf && OPS.get(n.op).definition)) {
      e = fold(e, (n) => n, (n, ...args) => (OPS.get(n.op).definition
        ? substitute(definitionOf(n.op), Object.fromEntries(args.map((a, i) => [ARGUMENTS[i], a])))
        : node(n.op, args)));
    }
    return e;
  }

  // -- simplification ----------------------------------------------------------------------------------------------------------

  const ZERO = constant(0), HALF = constant(0.5), ONE = constant(1), TWO = constant(2), MINUS = constant(-1);
  const FOLD = {
    add: (a, b) => a + b, sub: (a, b) => a - b, mul: (a, b) => a * b, square: (a) => a * a, div: (a, b) => a / b, neg: (a) => -a,
  };
  const HOLDS = {
    "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b, "==": (a, b) => a === b,
    "!=": (a, b) => a !== b,
  };
  const even = (op) => (a) => (a.op === "neg" ? simple(op, a.args) : null);
  const same = (a, b) => (a === b ? a : null);

  // Each gives a simpler formula, or null.
  const NEUTRAL = {
    add(a, b) {
      if (a === ZERO || b === ZERO) return a === ZERO ? b : a;
      if (b.op === "const" && b.args[0] < 0) return simple("sub", [a, constant(-b.args[0])]);
      return b.op === "neg" ? simple("sub", [a, b.args[0]]) : null;
    },
    sub(a, b) {
      if (b === ZERO) return a;
      if (a === ZERO) return simple("neg", [b]);
      return b.op === "neg" ? simple("add", [a, b.args[0]]) : null;
    },
    mul(a, b) {
      for (const [one, other] of [[a, b], [b, a]]) {
        if (one === ONE) return other;
        if (one === MINUS) return simple("neg", [other]);
        if (one.op === "neg") return simple("neg", [simple("mul", one === a ? [one.args[0], other] : [other, one.args[0]])]);
      }
      return null;
    },
    div: (a, b) => (a.op === "neg" ? simple("neg", [simple("div", [a.args[0], b])]) : b === ONE ? a : null),
    pow: (a, b) => (b === ONE ? a : b === TWO ? node("square", [a]) : null),
    neg: (a) => (a.op === "neg" ? a.args[0] : null),
    where(c, a, b) {
      if (a === b) return a;
      if (a.op === "where" && a.args[0] === c) return simple("where", [c, a.args[1], b]);
      if (b.op === "where" && b.args[0] === c) return simple("where", [c, a, b.args[2]]);
      if (c.args.every((side) => side.op === "const")) return HOLDS[c.op](...c.args.map((side) => side.args[0])) ? a : b;
      if (c.op === "==" && b.op !== "const" && a === simple("mul", [HALF, b])) { // at a tie: one product, however it goes on
        return simple("mul", [simple("where", [c, HALF, ONE]), b]);
      }
      return null;
    },
    max: same, min: same, square: even("square"), abs: even("abs"),
    clip(a, b, c) {
      const mirrored = a.op === "neg" && b.op === "const" && c.op === "const" && b.args[0] === -c.args[0] && b.args[0] <= 0;
      return mirrored ? simple("neg", [simple("clip", [a.args[0], b, c])]) : null;
    },
  };

  /** The formula op(...args), with neutral elements dropped and constants folded. */
  function simple(op, args) {
    if (op in FOLD && args.every((a) => a.op === "const")) {
      const value = FOLD[op](...args.map((a) => a.args[0]));
      if (Number.isFinite(value)) return constant(value);
    }
    return NEUTRAL[op]?.(...args) ?? node(op, args);
  }

  const simplify = (e) => fold(e, (n) => n, (n, ...args) => simple(n.op, args));

  // -- text ----------------------------------------------------------------------------------------------------------------------

  /** Python's repr of a finite float: 0.1, 1.0, 1e-05. */
  function floatText(value) {
    const [digits, exponent] = value.toExponential().split("e"), e = Number(exponent);
    if (e >= -4 && e < 16) return Number.isInteger(value) ? `${value}.0` : String(value);
    return `${digits}e${e < 0 ? "-" : "+"}${String(Math.abs(e)).padStart(2, "0")}`;
  }

  /** The shortest text that reads back as this number. */
  const numberText = (value) => (Number.isInteger(value) && Math.abs(value) < 1e15 ? String(value) : floatText(value));

  const size = (e) => fold(e, () => 1, (n, ...sizes) => Math.min(sizes.reduce((a, b) => a + b, 1), LARGEST + 1));

  function text(e) {
    if (size(e) > LARGEST) {
      throw new FormulaError(`written out the formula has more than ${grouped(LARGEST)} nodes; keep it as JSON`);
    }
    const written = [], stack = [e];
    while (stack.length) {
      const n = stack.pop();
      if (typeof n === "string") written.push(n);
      else stack.push(...pieces(n).reverse());
    }
    return written.join("");
  }

  /** What a node is written as: its arguments, and the text between and around them. */
  function pieces(n) {
    if (n.isLeaf) return [n.op === "symbol" ? n.args[0] : numberText(n.args[0])];
    const op = OPS.get(n.op);
    if (!op.infix) return op.arity ? [n.op, "(", ...n.args.flatMap((a, i) => (i ? [", ", a] : [a])), ")"] : [n.op];
    if (op.arity === 1) return ["-", ...wrapped(n.args[0], 5)];
    const gap = op.binds >= 3 ? "" : " ", power = n.op === "pow";
    // The left of ^ and the right of every other sign must bind tighter than the sign itself: they group to the other side.
    const [left, right] = [0, 1].map((i) => op.binds + Number(power ? i === 0 : i === 1 || op.boolean));
    return [...wrapped(n.args[0], left), `${gap}${op.infix}${gap}`, ...wrapped(n.args[1], right)];
  }

  function wrapped(n, least) {
    const op = OPS.get(n.op);
    const binds = n.isLeaf ? (n.op === "const" && n.args[0] < 0 ? 4 : 9) : !op.infix ? 9 : op.arity === 1 ? 4 : op.binds;
    return binds >= least ? [n] : ["(", n, ")"];
  }

  // -- plain data ----------------------------------------------------------------------------------------------------------------

  function fromTrustedRows(rows) {
    const done = [];
    for (const [op, ...args] of rows) done.push(op === "const" || op === "symbol" ? node(op, args) : node(op, args.map((i) => done[i])));
    return done[done.length - 1];
  }

  /** The formula in plain data that Python's to_rows made; anything else is refused with a FormulaError. */
  function fromRows(rows) {
    const done = [];
    if (!Array.isArray(rows) || !rows.length) throw new FormulaError("cannot read the formula from JSON: a list of nodes is needed");
    rows.forEach((row, i) => {
      try {
        done.push(fromRow(row, done));
      } catch (error) {
        if (!(error instanceof FormulaError)) throw error;
        throw new FormulaError(`cannot read the formula from JSON: node ${i}: ${error.message}`);
      }
    });
    if (isComparison(done[done.length - 1])) {
      throw new FormulaError("cannot read the formula from JSON: a comparison is no activation function");
    }
    return done[done.length - 1];
  }

  function fromRow(row, before) {
    if (!Array.isArray(row) || typeof row[0] !== "string") throw new FormulaError("a node is a list of a function and its arguments");
    const [op, ...args] = row;
    if (op === "const" && args.length === 1 && typeof args[0] === "number") return constant(args[0]);
    if (op === "symbol" && args.length === 1 && typeof args[0] === "string") return symbol(args[0]);
    if (op === "const" || op === "symbol") throw new FormulaError(`${op} takes one ${op === "const" ? "number" : "name"}`);
    if (args.some((i) => !Number.isInteger(i) || i < 0 || i >= before.length)) {
      throw new FormulaError("an argument must be the index of an earlier node");
    }
    return apply(op, ...args.map((i) => before[i]));
  }

  // -- pieces of messages, as messages.py writes them --------------------------------------------------------------------------------

  const SPACES = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/g;

  /** A character as Python's repr shows it between quotes, where it cannot be printed; else itself. */
  function printable(c) {
    if (c === " " || !/[\p{C}\p{Z}]/u.test(c)) return c;
    const known = { "\n": "\\n", "\r": "\\r", "\t": "\\t" }[c], code = c.codePointAt(0);
    if (known) return known;
    const [mark, width] = code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
    return `\\${mark}${code.toString(16).padStart(width, "0")}`;
  }

  /** The text on one line, cut to this width; what cannot be printed is escaped. */
  function shorten(whole, width = 60) {
    const all = [...whole], begin = all.slice(0, 4 * width);
    const words = begin.join("").replace(SPACES, " ").replace(/^ | $/g, "");
    const line = [...[...words].map(printable).join("")];
    return line.length <= width && begin.length === all.length ? line.join("") : `${line.slice(0, width - 1).join("")}…`;
  }

  function quoted(whole) {
    const escaped = [...whole].map((c) => (c === "\\" ? "\\\\" : printable(c))).join("");
    if (!whole.includes("'")) return `'${escaped}'`;
    return whole.includes('"') ? `'${escaped.replaceAll("'", "\\'")}'` : `"${escaped}"`;
  }

  const shown = (value) => shorten(quoted(value));
  const grouped = (count) => count.toLocaleString("en-US");

  /** The text `; did you mean 'x'?`, or an empty one when no known name is near (Python's difflib.get_close_matches). */
  function suggestion(name, known) {
    if (name.length > 100) return "";
    let best = null, most = 0.6;
    for (const candidate of [...new Set(known)].sort()) {
      const ratio = (2 * matching(candidate, name)) / (candidate.length + name.length);
      if (ratio >= most) [best, most] = [candidate, ratio];
    }
    return best === null ? "" : `; did you mean '${best}'?`;
  }

  /** How many characters match: the longest common part, and what matches on both sides of it (Ratcliff and Obershelp). */
  function matching(a, b) {
    let size = 0, i = 0, j = 0;
    for (let p = 0; p < a.length; p++) {
      for (let q = 0; q < b.length; q++) {
        let k = 0;
        while (p + k < a.length && q + k < b.length && a[p + k] === b[q + k]) k++;
        if (k > size) [size, i, j] = [k, p, q];
      }
    }
    return size && size + matching(a.slice(0, i), b.slice(0, j)) + matching(a.slice(i + size), b.slice(j + size));
  }

  return {
    FormulaError, OPS, ALIASES, ARGUMENTS, ZERO, ONE, SPACES, node, constant, symbol, apply, isComparison, nodes, fold, symbols, substitute,
    expand, simple, simplify, size, floatText, numberText, text, fromRows, shorten, shown, quoted, grouped, suggestion,
  };
})();
