"use strict";
/* The trials of a search: their course, their list, and what they cost. */
const trials = (() => {
  const { make } = dom;
  const { number, count, quiet, table, details } = parts;
  const ENDINGS = {
    complete: ["complete", "s1"], answered: ["taken from an equal training", "s6"], pruned: ["pruned", "s7"], failed: ["failed", "s5"],
    left: ["interrupted, run again", "s8"], running: ["running", "s8"], waiting: ["waiting", "s8"],
  };
  const word = (ending) => ENDINGS[ending][0];

  const capital = (text) => text.replace(/^./, (c) => c.toUpperCase());
  const first = (values) => (values === null ? null : values[0]);
  const isLarger = (data) => data.objectives[0].direction === "maximize";
  const isBetter = (data, a, b) => (isLarger(data) ? a > b : a < b);

  /** The values between which most trials lie, and whether a logarithmic axis shows them better. */
  function window_(data, values) {
    const sorted = values.filter((v) => v !== null).sort((a, b) => a - b);
    if (sorted.length === 0) return { low: 0, high: 1, log: false };
    const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
    const cut = sorted.length > 20 ? 0.04 : 0;
    let [low, high] = isLarger(data) ? [at(cut), at(1)] : [at(0), at(1 - cut)];
    const log = low > 0 && high / low > 8;
    const margin = log ? (high / low) ** 0.08 : 0.08 * (high - low || Math.abs(high) || 1);
    [low, high] = log ? [low / margin, high * margin] : [low - margin, high + margin];
    return { low, high, log };
  }

  /** What a trial is, in a line: for the one under the pointer. */
  function described(data, n) {
    const t = data.trials;
    const own = Object.entries(t.activations).filter(([, c]) => c.text[n] !== null);
    const names = own.map(([name, c]) => (own.length > 1 ? `${name}: ${c.text[n]}` : c.text[n])).join("; ");
    const by = own.map(([, c]) => [c.proposer[n], c.kind[n]].filter(Boolean).join(": ")).find(Boolean);
    const value = t.values[n] !== null ? t.values[n].map((v) => number(v)).join(", ") : t.reported[n] !== null ? `last ${number(t.reported[n])}` : null;
    return [`Trial ${n}`, word(t.ending[n]), t.why[n], value, by, names].filter(Boolean).join(" · ");
  }

  /** A line under a plot that tells of the trial under the pointer. */
  function pointed(data, hint) {
    const line = make("p", { class: "pointed quiet" }, hint);
    return { line, tell: (n) => (line.textContent = n === null ? hint : described(data, n)) };
  }

  /** Each trial as a point, and the best so far as a line. */
  function course(place, data) {
    const t = data.trials, shown = t.values.map(first);
    const { low, high, log } = window_(data, shown);
    const worst = isLarger(data) ? low : high;
    const inside = (v) => Math.min(high, Math.max(low, v));
    let best = null;
    const bests = shown.map((v) => (best = v !== null && (best === null || isBetter(data, v, best)) ? v : best));
    const kinds = Object.keys(ENDINGS).filter((kind) => t.ending.includes(kind) && !["running", "waiting", "left"].includes(kind));
    const size = t.ending.length > 2000 ? 3 : t.ending.length > 200 ? 5 : 8;
    const { line, tell } = pointed(data, "Point at a trial to read what it was.");
    const objective = data.objectives[0].name;
    plots.draw(place, {
      title: `${capital(objective)} of each trial, of pruned ones what they reported last; what failed, or is off the axis, lies on its ${isLarger(data) ? "lower" : "upper"} edge`,
      description: `${objective} of ${t.ending.length} trials, and the best so far, which ends at ${number(best)}`,
      x: { label: "trial", values: t.ending.map((_, n) => n), whole: true }, y: { label: objective, log, range: [low, high] },
      series: [
        ...kinds.map((kind) => ({
          label: `${word(kind)} (${t.ending.filter((e) => e === kind).length.toLocaleString("en")})`, points: size, colour: ENDINGS[kind][1],
          values: t.ending.map((e, n) => (e !== kind ? null : inside(shown[n] ?? t.reported[n] ?? worst))),
        })),
        { label: "best so far", values: bests.map((v) => (v === null ? null : inside(v))), step: true, colour: "ink" },
      ],
      height: 320, live: false, pick: tell,
    });
    place.append(line);
  }

  /** Quality against cost: every priced trial, and those than which none is both cheaper and better. */
  function pareto(place, data) {
    const t = data.trials, front = new Set(data.front);
    const priced = t.cost.map((c, n) => n).filter((n) => t.cost[n] !== null && t.values[n] !== null).sort((a, b) => t.cost[a] - t.cost[b]);
    const values = priced.map((n) => t.values[n][0]);
    const { low, high, log } = window_(data, values);
    const costs = priced.map((n) => Math.max(1, t.cost[n]));
    const { line, tell } = pointed(data, "Point at a function to read what it is.");
    const objective = data.objectives[0].name;
    plots.draw(place, {
      title: `${capital(objective)} against cost: instructions for a vector of elements, forward and backward, from a table of operators`,
      description: `${objective} against cost of ${priced.length} functions, of which ${front.size} are on the front`,
      x: { label: "cost (instructions)", values: costs, log: true, range: [Math.min(...costs) / 1.3, Math.max(...costs) * 1.3] }, y: { label: objective, log, range: [low, high] },
      series: [
        { label: "trials", values: values.map((v) => (v < low || v > high ? null : v)), points: priced.length > 500 ? 4 : 7, colour: "s8" },
        { label: "none is cheaper and better", values: priced.map((n, i) => (front.has(n) ? values[i] : null)), points: 10, colour: "s2" },
      ],
      height: 320, live: false, pick: (i) => tell(i === null ? null : priced[i]),
    });
    place.append(line);
  }

  const PAGE = 50;

  /** All trials as a list that can be searched, a part at a time. */
  function list(data) {
    const t = data.trials, names = Object.keys(t.activations);
    const texts = t.ending.map((_, n) => names.map((name) => t.activations[name].text[n]).filter((v) => v !== null).join("; "));
    const place = make("div"), told = make("p", { class: "quiet", "aria-live": "polite" });
    const wanted = make("input", { type: "search", id: "trial-search", autocomplete: "off", spellcheck: "false", oninput: () => refresh(PAGE) });
    const kinds = Object.keys(ENDINGS).filter((kind) => t.ending.includes(kind));
    const kind = make("select", { id: "trial-ending", onchange: () => refresh(PAGE) }, make("option", { value: "" }, "all"),
      kinds.map((k) => make("option", { value: k }, word(k))));
    const order = make("select", { id: "trial-order", onchange: () => refresh(PAGE) }, make("option", { value: "best" }, "the best first"),
      make("option", { value: "number" }, "in their order"));
    const columns = [
      ["trial", (n) => String(n), "number"],
      [data.objectives.map((o) => o.name).join(", "), (n) => (t.values[n] === null ? "–" : t.values[n].map((v) => number(v)).join(", ")), "number"],
      ["cost", (n) => number(t.cost[n]), "number"],
      ["ended", (n) => [word(t.ending[n]), t.why[n] ? make("span", { class: "quiet" }, ` ${t.why[n]}`) : null], ""],
      ["proposed by", (n) => names.map((name) => [t.activations[name].proposer[n], t.activations[name].kind[n]].filter(Boolean).join(": ")).join("; "), ""],
      ["function", (n) => make("code", {}, texts[n] || "–"), "wide"],
    ];

    function refresh(most) {
      const sought = wanted.value.toLowerCase();
      const found = t.ending.map((_, n) => n).filter((n) => (!kind.value || t.ending[n] === kind.value) && (!sought || texts[n].toLowerCase().includes(sought)));
      if (order.value === "best") found.sort((a, b) => rank(a) - rank(b) || a - b);
      told.textContent = `${count(found.length, "trial")}${found.length > most ? `, of which ${most} are shown` : ""}`;
      dom.show(place, table("Trials", columns, found.slice(0, most)),
        found.length > most ? make("button", { type: "button", onclick: () => refresh(most + PAGE) }, `Show ${PAGE} more`) : null);
    }

    const rank = (n) => (t.values[n] === null ? Infinity : (isLarger(data) ? -1 : 1) * t.values[n][0]);
    const field = (text, control) => make("label", {}, text, " ", control);
    const opened = details(`All ${count(t.ending.length, "trial")}`,
      make("div", { class: "controls" }, field("Function contains", wanted), field("Ended", kind), field("Order", order)), told, place);
    opened.addEventListener("toggle", () => opened.open && !place.firstChild && refresh(PAGE));
    return opened;
  }

  return { course, pareto, list, word, quiet };
})();
