"use strict";
/* Elements without HTML text: what a user has named reaches the page as text only. */
const dom = (() => {
  /** An element with attributes, and children that are elements or texts. `on` + event names take functions, `class` text. */
  function make(tag, attributes = {}, ...children) {
    return filled(document.createElement(tag), attributes, children);
  }

  /** A button that submits nothing; `pressed` true or false makes it one that stays pressed. */
  function button({ pressed, ...attributes }, ...children) {
    const state = pressed === undefined ? null : String(pressed);
    return make("button", { type: "button", "aria-pressed": state, ...attributes }, ...children);
  }

  /** An element of SVG or MathML. */
  function makeIn(space, tag, attributes = {}, ...children) {
    const spaces = { svg: "http://www.w3.org/2000/svg", math: "http://www.w3.org/1998/Math/MathML" };
    return filled(document.createElementNS(spaces[space], tag), attributes, children);
  }

  function filled(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (typeof value === "function") element.addEventListener(name.replace(/^on/, ""), value);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
    }
    element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
    return element;
  }

  /** Exchange all that is in an element. */
  function show(place, ...children) {
    place.replaceChildren(...children.flat(Infinity).filter(Boolean));
  }

  /** A button that copies a text, and says so to eyes and screen readers. */
  function copyButton(textOf, label = "Copy") {
    const button = make("button", { type: "button", class: "copy", "aria-live": "polite" }, label);
    button.addEventListener("click", async () => {
      button.textContent = (await copied(textOf())) ? "Copied" : "Select and copy by hand";
      setTimeout(() => (button.textContent = label), 1500);
    });
    return button;
  }

  /** Whether the text is in the clipboard now; without permission for it, the way of older browsers is tried. */
  async function copied(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const area = make("textarea", { readonly: true, class: "visually-hidden" });
      area.value = text;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      return done;
    }
  }

  return { make, button, makeIn, show, copyButton, data: () => JSON.parse(document.getElementById("data").textContent) };
})();
