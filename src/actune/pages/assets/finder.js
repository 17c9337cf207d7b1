"use strict";
/* The list of all functions with its search. It is one stop of the tab key; arrows move in it. */
const finder = (() => {
  const [search, list, found] = ["search", "list", "found"].map((id) => document.getElementById(id));
  let rows = new Map(); // family -> {pick, element}

  /** choose(family) shows a family in place of the active function, add(family) beside all that are there. */
  function fill({ choose, add }) {
    search.placeholder = `Search ${catalogue.families.length} functions`;
    rows = new Map(catalogue.families.map((family) => [family, row(family, choose, add)]));
    search.addEventListener("input", filter);
    search.addEventListener("keydown", enter);
    list.addEventListener("keydown", move);
    filter();
  }

  function row(family, choose, add) {
    const aliases = family.aliases.length ? dom.make("span", { class: "quiet" }, ` ${family.aliases.join(", ")}`) : null;
    const act = (what) => () => { what(family); leave(); };
    const pick = dom.button({ class: "pick", tabindex: -1, pressed: false, onclick: act(choose) },
      dom.make("span", { class: "title" }, family.name, aliases),
      dom.make("span", { class: "summary quiet" }, family.summary.split("\n")[0]));
    const called = { "aria-label": `Add ${family.name} to the picture`, title: "Add to the picture" };
    const plus = dom.button({ class: "plus", tabindex: -1, onclick: act(add), ...called }, "+");
    return { pick, element: dom.make("li", {}, pick, plus) };
  }

  /** On a phone the list is open while it has the focus. */
  function leave() {
    if (matchMedia("(max-width: 899px)").matches) document.activeElement?.blur();
  }

  function filter() {
    const matching = catalogue.search(search.value), total = catalogue.families.length;
    dom.show(list, matching.map((family) => rows.get(family).element));
    rows.forEach(({ pick }) => (pick.tabIndex = -1));
    const first = list.querySelector(".pick[aria-pressed=true]") ?? list.querySelector(".pick");
    if (first) first.tabIndex = 0;
    const none = "No function has that in its name, paper or summary.";
    found.textContent = !search.value.trim() ? "" : matching.length ? `${matching.length} of ${total}` : none;
  }

  function enter(event) {
    const first = list.querySelector(".pick");
    if (event.key === "ArrowDown") first?.focus();
    else if (event.key === "Enter") first?.click();
    else if (event.key === "Escape") { search.value = ""; filter(); }
    else return;
    event.preventDefault();
  }

  function move(event) {
    const here = document.activeElement, item = here.closest("li"), kind = here.matches(".plus") ? ".plus" : ".pick";
    const target = {
      ArrowDown: () => item.nextElementSibling?.querySelector(kind),
      ArrowUp: () => item.previousElementSibling?.querySelector(kind) ?? search,
      ArrowRight: () => item.querySelector(".plus"),
      ArrowLeft: () => item.querySelector(".pick"),
      Home: () => list.firstElementChild.querySelector(kind),
      End: () => list.lastElementChild.querySelector(kind),
    }[event.key]?.();
    if (!target) return;
    event.preventDefault();
    target.focus();
  }

  /** Mark the families of these names as being in the picture. */
  function mark(names) {
    rows.forEach(({ pick }, family) => pick.setAttribute("aria-pressed", String(names.includes(family.name))));
  }

  return { fill, mark };
})();
