"use strict";
/* The field in which a formula is typed; what is wrong with it is said below. */
const entry = (() => {
  const field = document.getElementById("formula"), says = document.getElementById("formula-says");
  const WAIT = 450; // milliseconds after the last key
  let timer = 0, taken = ""; // the text that was last shown or read

  /** `entered(function)` takes what was typed, and may throw why it cannot. */
  function listen(entered) {
    const read = () => { clearTimeout(timer); take(entered); };
    field.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(read, WAIT); });
    field.addEventListener("change", read);
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      read();
    });
  }

  function take(entered) {
    if (field.value === taken) return;
    taken = field.value;
    try {
      const f = functions.read(field.value);
      entered(f);
      field.removeAttribute("aria-invalid");
      says.textContent = assumption(f.assumed);
    } catch (error) {
      field.setAttribute("aria-invalid", "true");
      says.textContent = error.message;
    }
  }

  function assumption(names) {
    if (!names.length) return "";
    const values = names.map((name) => `${name}=…`).join(", ");
    return `${names.join(", ")} ${names.length > 1 ? "start" : "starts"} at 1; write ${values} after a semicolon for another value`;
  }

  /** Show the text of a function, but not to somebody who is typing. */
  function show(f) {
    if (document.activeElement === field) return;
    taken = field.value = functions.text(f);
    field.removeAttribute("aria-invalid");
    says.textContent = "";
  }

  return { listen, show };
})();
