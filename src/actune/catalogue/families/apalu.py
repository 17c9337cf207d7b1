"""APALU: a trainable piecewise function (Subramanian et al., arXiv 2402.08244)."""

from __future__ import annotations

from ...language.expr import Expr
from ...language.functions import expm1, sigmoid, where
from ..registry import Param, declare, positive


@declare(
    paper="arXiv:2402.08244",
    a=Param(2 / 3, positive),
    b=Param(1.0, positive),
    joints=(0.0,),
    monotone=True,
    notes="Continuous always, but with a continuous slope only where b = 1.5*a, although the paper claims differentiability. The "
    "initial values are ours: slope 1 on both sides of 0. A third party reports a = 0.55, b = 0.065.",
)
def apalu(x: Expr, a: Expr, b: Expr) -> Expr:
    """Adaptive piecewise approximated linear unit: a near-GELU line on the right, an exponential on the left."""
    return where(x >= 0, a * (x + x * sigmoid(1.702 * x)), b * expm1(x))
