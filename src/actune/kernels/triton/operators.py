"""What computes each operator in Triton: the device's library where it has the function, else the kernel column of the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...language.elementary import KERNELS, POWERS
from ...language.expr import Expr
from ...language.ops import OPS
from ..cpu.lanes import Value
from ..operators import ordered
from .lanes import TritonLanes

__all__ = ["has_triton_form", "triton_operator", "triton_values"]


def _power(K: Any, a: Any, b: Any) -> Any:
    return KERNELS["pow"](K, a, b) if b.number in POWERS else K.own("pow", a, b)


def _softplus_below(K: Any, a: Any) -> Any:
    """softplus(-|a|)."""
    return K.own("log1p", K.exp(-K.abs(a)))


def _named(name: str) -> Callable[..., Any]:
    return lambda K, *arguments: K.own(name, *arguments)


# Over the whole range, with the special values of torch's operators, which call the same library. Errors in units in the last
# place as the vendor states them for CUDA: 1 for exp, expm1, log, log1p; 2 for sin, cos, cosh, tanh, atan, erf, hypot; 3 for sinh,
# asinh; 4 for erfc, pow.
_OWN: dict[str, Callable[..., Any]] = {
    **{name: _named(name) for name in ("expm1", "log", "log1p", "sin", "cos", "sinh", "cosh", "tanh", "asinh", "atan",
                                       "erf", "erfc", "hypot")},
    "exp": lambda K, a: K.exp(a),
    "pow": _power,
    "sigmoid": lambda K, a: 1.0 / (1.0 + K.exp(-a)),
    "softplus": lambda K, a: K.most(0.0, a) + _softplus_below(K, a),
    "log_sigmoid": lambda K, a: K.least(0.0, a) - _softplus_below(K, a),
}  # fmt: skip


def triton_operator(op: str) -> Callable[..., Any] | None:
    """The function over TritonLanes that computes an operator; None where there is none."""
    return _OWN.get(op) or OPS[op].kernel


def has_triton_form(e: Expr) -> bool:
    """Whether every operator of a formula can be written in Triton. Those of the Mittag-Leffler function cannot."""
    return all(n.is_leaf or triton_operator(n.op) is not None for n in ordered((e,))[1])


def triton_values(lanes: TritonLanes, exprs: Sequence[Expr], inputs: dict[str, Value]) -> list[Value]:
    """Record the lines of formulas whose symbols have these values."""
    outputs, nodes = ordered(tuple(exprs))
    found: dict[Expr, Value] = {}
    for n in nodes:
        if n.is_leaf:
            found[n] = inputs[n.args[0]] if n.op == "symbol" else lanes.const(n.args[0])
        else:
            function = triton_operator(n.op)
            assert function is not None, f"{n.op} has no form in Triton"
            found[n] = function(lanes, *(found[a] for a in n.args))
    return [found[e] for e in outputs]
