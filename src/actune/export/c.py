"""Functions as C99 with math.h: `double NAME(double x)`, `float NAMEf(float x)`, and a test program that is part of the file.

Where numbers differ from channel to channel or neuron to neuron, both take its index as well: `NAME(x, i)`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import torch

from ..kernels.operators import evaluate
from ..language.expr import Expr
from .frozen import FrozenFunction
from .lines import called, operators_of, statements

__all__ = ["C_OPERATORS", "c_helpers", "c_source"]

# {0}, {1}, … are the arguments, F is the suffix of math.h: empty, or f for float.
C_OPERATORS = {
    "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}", "neg": "-{0}", "pow": "powF({0}, {1})",
    "abs": "fabsF({0})", "sign": "signF({0})", "square": "{0} * {0}", "reciprocal": "1 / {0}", "sqrt": "sqrtF({0})",
    "hypot": "hypotF({0}, {1})", "exp": "expF({0})", "expm1": "expm1F({0})", "log": "logF({0})", "log1p": "log1pF({0})",
    "sigmoid": "sigmoidF({0})", "log_sigmoid": "log_sigmoidF({0})", "softplus": "softplusF({0})", "sin": "sinF({0})",
    "cos": "cosF({0})", "sinc": "sincF({0})", "sinh": "sinhF({0})", "cosh": "coshF({0})", "tanh": "tanhF({0})",
    "asinh": "asinhF({0})", "atan": "atanF({0})", "erf": "erfF({0})", "erfc": "erfcF({0})", "relu": "largestF({0}, 0)",
    "softsign": "{0} / (1 + fabsF({0}))", "max": "largestF({0}, {1})", "min": "smallestF({0}, {1})",
    "clip": "smallestF(largestF({0}, {1}), {2})", "where": "{0} ? {1} : {2}", "<": "{0} < {1}", "<=": "{0} <= {1}",
    ">": "{0} > {1}", ">=": "{0} >= {1}", "==": "{0} == {1}", "!=": "{0} != {1}",
}  # fmt: skip

# What math.h lacks, over the type T; nan stays nan.
_HELPERS = {
    "sign": "static T signF(T a) { return a > 0 ? 1 : a < 0 ? -1 : a; }",
    "sigmoid": "static T sigmoidF(T a) { return 1 / (1 + expF(-a)); }",
    "log_sigmoid": "static T log_sigmoidF(T a) { return (a < 0 ? a : 0) - log1pF(expF(-fabsF(a))); }",
    "softplus": "static T softplusF(T a) { return (a > 0 ? a : 0) + log1pF(expF(-fabsF(a))); }",
    "sinc": "static T sincF(T a) { const T t = (T)3.141592653589793 * a; return t == 0 ? 1 : sinF(t) / t; }",
    "largest": "static T largestF(T a, T b) { return a != a || a > b ? a : b; }",
    "smallest": "static T smallestF(T a, T b) { return a != a || a < b ? a : b; }",
}
_NEEDS = {"max": ("largest",), "min": ("smallest",), "relu": ("largest",), "clip": ("largest", "smallest")}
_TRIED = (-1e4, -87.0, -20.0, -6.5, -3.0, -1.7, -1.0, -0.6, -0.1, -1e-4, 0.0, 1e-4, 0.1, 0.6, 1.0, 1.7, 3.0, 6.5, 20.0, 87.0, 1e4)

_MAIN = """
#ifdef ACTUNE_TEST
/* cc -std=c99 -DACTUNE_TEST FILE -lm -o test && ./test: what actune computed in float64, and how far these functions are from it */
#include <stdio.h>

static double error_of(double got, double wanted) {{
    const double size = fabs(wanted) > 1 ? fabs(wanted) : 1;
    return got == wanted ? 0 : fabs(got - wanted) / size;
}}

