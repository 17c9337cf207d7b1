"use strict";
/* Claims of papers beside what was measured, drawn from the data in the page. */
const claims = (() => {
  const { make } = dom;
  const { number, count, measured, section, paragraph, quiet, facts, table, details, intervals } = parts;
  const data = dom.data();
  const [REPRODUCED, NOT_REPRODUCED] = data.statuses;
  const KIND = { [REPRODUCED]: "good", [NOT_REPRODUCED]: "bad" };
  const arxiv = (p) => (p.arxiv ? make("a", { href: `https://arxiv.org/abs/${p.arxiv}`, rel: "noreferrer" }, `arXiv:${p.arxiv}`) : null);
  const all = (p) => Object.values(p.verdicts).reduce((a, b) => a + b, 0);

  function head() {
    const total = (status) => data.papers.reduce((n, p) => n + p.verdicts[status], 0);
    const many = data.papers.reduce((n, p) => n + all(p), 0);
    return make("header", {}, make("p", { class: "quiet" }, "Claims beside measurements"), make("h1", {}, "The papers, reproduced"),
      make("p", { class: "verdict" }, `Of ${count(many, "claim")} in ${count(data.papers.length, "paper")}, ${total(REPRODUCED)} are reproduced and ${total(NOT_REPRODUCED)} are not; `
        + `for ${many - total(REPRODUCED) - total(NOT_REPRODUCED)} the runs that are there decide nothing.`),
      quiet("A verdict is computed from runs. Reproduced: the measurements show what is claimed. Not reproduced: they exclude it. Not testable at this scale: the interval "
        + "contains both. Intervals cover 95 %, differences are paired by seed, tests are corrected within an experiment."),
      table("Verdicts by paper", [
        ["paper", (p) => make("a", { href: `#${p.name}` }, p.title), "wide"], ["claims", (p) => String(all(p)), "number"],
        ...data.statuses.map((status) => [status, (p) => String(p.verdicts[status]), "number"]),
      ], data.papers));
  }

  const paper = (p) => section(p.name, p.title, arxiv(p) ? paragraph(arxiv(p)) : null, ...p.experiments.flatMap(experiment));

  function experiment(e) {
    const published = (c) => [...Object.entries(c.published).map(([name, v]) => `${name} ${number(v)}`), ...(c.gain === null ? [] : [`gain ${number(c.gain)}`])].join(", ");
    return [
      make("h3", {}, `${e.summary} `, make("span", { class: "quiet" }, e.name)),
      table(`Claims: ${e.summary}`, [
        ["claim", (c) => [c.claim, c.part && !c.claim.includes(c.part) ? ` (${c.part})` : null], "wide"],
        ["source", (c) => `${c.source} (${c.certainty})`, ""], ["published", (c) => published(c) || "–", "labelled"],
        ["measured", (c) => c.measured, "wide"], ["verdict", verdict, ""],
      ], e.claims),
      e.measured ? functions(e) : quiet(e.needs ? `Nothing was measured yet; it needs ${e.needs}.` : "Nothing was measured yet."),
    ];
  }

  /** The verdict; where it is not at the paper's scale, that is said. */
  function verdict(c) {
    const small = c.verdict in KIND && c.scale !== "full" ? " at this scale" : "";
    return make("strong", { class: KIND[c.verdict] ?? "quiet" }, c.verdict + small);
  }

  /** Every function with its mean and interval; an open diamond is what the paper gives. */
  function functions(e) {
    const m = e.measured.measure;
    const rows = e.measured.functions.map((f) => ({ ...f, points: f.scores, kind: f.name === e.baseline ? "base" : "open", mark: f.published }));
    const base = rows.find((r) => r.name === e.baseline);
    const drawn = intervals(rows, base && base.mean !== null ? [base.mean] : []);
    const spread = (f) => (f.mean === null ? "diverged" : measured(f.mean, m) + (f.low === null ? "" : ` (${measured(f.low, m)} to ${measured(f.high, m)})`));
    const found = table(`Measured: ${e.summary}`, [
      ["function", (f) => [make("code", {}, f.name), f.name === e.baseline ? make("span", { class: "quiet" }, " baseline") : null], "function"],
      ["", (f) => drawn.bar(f, `${f.name}: ${spread(f)}`), "bar"],
      [`${m.name}${m.unit}`, spread, "number"],
      ...(rows.some((f) => f.published !== null) ? [["published ◇", (f) => (f.published === null ? "–" : measured(f.published, m)), "number"]] : []),
      ["seeds", (f) => String(f.seeds), "number"],
    ], rows);
    const axis = () => drawn.axis((v) => number(v * m.scale, 3));
    found.tHead.rows[0].cells[1].append(axis());
    const hours = e.measured.hours < 1 ? `${Math.round(60 * e.measured.hours)} minutes` : `${e.measured.hours.toFixed(1)} hours`;
    return [
      make("div", { class: "forest" }, make("div", { class: "small-axis", "aria-hidden": "true" }, axis()), found),
      details(`Scale ${e.measured.scale}: ${count(e.measured.runs, "run")}, ${hours} of training`, facts([
        ["commands", e.measured.commands.map((c) => make("div", {}, make("code", {}, c)))], ["dates", [...new Set(e.measured.dates)].join(" to ")],
        ["machines", e.measured.machines.join(", ")], ["versions", Object.entries(e.measured.versions).map(([name, v]) => `${name} ${v}`).join(", ")],
      ])),
    ];
  }

  function render() {
    dom.show(document.getElementById("claims"), head(), ...data.papers.map(paper));
  }

  return { render };
})();
claims.render();
