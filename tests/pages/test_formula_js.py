"""Formulas in a browser: the values, derivatives, texts, messages and sources of the library."""

from __future__ import annotations

import base64
import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from browser import opened
from oracle import parameters

import actune
from actune.discovery.proposers.space import Space, mutate, parametrise, random_formula
from actune.export.lines import operators_of
from actune.kernels.operators import evaluate
from actune.language.expr import Expr, FormulaError, apply, const, to_rows
from actune.language.ops import OPS, Op
from actune.language.parser import parse
from actune.pages.formula import formula_scripts
from actune.pages.page import asset, html_page

X = torch.tensor([*np.linspace(-10, 10, 60), 1e-3, -1e-3, 1e-8, -1e-8, 0.3, -0.7], dtype=torch.float64)  # not 0: |x|^gamma
PAIRS = ((0, 0.7), (0.01, 0.99), (0.6, 0.5), (1, 1), (1.01, 0.005), (1.7, 1.3), (2, 3))  # alpha and beta, forms of the integral
ALLOWED = 1e-13  # the error of a value or a derivative, see `errors`


@dataclass(frozen=True, eq=False)
class Case:
    """A formula with the numbers of its parameters, and which derivatives are compared."""

    name: str
    e: Expr
    values: dict[str, float]
    orders: tuple[int, ...] = (0, 1, 2)


def grown(rng: Random, space: Space) -> Expr:
    """A random formula after up to ten mutations, as a search makes them."""
    e = random_formula(rng, space)
    for _ in range(rng.randrange(11)):
        e = mutate(e, rng, space)[1]
    return e


@cache
def cases() -> tuple[Case, ...]:
    """All families at their initial values and at others; 300 random formulas of the search's space; E in all its forms."""
    shifts = [(f, s) for f in map(actune.family, actune.list_families()) for s in ((0.0, 0.6) if f.params else (0.0,))]
    families = [Case(f"{f.name} shifted by {s}", f.expr, parameters(f, torch.float64, s)) for f, s in shifts]
    rng = Random(16)
    drawn = [grown(rng, Space()) for _ in range(300)]
    drawn = [parametrise(e, rng, Space()) for e in drawn]
    named = [Case(str(e), e, {s: round(rng.uniform(0.5, 1.5), 3) for s in e.symbols() if s != "x"}) for e in drawn]
    wide = [Case(f"{op.name} at {pair}", apply(op.name, *_arguments(op, pair)), {}, (0,))
            for op in OPS.values() if op.float64 for pair in PAIRS]  # fmt: skip
    return (*families, *named, *wide)


def _arguments(op: Op, pair: tuple[float, float]) -> list[Expr]:
    """The arguments of E, or of a quotient with a denominator that has no zero."""
    return [parse("8*x - 3"), *map(const, pair), *[parse("3*x + 31"), const(1), const(2)] * (op.arity > 3)]


TEXTS = [
    "x", "-2", "x - -2", "-x^2", "(-x)^2", "2^-x", "2**3**x", "(2^3)^x", "x/y/z", "x/(y/z)", "x - (y - z)", "|x|",
    "||x| - 1|", "+x", "1e-5*x", "1e22*x", "123456789012345678*x", ".5*x", "5.*x", "0.1*x", "1e-300*x", "max(x, y, 1, 2)",
    "minimum(x, 0)", "ln(x)", "where(x < 0, a, where(x >= 1, b, x))", "where(x == y, 1, 0)", "pi*x", "gelu(x) + silu(x)",
    "clamp(x, -1, 1)", "a0*x + a_1", "mittag_leffler(x, alpha, beta)", "x * sigmoid ( beta\t* x )\n", "x^0.5^2", "-(x + 1)",
    "-(-x)", "- 3^x", "(-3)^x", "x*-y",
]  # fmt: skip
BROKEN = [
    "", "   ", "x +", "x + * y", "geluu(x)", "constructor(x)", "toString(x)", "__proto__(x)", "x < 1", "max(x)", "max()",
    "1e999", "x $ 2", "where(x, 1, 2)", "where(x < 1, x > 2, 3)", "tanh", "tanh + 1", "ln", "(x", "x)", "|x", "x < 1 < 2",
    "tanh(x, 2)", "pow(x)", "x < y + tanh", "'", '"', "\\", "x\u00a0+ 1", "x + \u2028 1", "naïve(x)", "α*x", "x\x00", "😀",
    "x + 😀😀 + sigmoidd(x)", "tahn(x)", "softplsu(x)", "e" * 70 + "(x)", "x " * 60, "x + " * 40 + "qq(x)",
    "qq(x)" + " + x" * 40, "(" * 101 + "x" + ")" * 101, "-" * 200 + "x", "x + " * 5000 + "x", "x" + "+x" * 9999 + "y",
    "x" * 20001, "log10(x)", "x == ", "a(x)", "pi(x)", "x ! y", "x = 1", "1.2.3", "1e5x", "sigmoid(x > 0)", "abs(|x|", "2 x",
    "relu6x(x)", "swsh(x)", "mittag(x, 1, 1)", "x**", "**x", ",", "x,", "max(x,)",
]  # fmt: skip

