"""Functions that others' searches found: material to breed from, and opponents.

Formulas of PANGAEA (arXiv 2006.03179) are reported second-hand; it trains the parameters one per channel.
"""

from __future__ import annotations

from ...language.expr import Expr
from ...language.functions import asinh, clip, exp, log_sigmoid, min, sin, sinc, softplus, square, tanh
from ..registry import Param, declare
from .classic import elu, gelu, selu, silu

PANGAEA = "arXiv:2006.03179"
MINED = "arXiv:2602.05688"


@declare(paper=PANGAEA, reported=True, alpha=Param(1.0), beta=Param(1.0), notes="Reported for WRN-10-4 on CIFAR-100.")
def pangaea_gated_asinh(x: Expr, alpha: Expr, beta: Expr) -> Expr:
    """An inverse hyperbolic sine, gated by a log-sigmoid."""
    return log_sigmoid(alpha * x) * (beta * asinh(x))


@declare(
    paper=PANGAEA,
    reported=True,
    alpha=Param(1.0),
    beta=Param(1.0),
    gamma=Param(1.0),
    notes="Reported for ResNet-v1-56 on CIFAR-100.",
)
def pangaea_line_log_sigmoid(x: Expr, alpha: Expr, beta: Expr, gamma: Expr) -> Expr:
    """A line minus a log-sigmoid."""
    return alpha * x - beta * log_sigmoid(gamma * x)


@declare(paper=PANGAEA, reported=True, monotone=True, joints=(0.0,), notes="Reported for ResNet-v2-56 on CIFAR-100.")
def pangaea_softplus_elu(x: Expr) -> Expr:
    """Softplus of ELU."""
    return softplus(elu(x))


@declare(paper=PANGAEA, reported=True, alpha=Param(1.0))
def pangaea_swish_swish(x: Expr, alpha: Expr) -> Expr:
    """Swish applied twice, with the sign turned."""
    return -silu(silu(alpha * x))


@declare(
    paper=PANGAEA,
    reported=True,
    alpha=Param(1.0),
    beta=Param(1.0),
    notes="At the initial values both sides are equal, so each gets half of the gradient.",
)
def pangaea_min_log_sigmoid(x: Expr, alpha: Expr, beta: Expr) -> Expr:
    """The lower of two log-sigmoids."""
    return min(log_sigmoid(x), alpha * log_sigmoid(beta * x))


@declare(paper=PANGAEA, reported=True, kinks=(0.0,))
def pangaea_selu_swish(x: Expr) -> Expr:
    """SELU of Swish."""
    return selu(silu(x))


@declare(paper=MINED, reported=True)
def gelu_sine(x: Expr) -> Expr:
    """GELU with a small sine: the best of its search outside the training range."""
    return gelu(x) + 0.1 * sin(x)


@declare(paper=MINED, reported=True)
def gelu_sinc(x: Expr) -> Expr:
    """GELU, perturbed by a sinc near the origin."""
    return gelu(x) * (1 + 0.5 * sinc(clip(x, -1e30, 1e30)))


@declare(paper=MINED, reported=True, odd=True)
def gmtu(x: Expr) -> Expr:
    """A tanh under a Gaussian, plus a line."""
    return tanh(1.5 * x) * exp(-0.2 * square(clip(x, -100, 100))) + 0.2 * x
