"use strict";
/* The values of all visible functions at one x. */
const readout = (() => {
  let at = 1, field = null, rows = null, last = [];

  /** Make the field and the table; `failed(text)` says what is wrong with a number. */
  function furnish(place, failed) {
    const typed = () => {
      try {
        point(numbers.read(field.value, "x"));
      } catch (error) {
        field.setAttribute("aria-invalid", "true");
        failed(error.message);
      }
    };
    field = dom.make("input", { id: "at", inputmode: "decimal", autocomplete: "off", onchange: typed });
    rows = dom.make("tbody", { id: "values" });
    const heads = ["f(x)", "f′(x)", "f″(x)"].map((text) => dom.make("th", { class: "number", scope: "col" }, text));
    const head = dom.make("thead", {}, dom.make("tr", {}, dom.make("th", { scope: "col" }, "function"), heads));
    const table = dom.make("div", { class: "scroll" }, dom.make("table", {}, head, rows));
    dom.show(place, dom.make("label", {}, "Values at x = ", field), table);
  }

  /** Show the values at another x. */
  function point(x) {
    at = x;
    field.value = String(at);
    field.removeAttribute("aria-invalid");
    show(last);
  }

  function show(list) {
    last = list;
    field.value ||= String(at);
    dom.show(rows, list.filter((f) => f.visible).map(row));
  }

  function row(f) {
    const digits = innerWidth < 600 ? 6 : 10, x = Float64Array.of(at);
    const text = (order) => numbers.short(functions.evaluate(f, order, x)[0], digits);
    const cells = [0, 1, 2].map((order) => dom.make("td", { class: "number" }, text(order)));
    const swatch = dom.make("span", { class: "swatch", "aria-hidden": "true" });
    return dom.make("tr", { class: f.colour }, dom.make("th", { scope: "row" }, swatch, functions.title(f)), cells);
  }

  return { furnish, point, show };
})();
