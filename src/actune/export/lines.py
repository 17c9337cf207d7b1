"""A formula as statements, one operator each: what the source of every language is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..language.exact import folded
from ..language.expr import Expr, FormulaError

__all__ = ["called", "numbers_of", "statements"]

Term = Callable[[Expr, Sequence[str]], str]


def statements(e: Expr, leaf: Callable[[Expr], str], term: Term) -> tuple[list[tuple[Expr, str]], str]:
    """([(node, its text)], the result): the simplest form of a formula in order; the i-th text may use the names t0 to t(i-1).

    leaf   the text of a number or a symbol
    term   the text of a node, from it and the texts of its arguments
    """
    done: list[tuple[Expr, str]] = []

    def node(n: Expr, *terms: str) -> str:
        done.append((n, term(n, terms)))
        return f"t{len(done) - 1}"

    return done, folded(e.expand().simplify()).fold(leaf, node)


def called(e: Expr, table: Mapping[str, str], language: str) -> Term:
    """The `term` of a language whose operators are texts with `{0}`, `{1}`, …; FormulaError for a formula with others."""
    missing = sorted({n.op for n in e.expand().nodes() if not n.is_leaf and n.op not in table and n.args})
    if missing:
        raise FormulaError(f"{language} has no function {', '.join(missing)}; bake the formula with actune.bake, or choose another")
    return lambda n, terms: table[n.op].format(*terms)


def numbers_of(e: Expr) -> set[str]:
    """The operators in the simplest form of a formula."""
    return {n.op for n in folded(e.expand().simplify()).nodes()}
