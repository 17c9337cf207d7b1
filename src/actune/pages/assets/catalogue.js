"use strict";
/* What the page was made with: the families, and the model whose card it shows, null without one. */
const catalogue = (() => {
  const { families, model } = dom.data();
  const known = new Map(families.flatMap((f) => [f.name, ...f.aliases].map((name) => [name.toLowerCase(), f])));
  const searched = new Map(families.map((f) => [f, [f.name, ...f.aliases, f.paper, f.summary].join(" ").toLowerCase()]));

  /** The family of this name or alias, undefined for an unknown one. */
  const find = (name) => known.get(name.toLowerCase());

  /** The families that have every word in their name, aliases, paper or summary, the nearest names first. */
  function search(text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const found = families.filter((f) => words.every((word) => searched.get(f).includes(word)));
    return words.length ? found.sort((a, b) => distance(a, words[0]) - distance(b, words[0])) : found;
  }

  function distance({ name, aliases }, word) {
    if (name === word || aliases.includes(word)) return 0;
    return name.startsWith(word) ? 1 : name.includes(word) ? 2 : 3;
  }

  /** The families that share a formula with this one, and differ in its values only; itself among them. */
  const relatives = (family) => families.filter((f) => f.parameters.length && f.formula === family.formula);

  /** The address of a paper on arXiv, null of any other. */
  function address(paper) {
    const found = /^arXiv:(\d{4}\.\d{4,5})$/.exec(paper);
    return found && `https://arxiv.org/abs/${found[1]}`;
  }

  return { families, model, find, search, relatives, address };
})();