LATEX = {
    "x*sigmoid(beta*x)": r"x \sigma(\beta x)",
    "2*x*3 + -2": r"2 x \cdot 3 + (-2)",
    "-(x + 1)*(x - (a1 - 2))": r"-(x + 1) (x - (a_{1} - 2))",
    "(x/2)^2 + x^-2 + (x^2)^3": r"\left(\frac{x}{2}\right)^{2} + x^{-2} + (x^{2})^{3}",
    "exp(-x/(2*b))/sqrt(1 + |x|)": r"\frac{e^{-x/(2 b)}}{\sqrt{1 + |x|}}",
    "x/4/sqrt(2/pi)": r"\frac{x/4}{\sqrt{2/\pi}}",
    "where(x > 0, x, where(x <= c_max, 1, 0))":
        r"\begin{cases} x & \text{if } x > 0 \\ 1 & \text{if } x \le c_{\mathrm{max}} \\ 0 & \text{otherwise} \end{cases}",
    "where(x > 0, x, 1)*2": r"\left(\begin{cases} x & \text{if } x > 0 \\ 1 & \text{otherwise} \end{cases}\right) \cdot 2",
    "max(x, 0, tanh(x))": r"\max(x, 0, \tanh(x))",
    "log1p(x) - expm1(x)": r"\log(1 + x) - (e^{x} - 1)",
    "exp(-tanh(x))*1e-5": r"\exp(-\tanh(x)) \cdot 10^{-5}",
    "gelu(leaky_relu(x))": r"\operatorname{gelu}(\operatorname{leaky relu}(x))",
    "mittag_leffler_ratio_010(x, 1, b, x, a, 2)": r"\frac{E_{1,b}^{(0,1,0)}(x)}{E_{a,2}(x)}",
}  # fmt: skip

DRIVER = """
const bytes = (values) => btoa(Array.from(new Uint8Array(values.buffer), (b) => String.fromCharCode(b)).join(""));
const attempt = (make) => {
  try { return make(); } catch (e) { return e instanceof formulas.FormulaError ? e.message : `${e.stack}`; }
};
const { x, cases, texts, latex, declared } = dom.data();
const read = cases.map(({ rows, values, orders }) => (
  { e: formulas.fromRows(rows), numbers: values, orders, values: { ...values, x: Float64Array.from(x) } }));
const answer = () => ({
  values: read.map(({ e, values, orders }) => orders.map((n) => bytes(formulas.evaluate(formulas.diff(e, "x", n), values)))),
  slopes: read.map(({ e, orders }) => orders.length > 1 && formulas.text(formulas.diff(e))),
  python: read.map(({ e, numbers }) => attempt(() => formulas.python(e, numbers))),
  c: read.map(({ e, numbers }) => attempt(() => formulas.c(e, numbers))),
  texts: texts.map((t) => attempt(() => formulas.text(formulas.parse(t)))),
  latex: latex.map((t) => formulas.latex(formulas.parse(t))),
  declared: Array.from(formulas.evaluate(formulas.parse(declared), { x: 3 })),
});
const shown = () => read.map(({ e }) => formulas.mathml(e)).filter((m) => m.localName === "math").length;
"""


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A page that has all cases and texts; a function was declared before it was written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(OPS, "tripled", Op("tripled", 1, definition=parse("3*a")))
        yield from opened_page(browser, tmp_path_factory.mktemp("formulas") / "page.html")


