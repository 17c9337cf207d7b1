"use strict";
/* The report of a search, drawn from the data in the page: the verdict first, then what it rests on. */
const report = (() => {
  const { make } = dom;
  const { number, mathematics, count, measured, pValue, section, paragraph, quiet, code, facts, table, details, intervals } = parts;
  const data = dom.data();
  const names = Object.keys(data.winners);
  const objective = data.objectives[0].name;

  const LONG = 40; // characters of a function that a sentence can bear
  /** The name of a section, of which there is one for each activation; what users have called them is no name for a link. */
  const place = (what, name) => (names.length > 1 ? `${what}-${names.indexOf(name) + 1}` : what);
  const called = (name) => (names.length > 1 ? `${name}: ` : "");
  const shell = (text) => (/^[\w./:=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`);

  // -- the head ----------------------------------------------------------------------------------------------------------

  function head() {
    const open = data.trials.ending.filter((e) => e === "running" || e === "waiting").length;
    const told = [
      `Search ${data.task ? `on the task ${data.task}` : "with an own objective"}`, count(data.finished, "finished trial"),
      open ? `${open} not finished` : null, data.provenance.begun?.slice(0, 10),
    ];
    return make("header", {}, make("p", { class: "quiet" }, told.filter(Boolean).join(" · ")),
      make("h1", {}, data.study), ...verdict());
  }

  function verdict() {
    if (data.proof) return proved(data.proof);
    if (data.missing) return [make("p", { class: "verdict" }, "Nothing was found yet."), paragraph(`No trial is complete: ${data.missing}.`)];
    const leader = data.leaders[names[0]][0];
    return [
      make("p", { class: "verdict" }, `The best of ${count(data.finished, "trial")} has ${objective} ${number(leader.values[0])}.`),
      paragraph(data.task
        ? "That is one training, and the best of many is lucky: whether the winner beats the usual functions is not proved yet."
        : "Whether the winner beats the usual functions on other seeds is not proved: train both several times with your objective and compare."),
    ];
  }

  /** The sentence of the proof, and its numbers at a glance. */
  function proved(proof) {
    const m = proof.measure, rows = proof.comparison.functions;
    const own = rows.find((r) => r.name === proof.name), base = rows.find((r) => r.name === proof.comparison.baseline);
    const [first, ...rest] = readable(proof).split(/(?<=\.) (?=[A-Z])/);
    const figures = own.difference && [
      ["gain", `${measured(own.difference.mean, m, "+")}${gainUnit(m)}`],
      ["95 % interval", own.difference.low === null ? "–" : `${measured(own.difference.low, m, "+")} to ${measured(own.difference.high, m, "+")}`],
      ["corrected p", pValue(own.p_corrected)],
      [`test ${m.name}`, `${measured(own[m.name].mean, m)}${m.unit}, ${base.name} ${measured(base[m.name].mean, m)}${m.unit}`],
    ];
    return [
      make("p", { class: "verdict" }, first), rest.length ? paragraph(rest.join(" ")) : null,
      figures ? make("dl", { class: "figures" }, figures.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)))) : null,
      proof.current ? null : paragraph(`The proof is of the first ${count(proof.finished, "trial")}; the search went on after it.`),
    ];
  }

  /** The sentence of the proof, with words for formulas that are too long for one. */
  function readable(proof) {
    const long = proof.comparison.functions.map((r) => r.name).filter((name) => name.length > LONG).sort((a, b) => b.length - a.length);
    const words = (name) => (name === proof.name ? "the winner" : "another leader of the search");
    return long.reduce((text, name) => text.replaceAll(name, words(name)), proof.verdict).replace(/^t/, "T");
  }

  const gainUnit = (m) => m.gain.replace("{}", "").replace("a gain of", "").trimEnd();

  // -- the winner --------------------------------------------------------------------------------------------------------

  function winners() {
    return names.map((name) => {
      const w = data.winners[name];
      const drawing = make("div", { class: "two" });
      after.push(() => curves(drawing, w));
      return section(place("winner", name), names.length > 1 ? `The winner: ${name}` : "The winner", formula(w), parameters(w), drawing, winnerFacts(w));
    });
  }

  /** The formula as mathematics where it can be read, and as text to copy. */
  function formula(w) {
    const set = mathematics(w.formula);
    return make("div", { class: "formula" },
      set ? make("div", { class: w.formula.length > LONG ? "mathematics long" : "mathematics", tabindex: "0", role: "group", "aria-label": "the formula" }, set) : null, make("p", { class: "mono" }, w.formula),
      make("div", { class: "buttons" }, dom.copyButton(() => w.text, "Copy formula"), dom.copyButton(() => w.latex, "Copy LaTeX")));
  }

  function parameters(w) {
    const known = Object.entries(w.initial);
    return known.length
      ? paragraph("Parameters that learn, with their initial values: ", make("span", { class: "mono" }, known.map(([p, v]) => `${p} = ${number(v)}`).join(", ")), ".")
      : quiet("It has no parameters that learn.");
  }

  function curves(drawing, w) {
    const label = w.text.length > LONG ? "winner" : w.text;
    for (const [key, title] of [["curve", "The function"], ["slope", "Its derivative"]]) {
      const others = data.baselines.filter((b) => b.name !== w.text);
      plots.draw(drawing, {
        title, description: `${key === "curve" ? "The winner" : "The derivative of the winner"} beside ${others.map((b) => b.name).join(" and ")}`,
        x: { label: "x", values: data.x }, y: { label: key === "curve" ? "f(x)" : "f′(x)", range: reach(w[key]) },
        series: [
          ...others.map((b, i) => ({ label: b.name, values: b[key], colour: i ? "s3" : "s8", dash: [6, 4], width: 1.5 })),
          { label, values: w[key], colour: "s2", width: 2.5 },
        ],
      });
    }
  }

  /** The interesting part of the values: what grows fast is cut off. */
  function reach(values) {
    const known = values.filter((v) => v !== null).map((v) => Math.min(5, Math.max(-5, v)));
    const [low, high] = known.length ? [Math.min(...known, 0), Math.max(...known, 0)] : [0, 1];
    const margin = 0.06 * Math.max(high - low, 0.5);
    return [low - margin, high + margin];
  }

  function winnerFacts(w) {
    return facts([
      ...data.objectives.map((o, i) => [`${o.name}, one training`, w.values ? number(w.values[i]) : null]),
      ...(w.accuracy !== null && w.accuracy !== undefined ? [["validation accuracy", `${(100 * w.accuracy).toFixed(1)} %`]] : []),
      ["cost", count(w.cost, "instruction")], ["trial", String(w.trial)], ...(w.paper ? [["known from", w.paper]] : []),
    ]);
  }

  // -- the proof ---------------------------------------------------------------------------------------------------------

  function comparison() {
    const proof = data.proof;
    if (!proof) return section("proof", "Is it better?", ...unproved());
    const m = proof.measure, c = proof.comparison;
    const base = c.functions.find((r) => r.name === c.baseline);
    const over = (a, b) => (a === null || b === null ? null : m.larger ? a - b : b - a);
    const rows = c.functions.map((r) => ({
      ...r, ...(r.difference ?? { low: null, mean: null, high: null }), className: r.name === proof.name ? "winner" : "",
      points: r === base ? [] : r.scores.map((s, i) => over(s, base.scores[i])),
      kind: r.difference && r.p_corrected !== null && r.p_corrected < 0.05 ? (r.difference.mean > 0 ? "better" : "worse") : "open",
    }));
    const drawn = intervals(rows);
    const gain = (r) => (r.difference === null ? "baseline" : r.difference.mean === null ? "diverged"
      : `${measured(r.difference.mean, m, "+")}${r.difference.low === null ? "" : ` (${measured(r.difference.low, m, "+")} to ${measured(r.difference.high, m, "+")})`}`);
    const found = table(`Gain over ${c.baseline} with 95 % intervals`, [
      ["function", (r) => [make("code", {}, r.name), r.diverged ? make("span", { class: "quiet" }, ` diverged on ${r.diverged} of ${r.scores.length}`) : null], "function"],
      [`${m.name}${m.unit}`, (r) => (r[m.name].mean === null ? "–" : measured(r[m.name].mean, m)), "number"],
      ["", (r) => (r.difference ? drawn.bar(r, `gain ${gain(r)}`) : drawn.bar(r)), "bar"],
      [`gain over ${c.baseline}`, gain, "number gain"],
      ["p", (r) => (r.difference ? pValue(r.p_corrected) : ""), "number"],
    ], rows);
    const axis = () => drawn.axis((v) => number(v * m.scale, 2).replace(/^(?=[1-9.])/, "+"));
    found.tHead.rows[0].cells[2].append(axis());
    return section("proof", "Is it better?",
      quiet(`Test ${m.name} on ${count(c.seeds.length, "fresh seed")}. Bars are 95 % intervals of the gain over ${c.baseline}, paired by seed; small dots are `
        + "the seeds. p is of the paired t-test, corrected by Holm for the whole table: below 0.05 a difference counts as shown."),
      make("div", { class: "forest" }, make("div", { class: "small-axis", "aria-hidden": "true" }, axis()), found), ranked());
  }

  /** The leaders on fresh seeds, if they were trained there; a training that diverged has no loss, and no mean then. */
  function ranked() {
    if (!data.ranking) return null;
    const mean = (losses) => (losses.includes(null) ? "diverged" : number(losses.reduce((a, b) => a + b, 0) / losses.length));
    return details("How the winner was chosen",
      paragraph(`The best of the search were trained again on ${count(data.ranking.seeds.length, "other seed")}; their mean validation loss decided.`),
      table("Leaders on fresh seeds", [["function", (r) => make("code", {}, r.text), "wide"], ["mean validation loss", (r) => mean(r.losses), "number"]], data.ranking.leaders));
  }

  /** Which command makes the proof that is missing. */
  function unproved() {
    if (data.missing) return [paragraph("There is nothing to compare yet.")];
    if (!data.task) {
      return [paragraph("An objective of your own has no test part that actune knows of, so that it cannot be proved here. Train the winner and the usual functions "
        + "with your objective on several fresh seeds, and compare them seed by seed.")];
    }
    return [
      paragraph("The comparison with the usual functions on fresh seeds has not been made. This command makes it; the trials are there, and are not repeated:"),
      code(again(), "the command that makes the proof"), ranked(),
    ];
  }

  /** The search once more, which goes on where it stopped, with the proof. */
  function again() {
    const method = data.provenance.method && data.provenance.method !== "better" ? ` --method ${data.provenance.method}` : "";
    const target = data.storage ? ` --storage ${shell(data.storage)}` : " --storage STORAGE";
    return `actune search ${shell(data.task)} --trials ${data.finished}${method}${target} --study ${shell(data.study)}`;
  }

  // -- the search --------------------------------------------------------------------------------------------------------

  function course() {
    if (!data.begun) return section("course", "The course of the search", paragraph("The study has no trials."));
    const drawing = make("div");
    after.push(() => trials.course(drawing, data));
    const others = data.endings.filter((e) => e.ending !== "complete");
    return section("course", "The course of the search", drawing,
      make("h3", {}, "How trials ended"),
      table("How trials ended", [
        ["ended", (e) => trials.word(e.ending), ""], ["why", (e) => e.why, ""], ["trials", (e) => e.count.toLocaleString("en"), "number"],
      ], [...data.endings.filter((e) => e.ending === "complete"), ...others]),
      quiet("Candidates that screening turns down (not finite, constant, seen before) are drawn again before they become trials; studies do not count them."),
      data.errors.length ? [make("h3", {}, "Errors"), table("Errors", [["error", (e) => make("code", {}, e.message), "wide"], ["trials", (e) => String(e.count), "number"]], data.errors)] : null,
      ...data.activations.flatMap(bred), trials.list(data));
  }

  function bred(name) {
    const rows = data.bred[name], passed = data.passed_over[name];
    const title = data.activations.length > 1 ? `Who proposed what: ${name}` : "Who proposed what";
    const share = (r, kind) => (r.endings[kind] ? String(r.endings[kind]) : "–");
    return [
      make("h3", {}, title),
      table(title, [
        ["proposer", (r) => r.proposer, ""], ["trials", (r) => r.trials.toLocaleString("en"), "number"],
        ["pruned", (r) => share(r, "pruned"), "number"], ["failed", (r) => share(r, "failed"), "number"],
        [`best ${objective}`, (r) => number(r.best), "number"], ["median", (r) => number(r.median), "number"],
        ["in the best tenth", (r) => String(r.leaders), "number"],
      ], rows),
      passed.length ? details(`Proposals that were passed over: ${passed.reduce((n, p) => n + p.count, 0)}`, table("Passed over", [
        ["proposer", (p) => p.proposer, ""], ["why", (p) => p.reason, "wide"], ["times", (p) => String(p.count), "number"]], passed)) : null,
    ];
  }

  const NEAREST = 6; // generations that are shown at once

  function ancestry(name) {
    const found = data.winners[name].ancestors, last = found[found.length - 1].generation;
    const item = (a) => make("li", {},
      make("p", {}, make("strong", {}, `Trial ${a.number}`), ` ${a.values ? number(a.values[0]) : ""} `,
        make("span", { class: "quiet" }, [a.kind ? `${a.proposer ?? "given"}: ${a.kind}` : a.proposer, a.parents.length ? `of trial ${a.parents.join(" and ")}` : "first generation"].filter(Boolean).join(", "))),
      make("code", {}, a.text));
    const tree = (rows) => make("ol", { class: "tree" }, rows.map(item));
    const near = found.filter((a) => a.generation < NEAREST), far = found.filter((a) => a.generation >= NEAREST);
    return section(place("family", name), `Where ${names.length > 1 ? name : "the winner"} comes from`,
      quiet(last ? `${count(last, "generation")} back to a function that was not bred from another. Each step names the proposer and its mutations.`
        : "It was not bred from another trial."),
      tree(near), far.length ? details(`${count(far.length, "earlier ancestor")}`, tree(far)) : null);
  }

  // -- learned parameters ------------------------------------------------------------------------------------------------

  function learned(name) {
    const title = `${called(name)}learned parameters`.replace(/^./, (c) => c.toUpperCase());
    const id = place("learned", name), w = data.winners[name];
    if (!w.course) {
      const how = data.task ? "Search a new study with --course to keep in each trial how its parameters move, layer by layer."
        : "An objective of your own keeps them where it trains by train(…, course=True) and sets the trial's attribute actune:course.";
      return section(id, title, paragraph("The trials did not keep what they learned, or the leaders have no parameters."), quiet(how));
    }
    const drawing = make("div", { class: "two" });
    after.push(() => drawLearned(drawing, w.course.parameters));
    const own = w.course.trial === w.trial;
    return section(id, title,
      own ? quiet("Points are the means over the channels of a layer, bars reach from the least to the largest.")
        : quiet(`The winner has none that learn; these are of trial ${w.course.trial}, the best of the leaders that kept some: `, make("code", {}, w.course.text),
          ". Points are the means over the channels of a layer, bars reach from the least to the largest."),
      drawing);
  }

  function drawLearned(drawing, parameters) {
    const split = Object.entries(parameters).map(([key, values]) => ({ layer: key.slice(0, key.lastIndexOf(".")), name: key.slice(key.lastIndexOf(".") + 1), values }));
    const layers = [...new Set(split.map((p) => p.layer))], own = [...new Set(split.map((p) => p.name))];
    const last = (p, i) => p.values[p.values.length - 1][i];
    const series = own.map((name) => ({ name, at: layers.map((layer) => split.find((p) => p.layer === layer && p.name === name) ?? null) }));
    plots.draw(drawing, {
      title: "Over depth, after the last epoch", description: `learned values of ${own.join(", ")} over ${layers.length} layers`,
      x: { label: "layer", values: layers.map((_, i) => i + 1), whole: true, range: [0.5, layers.length + 0.5], names: layers }, y: { label: "value" },
      series: series.map((s) => ({
        label: s.name, points: 9, values: s.at.map((p) => p && last(p, 0)), low: s.at.map((p) => p && last(p, 1)), high: s.at.map((p) => p && last(p, 2)),
      })),
    });
    for (const s of series) {
      const kept = s.at.filter((p) => p !== null), epochs = Math.max(...kept.map((p) => p.values.length));
      plots.draw(drawing, {
        title: `${s.name} over the training`, description: `${s.name} of ${kept.length} layers over ${epochs} epochs`,
        x: { label: "epoch", values: Array.from({ length: epochs }, (_, i) => i + 1), whole: true }, y: { label: s.name }, legend: kept.length <= 12,
        series: kept.map((p) => ({
          label: `layer ${p.layer}`, values: p.values.map((v) => v[0]), low: p.values.map((v) => v[1]), high: p.values.map((v) => v[2]),
        })),
      });
    }
  }

  // -- cost, leaders, use ------------------------------------------------------------------------------------------------

  function cost() {
    const priced = data.trials.cost.filter((c) => c !== null).length, complete = data.trials.values.filter((v) => v !== null).length;
    if (!priced) return section("cost", "Cost against quality", paragraph("No complete trial has a function with a known cost."));
    const drawing = make("div");
    after.push(() => trials.pareto(drawing, data));
    const rows = data.front.map((n) => ({ n, text: Object.values(data.trials.activations).map((c) => c.text[n]).filter(Boolean).join("; ") }));
    return section("cost", "Cost against quality", drawing,
      priced < complete ? quiet(`Priced are the best ${priced.toLocaleString("en")} of ${complete.toLocaleString("en")} complete trials.`) : null,
      details(`${count(rows.length, "function")} than which none is both cheaper and better`, table("The front", [
        ["cost", (r) => number(data.trials.cost[r.n]), "number"], [objective, (r) => number(data.trials.values[r.n][0]), "number"],
        ["trial", (r) => String(r.n), "number"], ["function", (r) => make("code", {}, r.text), "wide"]], rows)),
      ...objectivesFront());
  }

  /** The front of a study with several objectives, which its record has. */
  function objectivesFront() {
    if (!data.record?.front) return [];
    const fronts = names.length > 1 ? data.record.front : { [names[0]]: data.record.front };
    return Object.entries(fronts).map(([name, rows]) => details(`${called(name)}the front of all ${data.objectives.length} objectives: ${count(rows.length, "function")}`,
      table("The front of all objectives", [
        ...data.objectives.map((o, i) => [o.name, (r) => number(r.values[i]), "number"]), ["function", (r) => make("code", {}, r.formula), "wide"],
      ], rows)));
  }

  function leaders(name) {
    return section(place("leaders", name), `${called(name)}the leaders`.replace(/^./, (c) => c.toUpperCase()),
      quiet(`The best by ${objective}, each function once; one training each.`),
      table("Leaders", [
        ["trial", (l) => String(l.trial), "number"], ...data.objectives.map((o, i) => [o.name, (l) => number(l.values[i]), "number"]),
        ...(data.leaders[name].some((l) => typeof l.accuracy === "number")
          ? [["accuracy", (l) => (typeof l.accuracy === "number" ? `${(100 * l.accuracy).toFixed(1)} %` : "–"), "number"]] : []),
        ...(data.objectives.some((o) => o.name === "cost") ? [] : [["cost", (l) => number(l.cost), "number"]]),
        ["function", (l) => make("code", {}, l.text), "wide"],
      ], data.leaders[name]));
  }

  function use() {
    const begin = ["import actune", "", ...names.map((name) => `${variable(name)} = ${JSON.stringify(data.winners[name].text)}`), ""].join("\n");
    const first = variable(names[0]), file = data.activations.length > 1 ? `${first}.json` : "best.json";
    return section("use", "Use it",
      make("h3", {}, "As a module, instead of nn.ReLU()"), code(`${begin}layer = actune.Activation(${first})`, "code of a module"),
      make("h3", {}, "In a model that exists"), code(`${begin}actune.swap(model, ${first})`, "code that swaps"),
      make("h3", {}, "As a file"), code(`${begin}actune.save("${file}", ${first})\nlayer = actune.Activation.from_file("${file}")`, "code of a file"),
      make("h3", {}, "Without actune: from that file to ONNX, Python or C"),
      code(["onnx", "py", "c"].map((ending) => `actune export ${file} -o ${file.replace(/json$/, ending)}`).join("\n"), "commands that export"));
  }

  /** A name for a program, from that of an activation. */
  const variable = (name) => (names.length > 1 ? name.replace(/\W/g, "_").replace(/^(?=\d)/, "_") : "best");

  // -- provenance --------------------------------------------------------------------------------------------------------

  function provenance() {
    const p = data.provenance, c = p.commands[p.commands.length - 1];
    const versions = c?.versions ?? data.proof?.comparison.versions;
    const pairs = (o) => Object.entries(o).map(([name, v]) => `${name} ${v}`).join(", ");
    const hours = p.hours === null ? null : p.hours < 1 ? `${(60 * p.hours).toFixed(1)} minutes` : `${p.hours.toFixed(1)} hours`;
    return section("provenance", "Where these numbers come from",
      facts([
        ["study", data.study], ["storage", data.storage], ["task", data.task ?? "an objective of the user's own"],
        ["objective", data.objectives.map((o) => `${o.direction} ${o.name}`).join(", ")],
        ["method", p.method ?? (p.training ? "none that ships, or with other settings" : null)], ["seed", p.seed === null ? null : String(p.seed)],
        ["command", c ? make("code", {}, c.command) : null], ["begun", p.begun?.replace("T", " ")], ["last trial ended", p.ended?.replace("T", " ")],
        ["time in trials", hours], ["workers", p.workers ? `${p.workers}, on ${p.hosts.join(", ")}` : null],
        ["machine", c ? `${c.machine.cores} cores of ${c.machine.cpu}, ${c.machine.system}` : null], ["versions", versions ? pairs(versions) : null],
      ]),
      p.commands.length > 1 ? details(`All ${p.commands.length} commands`, make("ul", {}, p.commands.map((k) => make("li", {}, make("code", {}, k.command), ` ${k.date}`)))) : null,
      p.training ? details("How each trial was trained", facts(Object.entries(p.training).map(([k, v]) => [k.replaceAll("_", " "), typeof v === "object" && v !== null ? JSON.stringify(v) : v === null ? "none" : String(v)]))) : null);
  }

  // -- all of it ---------------------------------------------------------------------------------------------------------

  const after = []; // plots are drawn once their places are in the page, and have a width

  function render() {
    const sections = [
      ...winners(), comparison(), course(), ...names.map(ancestry), ...names.map(learned),
      ...(names.length ? [cost(), ...names.map(leaders), use()] : []), provenance(),
    ];
    const links = make("nav", { "aria-label": "Sections" }, sections.map((s) => make("a", { href: `#${encodeURIComponent(s.id)}` }, s.querySelector("h2").textContent)));
    dom.show(document.getElementById("report"), head(), links, ...sections);
    after.forEach((draw) => draw());
  }

  return { render };
})();
report.render();
