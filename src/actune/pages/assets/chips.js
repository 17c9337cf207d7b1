"use strict";
/* The functions in the picture, each with its colour: which is the active one, which are drawn. */
const chips = (() => {
  const place = document.getElementById("chips");

  /** activate(i), toggle(i) and remove(i) are called for the function at i. */
  function show(state, actions) {
    const several = state.functions.length > 1;
    const focused = place.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    dom.show(place, state.functions.map((f, i) => chip(f, i, i === state.active, several, actions)));
    if (focused) place.querySelector(`[data-key="${focused}"]`)?.focus();
  }

  function chip(f, i, isActive, several, { activate, toggle, remove }) {
    const title = functions.title(f), key = (what) => ({ "data-key": `${what}-${f.id}` });
    const name = { class: "name", pressed: isActive, title: functions.text(f).slice(0, 300), onclick: () => activate(i) };
    const eye = { pressed: f.visible, "aria-label": `${title} is drawn`, title: f.visible ? "Hide" : "Draw" };
    const removed = () => { remove(i); place.querySelector(".name[aria-pressed=true]").focus(); };
    const cross = { "aria-label": `Remove ${title}`, title: "Remove" };
    return dom.make("li", { class: `chip ${f.colour}${f.visible ? "" : " hidden"}` },
      dom.button({ ...name, ...key("name") }, title),
      several ? dom.button({ ...eye, ...key("eye"), onclick: () => toggle(i) }, f.visible ? "●" : "○") : null,
      several ? dom.button({ ...cross, ...key("remove"), onclick: removed }, "×") : null);
  }

  return { show };
})();
