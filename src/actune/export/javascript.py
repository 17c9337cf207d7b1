"""Functions as JavaScript: what each operator is there, and a module with functions whose parameters have become constants.

`JS_OPERATORS` and the functions in the files `*.js` beside this one are all that says what an operator does in JavaScript: modules
are written from them, and so are the loops by which pages evaluate formulas.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files

from ..language.elementary import COEFFICIENTS
from ..language.expr import Expr
from ..language.ops import OPS
from ..special.contour import contour_numbers
from .frozen import FrozenFunction
from .lines import called, statements

__all__ = ["JS_OPERATORS", "javascript_helpers", "javascript_source"]

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
    **{name: f"{name.rstrip('_012')}({', '.join([*map(str, op.order), *(f'{{{i}}}' for i in range(op.arity))])})"
       for name, op in OPS.items() if op.float64},
}  # fmt: skip

_FILES = ("javascript_math.js", "mittag_leffler.js")


def javascript_source(functions: Sequence[FrozenFunction]) -> str:
    """A module of ECMAScript that exports these functions of a number, in double precision.

    Where numbers differ from channel to channel or neuron to neuron, a function takes its index as well: `NAME(x, i)`.
    """
    texts = [_function(f) for f in functions]
    head = "// Activation functions, written by actune. For browsers, bundlers, Node.js 22: import { NAME } from this file."
    helpers = javascript_helpers(texts)
    return "\n\n".join([head, *([helpers] if helpers else []), *texts]) + "\n"


def _function(f: FrozenFunction) -> str:
    def leaf(n: Expr) -> str:
        if n.op == "symbol":
            return "x" if n.args[0] == "x" else f"v_{n.args[0]}[i]"
        return f"({n.args[0]!r})" if n.args[0] < 0 else repr(n.args[0])

    done, result = statements(f.e, leaf, called(JS_OPERATORS))
    arrays = [f"  const v_{name} = {list(values)!r};" for name, values in f.arrays.items()]
    lines = [f"  const t{i} = {text};" for i, (_, text) in enumerate(done)]
    index = f", i /* from 0 to {math.prod(f.shape) - 1} */" * bool(f.arrays)
    return "\n".join([f"// {f.title}.", f"export function {f.name}(x{index}) {{", *arrays, *lines, f"  return {result};", "}"])


def javascript_helpers(texts: Iterable[str]) -> str:
    """The functions, with those that they call and the numbers that they read, which these texts in JavaScript use."""
    known = _helpers()
    wanted: set[str] = set()
    waiting = list(texts)
    while waiting:
        found = set(re.findall(r"\w+", re.sub("//.*", "", waiting.pop()))) & set(known) - wanted
        wanted |= found
        waiting += [known[name] for name in found]
    chosen = "\n\n".join(text for name, text in known.items() if name in wanted)
    coefficients = {name: values for name, values in COEFFICIENTS.items() if re.search(rf"COEFFICIENTS\.{name}\b", chosen)}
    numbers = {"COEFFICIENTS": coefficients, "CONTOUR": contour_numbers() if "CONTOUR" in chosen else None}
    lines = [f"const {name} = {json.dumps(values, separators=(',', ':'))};" for name, values in numbers.items() if values]
    return "\n\n".join([*lines, chosen])


@cache
def _helpers() -> dict[str, str]:
    """The functions of the files, comments included, by name and in order."""
    parts = [part for name in _FILES for part in (files(__package__) / name).read_text(encoding="utf-8").split("\n\n")]
    return {found[1]: part.strip() for part in parts if (found := re.search(r"^(?:function|const) (\w+)", part, re.MULTILINE))}
