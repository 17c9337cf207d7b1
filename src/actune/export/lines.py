"""A formula as statements, one operator each: what the source of every language is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..language.exact import folded
from ..language.expr import Expr

__all__ = ["called", "operators_of", "statements"]

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


def called(table: Mapping[str, str]) -> Term:
    """The `term` of a language whose operators are texts with `{0}`, `{1}`, …"""
    return lambda n, terms: table[n.op].format(*terms)


def operators_of(e: Expr) -> set[str]:
    """The names of the operators in the simplest form of a formula."""
    return {n.op for n in folded(e.expand().simplify()).nodes() if not n.is_leaf}
