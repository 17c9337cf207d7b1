"""Formulas as MathML, which browsers draw without a script or a font of ours."""

from __future__ import annotations

from typing import Any

import sympy
from sympy.printing.mathml import MathMLPresentationPrinter

from actune.language.exact import to_sympy
from actune.language.expr import Expr

__all__ = ["mathml"]

WORDS = {"sigma": "σ", "logsigmoid": "log σ"}
FAR, NEAR = 1e6, 1e-25  # limits beyond which a formula only guards against overflow and division by zero


def mathml(e: Expr) -> str:
    """The formula for readers, as one element that stands in a line of its own: without its guards against overflow."""
    return f'<math display="block">{_Printer({"mul_symbol": "&#8290;"}).doprint(readable(e)).replace("&ExponentialE;", "e")}</math>'


def readable(e: Expr) -> Any:
    """The formula in SymPy without clips at numbers that matter to the computer only, such as clip(x, -1e30, 1e30)."""
    shown = to_sympy(e, named=True)
    for kind in (sympy.Max, sympy.Min):
        shown = shown.replace(lambda n, kind=kind: isinstance(n, kind), _unclipped)
    return shown.replace(lambda n: isinstance(n, sympy.Piecewise), _near)


def _unclipped(n: Any) -> Any:
    kept = [a for a in n.args if not (a.is_number and (abs(a) >= FAR or 0 < abs(a) <= NEAR))]
    return n.func(*kept)


def _near(n: Any) -> Any:
    """The last case, where the first is for inputs that are far away."""
    condition = n.args[0][1]
    far = getattr(condition, "rhs", sympy.Integer(0))
    return n.args[-1][0] if far.is_number and abs(far) >= FAR else n


class _Printer(MathMLPresentationPrinter):
    """SymPy's printer, with cases in a brace and E with its two indices, which it does not know."""

    def _print_Piecewise(self, expr: Any) -> Any:
        rows = [self._of("mtr", self._of("mtd", self._print(value)), self._of("mtd", self._when(condition)))
                for value, condition in expr.args]  # fmt: skip
        brace = self._text("mo", "{")
        brace.setAttribute("stretchy", "true")
        table = self._of("mtable", *rows)
        table.setAttribute("columnalign", "left left")
        return self._of("mrow", brace, table)

    def _when(self, condition: Any) -> Any:
        if condition == True:  # noqa: E712 - SymPy's own true
            return self._text("mtext", "otherwise")
        return self._of("mrow", self._text("mtext", "if\u00a0"), self._print(condition))

    def _print_MittagLeffler(self, expr: Any) -> Any:
        z, alpha, beta = map(self._print, expr.args)
        name = self._of("msub", self._text("mi", "E"), self._of("mrow", alpha, self._text("mo", ","), beta))
        return self._of("mrow", name, self._text("mo", "("), z, self._text("mo", ")"))

    def _print_Function(self, expr: Any) -> Any:
        name = str(expr.func)
        arguments = [part for i, a in enumerate(expr.args) for part in ([self._text("mo", ",")] * (i > 0) + [self._print(a)])]
        head = self._text("mi", WORDS.get(name, name))
        return self._of("mrow", head, self._text("mo", "("), *arguments, self._text("mo", ")"))

    def _text(self, tag: str, text: str) -> Any:
        element = self.dom.createElement(tag)
        element.appendChild(self.dom.createTextNode(text))
        return element

    def _of(self, tag: str, *children: Any) -> Any:
        element = self.dom.createElement(tag)
        for child in children:
            element.appendChild(child)
        return element
