"""Functions that stand beside each other, most often a function beside its slope, by operators that share their work."""

from __future__ import annotations

from collections.abc import Sequence

from ...language.expr import Expr, const, order, rebuild
from .factors import product, with_number

__all__ = ["with_partners"]

_ZERO, _TWO = const(0), const(2)
_Key = tuple[float, Expr]  # the size of a number, and a formula: the same for arguments that differ in sign alone


def with_partners(outputs: Sequence[Expr]) -> tuple[Expr, ...]:
    """The formulas with operators of `PARTNERS` in place of functions that take less together."""
    found: dict[str, set[_Key]] = {}
    signed: set[tuple[bool, _Key]] = set()  # of arguments of erfc
    for n in order(outputs):
        name, argument = _function(n)
        found.setdefault(name, set()).add(_key(argument))
        if name == "erfc":
            signed.add((with_number(argument)[0] < 0, _key(argument)))
    sigmoid, tanh, bell, erfc, slope = (found.get(name, set()) for name in ("sigmoid", "tanh", "bell", "erfc", "sigmoid slope"))
    soft = found.get("softplus", set()) | found.get("log_sigmoid", set())
    doubled = {(2 * number, e) for number, e in tanh}

    def node(n: Expr, *args: Expr) -> Expr:
        name, argument = _function(n)
        key = _key(argument)
        if name == "tanh" and (2 * key[0], key[1]) in slope:
            number, e = with_number(args[0])
            return Expr("tanh beside slope", (product(2 * number, e),))
        if name == "sigmoid slope":
            beside = " beside tanh" if key in doubled else " beside softplus" if key in soft else ""
            return Expr(f"sigmoid slope{beside}", args[0].args)
        if name == "bell" and key in erfc:
            return Expr("bell beside erfc", args[0].args[0].args)
        if name == "erfc" and (key in bell or {(False, key), (True, key)} <= signed):
            return _erfc_by_size(args[0], " beside bell" if key in bell else "")
        if name == "sigmoid" and key in soft:
            return Expr("sigmoid beside softplus", args)
        if name in ("softplus", "log_sigmoid") and key in sigmoid:
            return Expr(f"{name} beside sigmoid", args)
        return Expr(n.op, args)

    return rebuild(outputs, node)


def _erfc_by_size(argument: Expr, beside: str) -> Expr:
    """erfc(a) from erfc(|a|), which that of -a shares."""
    number, e = with_number(argument)
    a = product(abs(number), e)
    far = Expr(f"erfc of size{beside}", (a,))
    sides = Expr("sub", (_TWO, far)), far
    return Expr("where", (Expr("<", (a, _ZERO)), *(sides if number > 0 else sides[::-1])))


def _function(n: Expr) -> tuple[str, Expr]:
    """The name of what a node computes, and its argument: with exp(-z^2), a bell of z, and sigmoid(z) sigmoid(-z)."""
    if n.op == "exp" and n.args[0].op == "neg" and n.args[0].args[0].op == "square":
        return "bell", n.args[0].args[0].args[0]
    if n.op == "mul" and n.args[0].op == n.args[1].op == "sigmoid":
        (p, e), (q, f) = (with_number(a.args[0]) for a in n.args)
        if e is f and p == -q:
            return "sigmoid slope", n.args[0].args[0]
    return n.op, n if n.is_leaf else n.args[0]


def _key(argument: Expr) -> _Key:
    number, e = with_number(argument)
    return abs(number), e
