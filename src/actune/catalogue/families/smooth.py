"""Smooth functions by convolution with approximate identities, and their relatives (Biswas et al.)."""

from __future__ import annotations

from ...language.expr import Expr
from ...language.functions import erfc, hypot, square, where
from ..registry import Param, declare, positive
from ..smoothing import gaussian_ramp


@declare(
    paper="arXiv:2109.13210",
    alpha=Param(0.15),
    n=Param(20000.0, positive, trainable=False),
    monotone=True,
    notes="alpha = 0.15 trainable and n = 20000 fixed are the paper's; there it differs from leaky ReLU by at most "
    "1.7e-5. To smooth for real, start n near 1 (then it may be trained too). Equation reconstructed from the "
    "definition; the factor (1 - alpha) of the Gaussian term, which transcriptions drop, is there.",
)
def sau(x: Expr, alpha: Expr, n: Expr) -> Expr:
    """Smooth activation unit: leaky ReLU convolved with a normal density of standard deviation 1/n."""
    return gaussian_ramp(x, 1 / n) - alpha * gaussian_ramp(-x, 1 / n)


@declare(
    paper="arXiv:2111.04682",
    alpha=Param(0.25, trainable=False),
    mu=Param(1.0, positive),
    monotone=True,
    notes="alpha = 0.25 is the paper's, mu = 1 is ours. alpha = 0 and mu = 1/sqrt(2) is exactly GELU.",
)
def smu(x: Expr, alpha: Expr, mu: Expr) -> Expr:
    """Smooth maximum unit: leaky ReLU with |x| replaced by x*erf(mu*x)."""
    z = mu * (1 - alpha) * x
    return x * (erfc(-z) / 2) + alpha * (x * (erfc(z) / 2))


@declare(
    paper="arXiv:2111.04682",
    alpha=Param(0.25, trainable=False),
    mu=Param(1.0, positive),
    monotone=True,
    notes="alpha = 0.25 is the paper's, mu = 1 is ours. The paper calls it SMU-1.",
)
def smu1(x: Expr, alpha: Expr, mu: Expr) -> Expr:
    """Smooth maximum unit, second form: leaky ReLU with |x| replaced by sqrt(x^2 + mu^2)."""
    half = (1 - alpha) / 2 * x
    root, tail = hypot(half, mu / 2), square(mu / 2)
    return where(x > 0, x + tail / (root + half), alpha * x + tail / (root - half))