int main(void) {{
    static const struct {{ double x; double y; }} expected[][{count}] = {{
{rows}
    }};
    double worst = 0, worst_float = 0;
    for (int k = 0; k < {count}; k++) {{
{checks}
    }}
    printf("largest error over max(1, |value|): %g in double, %g in float\\n", worst, worst_float);
    return !(worst < {tolerance:g} && worst_float < 1e-5);
}}
#endif
"""


def c_source(functions: Sequence[FrozenFunction]) -> str:
    """A file of C99 with these functions, in double and float, and the test program under `#ifdef ACTUNE_TEST`."""
    used = {op for f in functions for op in operators_of(f.e)}
    parts = ["// Activation functions, written by actune.", "#include <math.h>\n"]
    for kind, suffix in (("double", ""), ("float", "f")):
        parts += c_helpers(used, kind, suffix)
        parts += [_function(f, kind, suffix) for f in functions]
    return "\n".join(parts) + _test_program(functions)


def c_helpers(ops: Collection[str], kind: str = "double", suffix: str = "") -> list[str]:
    """The functions that these operators need and math.h lacks, in one type."""
    used = {helper for op in ops for helper in _NEEDS.get(op, (op,))}
    return [_typed(text, kind, suffix) for name, text in _HELPERS.items() if name in used]


def _typed(text: str, kind: str, suffix: str) -> str:
    return text.replace("F(", f"{suffix}(").replace("T ", f"{kind} ").replace("(T)", f"({kind})")


def _function(f: FrozenFunction, kind: str, suffix: str) -> str:
    """One function in one type."""
    largest = torch.finfo(torch.float64 if kind == "double" else torch.float32).max

    def number(v: float) -> str:
        return f"{'-' * (v < 0)}HUGE_VAL{suffix.upper()}" if abs(v) > largest else f"{v!r}{suffix}"

    def leaf(n: Expr) -> str:
        if n.op == "symbol":
            return "x" if n.args[0] == "x" else f"v_{n.args[0]}[i]"
        return f"({number(n.args[0])})" if n.args[0] < 0 else number(n.args[0])

    done, result = statements(f.e, leaf, called(C_OPERATORS))
    lines = [
        f"    const {'int' if n.is_comparison else kind} t{i} = {_typed(text, kind, suffix)};" for i, (n, text) in enumerate(done)
    ]
    arrays = [
        f"    static const {kind} v_{name}[{len(values)}] = {{{', '.join(map(number, values))}}};"
        for name, values in f.arrays.items()
    ]
    index = f", int i /* from 0 to {math.prod(f.shape) - 1} */" * bool(f.arrays)
    head = f"\n// {f.title}.\n{kind} {f.name}{suffix}({kind} x{index}) {{"
    ignored = ["    (void)x;"] if "x" not in f.e.symbols() else []
    return "\n".join([head, *ignored, *arrays, *lines, f"    return {result};", "}"])


def _test_program(functions: Sequence[FrozenFunction]) -> str:
    """A program that compares all functions with values of actune, and fails if they differ."""
    x = torch.tensor(_TRIED, dtype=torch.float64)
    rows, checks = [], []
    for k, f in enumerate(functions):
        values = {name: torch.tensor(array[:1], dtype=torch.float64) for name, array in f.arrays.items()}
        y = evaluate(f.e, {"x": x, **values}).expand_as(x)
        rows.append("        {" + ", ".join(f"{{{a!r}, {b!r}}}" for a, b in zip(_TRIED, y.tolist(), strict=True)) + "},")
        for suffix, name in (("", "worst"), ("f", "worst_float")):
            kind = f"(float)expected[{k}][k].x" if suffix else f"expected[{k}][k].x"
            call = f"{f.name}{suffix}({kind}{', 0' * bool(f.arrays)})"
            checks.append(f"        {name} = fmax({name}, error_of({call}, expected[{k}][k].y));")
    return _MAIN.format(count=len(_TRIED), rows="\n".join(rows), checks="\n".join(checks), tolerance=1e-12)
