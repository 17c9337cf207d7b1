"use strict";
/* Numbers and names of parameters as people write them. */
const numbers = (() => {
  const GREEK = Object.fromEntries(
    ("alpha α beta β gamma γ delta δ epsilon ε zeta ζ eta η theta θ iota ι kappa κ lambda λ mu μ nu ν xi ξ pi π rho ρ sigma σ " +
      "tau τ upsilon υ phi φ chi χ psi ψ omega ω").match(/\S+ \S/g).map((pair) => pair.split(" ")));
  const NUMBER = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i;

  /** A number to read, with so many digits and without zeros at its end. */
  function short(value, digits = 5) {
    if (value === null || Number.isNaN(value)) return "undefined";
    if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
    const size = Math.abs(value), rounded = Number(value.toPrecision(digits)) + 0;
    const text = size !== 0 && (size < 1e-4 || size >= 1e7) ? rounded.toExponential() : String(rounded);
    return text.replace("e+", "e").replaceAll("-", "−");
  }

  /** A share in per cent. */
  const percent = (share) => (share === null ? "unknown" : `${(100 * share).toFixed(1)} %`);

  /** The finite number in a text, or an error that says what is wrong with it. */
  function read(text, name) {
    const cleaned = text.trim().replaceAll("−", "-");
    const value = NUMBER.test(cleaned) ? Number(cleaned) : NaN;
    if (!Number.isFinite(value)) throw new Error(`${name} needs a finite number such as 1.5, got '${text.trim().slice(0, 30)}'`);
    return value;
  }

  /** The name of a parameter in print: β₂ for beta2. */
  function symbol(name) {
    const [, stem, index] = /^(.*?)(\d*)$/.exec(name);
    return (GREEK[stem] ?? stem.replaceAll("_", " ")) + [...index].map((d) => "₀₁₂₃₄₅₆₇₈₉"[d]).join("");
  }

  return { short, percent, read, symbol };
})();
