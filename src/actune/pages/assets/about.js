"use strict";
/* What is known of the active function: name, source, formula, facts. */
const about = (() => {
  const named = (id) => document.getElementById(id);
  const quiet = (...children) => dom.make("p", { class: "quiet" }, ...children);
  const LEAST = 0.8; // the smallest type of a formula, in rem
  let mathematics = "";

  function show(f) {
    const { family, place } = f, notes = family?.notes;
    named("name").textContent = place !== null ? f.label : family ? family.name : "Your formula";
    dom.show(named("about"), place !== null ? learned(catalogue.model.places[place], f.parameters) : family ? source(family) : typed());
    dom.show(named("facts"), family ? facts(f) : null);
    dom.show(named("notes"), notes ? [dom.make("h3", {}, "Notes"), dom.make("p", {}, notes)] : null);
    if (mathematics !== f.formula) typeset(f.formula);
    mathematics = f.formula;
  }

  /** Show a formula as mathematics; a wide one in smaller type, as far as it can be read. */
  function typeset(formula) {
    const place = named("mathematics");
    dom.show(place, formulas.mathml(functions.derivatives(formula)[0]));
    place.style.fontSize = "";
    const fits = place.clientWidth / place.scrollWidth;
    if (fits < 1) place.style.fontSize = `${Math.max(LEAST, 1.3 * fits)}rem`;
  }

  const typed = () => dom.make("p", {}, "A formula that you typed: its input is x, all other names are parameters.");

  function source(family) {
    const link = catalogue.address(family.paper);
    return [
      dom.make("p", { class: "lead" }, family.summary),
      quiet("Source: ", link ? dom.make("a", { href: link, rel: "noreferrer" }, family.paper) : family.paper,
        family.reported ? " (known at second hand only)" : ""),
      family.aliases.length ? quiet(`Also called ${family.aliases.join(", ")}`) : null,
    ];
  }

  function learned(place, parameters) {
    const unlisted = parameters.map((p) => p.symbol).filter((symbol) => !Object.hasOwn(place.learned, symbol));
    return [
      dom.make("p", { class: "lead" }, `${place.says} with the values that your model ${catalogue.model.name} has learned.`),
      unlisted.length ? quiet(`The card does not list ${unlisted.join(", ")}: the initial values stand there.`) : null,
      place.gate ? quiet(`A gate: ${place.gate}.`) : null,
      place.inputs ? quiet("The bars under the curve show what it sees.") : null,
    ];
  }

  function facts({ family, values }) {
    if (!family.facts.length) return null;
    const isMoved = family.parameters.some((p) => p.initial !== values[p.symbol]);
    const when = isMoved ? "They hold at the initial values, from which you have moved." : "They hold at the initial values.";
    return [
      dom.make("h3", {}, "Facts"),
      dom.make("ul", { class: "facts" }, family.facts.map((fact) => dom.make("li", {}, fact))),
      family.parameters.length ? quiet(when) : null,
    ];
  }

  return { show };
})();
