"use strict";
/* The active function as text, LaTeX, Python or C, to copy. */
const code = (() => {
  const place = document.getElementById("code");
  const expression = (f) => functions.derivatives(f.formula)[0];
  const FORMATS = [
    ["Text", functions.text],
    ["LaTeX", (f) => formulas.latex(expression(f))],
    ["Python", (f) => source(f, formulas.python), "python"],
    ["C", (f) => source(f, formulas.c), "c"],
  ];
  const written = dom.make("pre", { tabindex: 0 }), says = dom.make("p", { class: "quiet", id: "code-says" });
  let chosen = 0, shown = null;

  const buttons = FORMATS.map(([name], i) => dom.button({ onclick: () => { chosen = i; show(shown); } }, name));
  const choice = dom.make("div", { id: "format", class: "choice", role: "group", "aria-label": "Written as" }, buttons);
  const bar = dom.make("div", { class: "copybar" }, choice, dom.copyButton(() => written.textContent));
  dom.show(place, dom.make("h3", {}, "Take it with you"), bar, says, written);

  /** The function as source; at its initial values by the simpler form that some families have there. */
  function source(f, write) {
    const isInitial = f.parameters.every((p) => f.values[p.symbol] === p.initial);
    const simple = isInitial && f.family ? f.family.initial_form : null;
    return simple ? write(formulas.parse(simple), {}) : write(expression(f), f.values);
  }

  /** Show a function in the chosen format; where a language lacks a function, the command that writes one that comes near. */
  function show(f) {
    shown = f;
    const [name, write, target] = FORMATS[chosen];
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === chosen)));
    written.setAttribute("aria-label", `The function as ${name}`);
    says.textContent = "";
    try {
      written.textContent = write(f);
    } catch (error) {
      says.textContent = `${error.message}:`;
      const known = f.family && f.place === null ? functions.spec(f) : functions.text(f);
      written.textContent = `actune export '${known}' --to ${target}`;
    }
  }

  return { show };
})();