def opened_page(browser: Any, file: Path) -> Iterator[Any]:
    given = [{"rows": to_rows(c.e), "values": c.values, "orders": c.orders} for c in cases()]
    data = {"x": X.tolist(), "cases": given, "texts": [*TEXTS, *BROKEN], "latex": [*LATEX],
            "declared": "tripled(x) - 1"}  # fmt: skip
    text = html_page("Formulas", "", styles=(), scripts=(asset("dom.js"), *formula_scripts(), DRIVER), data=data)
    file.write_text(text, encoding="utf-8")
    with opened(browser, file) as found:
        yield found


@pytest.fixture(scope="module")
def answer(page: Any) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate("answer()")
    return found


# -- values ----------------------------------------------------------------------------------------------------------------


def moved(e: Expr, values: dict[str, float], rng: Random, h: float = 1e-7) -> torch.Tensor:
    """The values at X if x, the numbers and the results of about half the operators were less by the factor 1 - h."""

    def less(y: Any) -> Any:  # never more, which may be outside the range of a parameter
        return y * (1 - h) if rng.random() < 0.5 else y

    def leaf(n: Expr) -> Any:
        known = {"x": X, **values}[n.args[0]] if n.op == "symbol" else n.args[0]
        return less(torch.as_tensor(known, dtype=torch.float64))

    def node(n: Expr, *args: Any) -> Any:
        if n.op == "pi":
            return less(torch.tensor(np.pi, dtype=torch.float64))
        function = OPS[n.op].torch
        assert function is not None
        return function(*args) if n.is_comparison else less(function(*args))

    return (e.expand().fold(leaf, node) + 0 * X).double()


def errors(case: Case, order: int, encoded: str) -> np.ndarray:
    """The errors of a browser's values, over the library's, derivatives over max(1, |value|).

    Where that is more than is allowed, roundings that the formula magnifies are excused: those of x and the parameters, as in
    tests/oracle.py, and those of operators, for in x - sinh(x), near 0, the rounding of sinh is all that is left, by whatever way.
    """
    e = case.e.diff("x", order)
    got, y = np.frombuffer(base64.b64decode(encoded)), evaluate(e, {"x": X, **case.values}).expand_as(X).numpy()
    scale = np.maximum(np.abs(y), float(order > 0))
    found = over(got, y, scale)
    if found.max() > ALLOWED:
        with np.errstate(all="ignore"):
            scale += np.max([np.abs(moved(e, case.values, Random(seed)).numpy() - y) / 1e-7 for seed in range(6)], 0)
        found = over(got, y, np.where(np.isfinite(scale), scale, np.inf))
    return found


