"""Functions as JavaScript: what each operator is there, and a module with functions whose parameters have become constants.

`JS_OPERATORS` and the functions in the files `*.js` beside this one are all that says what an operator does in JavaScript: modules
are written from them, and so are the loops by which pages evaluate formulas.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from ..language.elementary import COEFFICIENTS

__all__ = ["JS_OPERATORS", "javascript_helpers"]

# {0}, {1}, … are the arguments. A comparison is true or false, or 1 or 0 where it comes from an array.
JS_OPERATORS = {
    "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}", "neg": "-{0}", "pow": "pow({0}, {1})",
    "square": "{0} * {0}", "reciprocal": "1 / {0}", "pi": "Math.PI", "relu": "Math.max({0}, 0)",
    "softsign": "{0} / (1 + Math.abs({0}))", "max": "Math.max({0}, {1})", "min": "Math.min({0}, {1})",
    "clip": "Math.min(Math.max({0}, {1}), {2})", "where": "{0} ? {1} : {2}", "hypot": "Math.hypot({0}, {1})",
    **{name: f"Math.{name}({{0}})" for name in ("abs", "sign", "sqrt", "exp", "expm1", "log", "log1p", "sin", "cos", "sinh", "cosh",
                                                "tanh", "asinh", "atan")},
    **{name: f"{name}({{0}})" for name in ("sigmoid", "log_sigmoid", "softplus", "sinc", "erf", "erfc", "i0e", "i1e")},
    **{sign: f"{{0}} {sign} {{1}}" for sign in ("<", "<=", ">", ">=")}, "==": "{0} === {1}", "!=": "{0} !== {1}",
}  # fmt: skip

_FILES = ("javascript_math.js",)


def javascript_helpers(texts: Iterable[str]) -> str:
    """The functions, with those that they call and the numbers that they read, which these texts in JavaScript use."""
    known = _helpers()
    wanted: set[str] = set()
    waiting = list(texts)
    while waiting:
        found = set(re.findall(r"\w+", waiting.pop())) & set(known) - wanted
        wanted |= found
        waiting += [known[name] for name in found]
    chosen = [text for name, text in known.items() if name in wanted]
    numbers = {name: COEFFICIENTS[name] for name in COEFFICIENTS if any(f"COEFFICIENTS.{name}" in text for text in chosen)}
    return "\n\n".join([*([f"const COEFFICIENTS = {json.dumps(numbers)};"] if numbers else []), *chosen])


@cache
def _helpers() -> dict[str, str]:
    """The functions of the files, comments included, by name and in order."""
    parts = [part for name in _FILES for part in (files(__package__) / name).read_text(encoding="utf-8").split("\n\n")]
    return {found[1]: part.strip() for part in parts if (found := re.search(r"^(?:function|const) (\w+)", part, re.MULTILINE))}
