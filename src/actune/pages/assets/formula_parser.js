"use strict";
/* Reads formulas from text, as language/parser.py does: the same grammar, limits and messages. Nothing is executed. */
const formulaParser = (() => {
  const { FormulaError, OPS, ALIASES, SPACES, constant, symbol, apply, isComparison } = formulaNodes;
  const { shorten, shown, quoted, grouped, suggestion } = formulaNodes;
  const MAX_CHARACTERS = 20_000, MAX_NODES = 5_000, MAX_DEPTH = 100;
  const TOKEN = /[ \t-\r]*(?:(?<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?<name>[A-Za-z_]\w*)|(?<sign>\*\*|[<>=!]=|[-+*/^(),|<>]))/y;
  const LEADING = new RegExp(`^${SPACES.source}`), TRAILING = new RegExp(`${SPACES.source}$`);
  const INFIX = new Map([...OPS].filter(([, op]) => op.infix && op.arity === 2).map(([name, op]) => [op.infix, { name, ...op }]));

  /** The formula in a text such as `max(x*sigmoid(b*x), c*atan(x))`; a FormulaError points at the character that is wrong. */
  function parse(text) {
    if (typeof text !== "string") throw new FormulaError(`a formula must be text, got ${typeof text}`);
    const length = [...text].length;
    if (length > MAX_CHARACTERS) {
      throw new FormulaError(`a formula may have ${grouped(MAX_CHARACTERS)} characters, this one has ${grouped(length)}`);
    }
    return reader(text).formula();
  }

  function reader(text) {
    const tokens = []; // {kind, token, place}, places in UTF-16
    let at = 0, depth = 0, count = 0;

    function error(message, where = tokens[at].place) {
      const before = [...text.slice(0, where)], after = [...text.slice(where)], place = before.length; // in characters
      const left = `${place > 30 ? "…" : ""}${before.slice(-30).join("")}`;
      const around = `${left}»${after.slice(0, 30).join("")}${after.length > 30 ? "…" : ""}`;
      return new FormulaError(`cannot read the formula at character ${place + 1}, ${shorten(around, 150)}: ${message}`);
    }

    function split() {
      let place = 0;
      while (text.slice(place).replace(LEADING, "")) {
        TOKEN.lastIndex = place;
        const match = TOKEN.exec(text);
        if (!match) {
          place += text.slice(place).match(LEADING)?.[0].length ?? 0;
          throw error(`unexpected ${quoted(String.fromCodePoint(text.codePointAt(place)))}`, place);
        }
        const [kind, token] = Object.entries(match.groups).find(([, found]) => found !== undefined);
        place = TOKEN.lastIndex;
        tokens.push({ kind, token, place: place - token.length });
      }
      tokens.push({ kind: "end", token: "the end", place: text.replace(TRAILING, "").length });
    }

    function formula() {
      split();
      const e = expression(0);
      const { kind, token } = tokens[at];
      const product = kind === "sign" && token !== "(" ? "" : "; a product has its sign: 2*x";
      if (kind !== "end") throw error(`expected an operator or the end, got ${shown(token)}${product}`);
      if (isComparison(e)) throw error("a comparison is no activation function; use where(condition, a, b)", 0);
      return e;
    }

    function take(token) {
      const found = tokens[at].kind === "sign" && tokens[at].token === token;
      at += Number(found);
      return found;
    }

    function expect(token) {
      if (!take(token)) throw error(`expected '${token}', got ${shown(tokens[at].token)}`);
    }

    /** What `make` builds; an error of it is told with its place. */
    function placed(place, make) {
      try {
        return make();
      } catch (cause) {
        throw cause instanceof FormulaError ? error(cause.message, place) : cause;
      }
    }

    function build(place, name, ...args) {
      if (++count > MAX_NODES) throw error(`a formula may have ${grouped(MAX_NODES)} operations`, place);
      return placed(place, () => apply(name, ...args));
    }

    function expression(binds) {
      if (++depth > MAX_DEPTH) throw error(`a formula may be nested ${MAX_DEPTH} deep`);
      let e = prefix();
      while (tokens[at].kind === "sign") {
        const { token, place } = tokens[at], op = INFIX.get(token === "**" ? "^" : token);
        if (!op || op.binds < binds) break;
        at += 1;
        e = build(place, op.name, e, expression(op.name === "pow" ? op.binds : op.binds + 1));
        if (op.boolean) binds = op.binds + 1; // a < b < c is not a chain
      }
      depth -= 1;
      return e;
    }

    function prefix() {
      const { kind, token, place } = tokens[at];
      if (take("-")) return build(place, "neg", expression(4));
      if (take("+")) return expression(4);
      if (take("(")) {
        const e = expression(0);
        expect(")");
        return e;
      }
      if (take("|")) {
        const e = expression(0);
        expect("|");
        return build(place, "abs", e);
      }
      if (kind !== "number" && kind !== "name") throw error(`expected a number, a name, '-', '(' or '|', got ${shown(token)}`);
      at += 1;
      return kind === "name" ? named(token, place) : placed(place, () => constant(Number(token)));
    }

    function named(written, place) {
      const name = ALIASES.get(written) ?? written, op = OPS.get(name);
      if (!take("(")) {
        if (!op) return symbol(name);
        if (op.arity) throw error(`expected '(' after the function '${name}'`, place + written.length);
        return build(place, name);
      }
      if (!op) throw error(`unknown function ${shown(name)}${suggestion(name, [...OPS.keys(), ...ALIASES.keys()])}`, place);
      const args = [expression(0)];
      while (take(",")) args.push(expression(0));
      expect(")");
      while ((name === "max" || name === "min") && args.length > 2) args.splice(0, 2, build(place, name, args[0], args[1]));
      return build(place, name, ...args);
    }

    return { formula };
  }

  return { parse };
})();