def over(got: np.ndarray, y: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Relative errors; below the smallest normal number all is zero, and infinity and nan are to be the same."""
    with np.errstate(all="ignore"):
        found = np.maximum(np.abs(got - y) - np.finfo(np.float64).tiny, 0) / scale
    found = np.where(np.isfinite(y) & np.isfinite(got), found, np.inf)
    return np.where((got == y) | (np.isnan(got) & np.isnan(y)), 0, found)


def worst(found: dict[str, Any], order: int) -> list[tuple[float, float, str]]:
    """(error, x, name) of each case, the largest first."""
    every = [(c, errors(c, order, v[order])) for c, v in zip(cases(), found["values"], strict=True) if order in c.orders]
    return sorted(((float(e.max()), float(X[e.argmax()]), c.name) for c, e in every), reverse=True)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_values_and_derivatives_are_those_of_the_library(answer: dict[str, Any], order: int) -> None:
    assert [found for found in worst(answer, order) if not found[0] <= ALLOWED] == []


def test_derivatives_are_the_same_formulas(answer: dict[str, Any]) -> None:
    assert answer["slopes"] == [len(c.orders) > 1 and str(c.e.diff()) for c in cases()]


def test_a_function_that_was_declared_before_the_page_was_written(answer: dict[str, Any]) -> None:
    assert answer["declared"] == [8]


# -- texts -----------------------------------------------------------------------------------------------------------------


def told(text: str) -> str:
    """What the library's parser makes of a text: the formula, or the message of the error."""
    try:
        return str(parse(text))
    except FormulaError as error:
        return str(error)


def test_texts_and_messages_are_those_of_the_library(answer: dict[str, Any]) -> None:
    assert dict(zip([*TEXTS, *BROKEN], answer["texts"], strict=True)) == {text: told(text) for text in [*TEXTS, *BROKEN]}
    for text in BROKEN:
        with pytest.raises(FormulaError):
            parse(text)


def test_latex(answer: dict[str, Any]) -> None:
    assert dict(zip(LATEX, answer["latex"], strict=True)) == LATEX


def test_mathematics_of_a_formula(page: Any) -> None:
    """Fractions, powers, roots, bars and cases are elements of MathML; parentheses stand only where they are needed."""

    def tags(text: str) -> dict[str, int]:
        found: dict[str, int] = page.evaluate("""(text) => {
            const counts = {};
            for (const { localName } of formulas.mathml(formulas.parse(text)).querySelectorAll("*")) {
              counts[localName] = (counts[localName] ?? 0) + 1;
            }
            return counts; }""", text)  # fmt: skip
        return found

    def letters(text: str) -> str:
        script = "(text) => formulas.mathml(formulas.parse(text)).querySelector('semantics').firstChild.textContent"
        return str(page.evaluate(script, text)).replace("\u2061", "").replace("\u2062", "")

    assert tags("x/2 + x^3")["mfrac"] == tags("x/2 + x^3")["msup"] == tags("sqrt(x)")["msqrt"] == tags("a0*x")["msub"] == 1
    assert tags("where(x > 0, x, 1)")["mtr"] == 2
    assert letters("alpha*|x| - (beta1 + x)*2") == "α|x|−(β1+x)·2"
    assert letters("where(x > 0, x, -1)") == "{xif\xa0x>0−1otherwise"
    assert page.evaluate("shown()") == len(cases())


# -- source ----------------------------------------------------------------------------------------------------------------


def written(answer: dict[str, Any], language: str) -> dict[Case, str]:
    """The sources of the families; what a language cannot say gives a line that tells so."""
    chosen = {c: text for c, text in zip(cases(), answer[language], strict=True) if " shifted by " in c.name}
    lacking = {c: text for c, text in chosen.items() if "\n" not in text}
    assert all("actune export" in text for text in lacking.values())
    assert all(c.name.startswith("ml_") or (language == "c" and {"i0e", "i1e"} & operators_of(c.e)) for c in lacking)
    return {c: text for c, text in chosen.items() if c not in lacking}


def near(y: torch.Tensor, case: Case) -> None:
    torch.testing.assert_close(y, evaluate(case.e, {"x": X, **case.values}).expand_as(X), rtol=1e-12, atol=1e-13)


def test_python_to_copy(answer: dict[str, Any]) -> None:
    sources = written(answer, "python")
    assert len(sources) > 100
    for case, text in sources.items():
        space: dict[str, Any] = {}
        exec(compile(text, case.name, "exec"), space)
        near(space["activation"](X), case)


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler (cc)")
def test_c_to_copy(answer: dict[str, Any], tmp_path: Path) -> None:
    sources = list(written(answer, "c").items())
    assert len(sources) > 100
    parts = [text.removeprefix("#include <math.h>").rpartition("double activation(") for _, text in sources]
    helpers = dict.fromkeys(line for head, _, _ in parts for line in head.splitlines())
    functions = [f"{name}activation{k}({rest}" for k, (_, name, rest) in enumerate((h, "double ", r) for h, _, r in parts)]
    (tmp_path / "all.c").write_text("\n".join(["#include <math.h>", *helpers, *functions]))
    command = ["cc", "-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-shared", "-fPIC", "all.c", "-lm", "-o", "all.so"]
    subprocess.run(command, cwd=tmp_path, check=True)
    library = ctypes.CDLL(str(tmp_path / "all.so"))
    for k, (case, _) in enumerate(sources):
        function = getattr(library, f"activation{k}")
        function.restype, function.argtypes = ctypes.c_double, [ctypes.c_double]
        near(torch.tensor([function(x) for x in X.tolist()], dtype=torch.float64), case)
