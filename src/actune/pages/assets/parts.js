"use strict";
/* What reports are put together from: numbers, formulas, facts, code to copy, and a table with intervals. */
const parts = (() => {
  const { make, makeIn } = dom;

  /** A number to so many digits; a dash for what is not known. */
  function number(value, digits = 4) {
    if (value === null || value === undefined) return "–";
    const [mantissa, exponent] = Number(value).toPrecision(digits).split("e");
    const short = mantissa.includes(".") ? mantissa.replace(/\.?0+$/, "") : mantissa;
    return minus(exponent ? `${short}e${Number(exponent)}` : short);
  }

  /** A formula as mathematics; null where the page cannot read it, such as one of a function that its reader has declared. */
  function mathematics(text) {
    try {
      return formulas.mathml(formulas.parse(text));
    } catch (error) {
      if (error instanceof formulas.FormulaError) return null;
      throw error;
    }
  }

  /** A count with thousands set apart. */
  const count = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
  const minus = (text) => text.replaceAll("-", "−");

  /** A number in the unit of a measure, as the tables of the command line print it. */
  const measured = (value, m, sign = "") => {
    const text = (m.scale * value).toFixed(m.digits);
    return minus(sign && m.scale * value >= 0 ? `${sign}${text}` : text);
  };

  /** A p-value, as the tables of the command line print it. */
  function pValue(p) {
    if (p === null) return "–";
    return p < 1e-9 ? "< 1e−9" : number(p, 2);
  }

  /** A section with its heading; its name is what a link leads to. */
  function section(name, title, ...children) {
    return make("section", { id: name, "aria-labelledby": `${name}-title` }, make("h2", { id: `${name}-title` }, title), ...children);
  }

  const paragraph = (...children) => make("p", {}, ...children);
  const quiet = (...children) => make("p", { class: "quiet" }, ...children);

  /** Text of a program with a button that copies it; `label` says to a screen reader what it is. */
  function code(text, label) {
    return make("div", { class: "code" }, make("pre", { tabindex: "0", "aria-label": label }, make("code", {}, text)), dom.copyButton(() => text));
  }

  /** Names with what is known under them. */
  function facts(pairs) {
    return make("dl", { class: "facts" }, pairs.map(([name, value]) => [
      make("dt", {}, name),
      make("dd", {}, value === null || value === undefined || value === "" ? make("span", { class: "quiet" }, "not recorded") : value),
    ]));
  }

  /** A table; a column is [heading, row -> cell, class]. On a phone each row becomes a block, whose cells bear their headings. */
  function table(caption, columns, rows) {
    const head = columns.map(([heading, , kind]) => make("th", { scope: "col", role: "columnheader", class: kind }, heading));
    const filled = (row, [heading, cell, kind]) => {
      const content = cell(row);
      return make("td", { role: "cell", class: content === "–" ? `${kind} unknown` : kind, "data-label": heading }, content);
    };
    const body = rows.map((row) => make("tr", { role: "row", class: row.className }, columns.map((column) => filled(row, column))));
    return make("table", { role: "table", class: "rows" },
      make("caption", { class: "visually-hidden" }, caption),
      make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, head)), make("tbody", { role: "rowgroup" }, body));
  }

  /** What is seldom asked for, to be opened. */
  const details = (summary, ...children) => make("details", {}, make("summary", {}, summary), ...children);

  /**
   * A bar for each interval over one scale, with zero or other places marked; `mark` is a diamond. Returns {bar(row), axis()}; a row is {low, mean, high, points, mark, kind},
   * numbers or null. Positions are shares of the width, so that it fits any.
   */
  function intervals(rows, marks = [0]) {
    const all = [...marks, ...rows.flatMap((r) => [r.low, r.mean, r.high, r.mark, ...(r.points ?? [])])].filter((v) => Number.isFinite(v));
    const [least, most] = [Math.min(...all), Math.max(...all)];
    const margin = 0.05 * (most - least || 1);
    const at = (v) => `${(100 * (v - least + margin)) / (most - least + 2 * margin)}%`;
    const drawing = (height, label, ...children) =>
      makeIn("svg", "svg", { class: "interval", width: "100%", height, ...(label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" }) }, ...children);
    const line = (x1, x2, y1, y2, kind) => makeIn("svg", "line", { x1, x2, y1, y2, class: kind });
    const zeros = (height) => marks.map((v) => line(at(v), at(v), 0, height, "zero"));

    function bar(r, label) {
      const mark = Number.isFinite(r.mark) ? makeIn("svg", "text", { x: at(r.mark), y: 18, "text-anchor": "middle", class: "mark" }, "◇") : null;
      if (!Number.isFinite(r.mean)) return drawing(28, null, ...zeros(28), mark);
      return drawing(28, label, ...zeros(28), mark,
        ...(r.points ?? []).filter((v) => Number.isFinite(v)).map((v) => makeIn("svg", "circle", { cx: at(v), cy: 23, r: 2, class: "one" })),
        Number.isFinite(r.low) ? line(at(r.low), at(r.high), 14, 14, `reach ${r.kind}`) : null,
        makeIn("svg", "circle", { cx: at(r.mean), cy: 14, r: 5, class: `mean ${r.kind}` }));
    }

    function axis(text) {
      const step = niceStep((most - least || 1) / 4);
      const ticks = [];
      for (let v = Math.ceil(least / step) * step; v <= most + 1e-9 * step; v += step) ticks.push(Math.abs(v) < step / 2 ? 0 : v);
      return drawing(20, null, ...ticks.map((v) => makeIn("svg", "text", { x: at(v), y: 14, "text-anchor": "middle" }, text(v))));
    }
    return { bar, axis };
  }

  /** The next of 1, 2, 5, 10, … that is not smaller. */
  function niceStep(least) {
    const power = 10 ** Math.floor(Math.log10(least));
    return power * [1, 2, 5, 10].find((k) => k * power >= least * (1 - 1e-9));
  }

  return { number, mathematics, count, measured, pValue, section, paragraph, quiet, code, facts, table, details, intervals };
})();
