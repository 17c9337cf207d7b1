"""The textbook: every deterministic elementwise function of `torch.nn`, and those that are often asked for."""

from __future__ import annotations

import torch.nn.functional as F

from ..expr import Expr
from ..functions import erfc, sigmoid, softplus, sqrt, tanh
from ..family import Param, declare


@declare(paper="arXiv:1908.08681", reference=F.mish)
def mish(x: Expr) -> Expr:
    """The input times tanh of its softplus."""
    return x * tanh(softplus(x))


@declare(paper="arXiv:1710.05941", beta=Param(1.0))
def swish(x: Expr, beta: Expr) -> Expr:
    """The input, gated by a sigmoid of itself with a trainable steepness."""
    return x * sigmoid(beta * x)


@declare(paper="arXiv:1702.03118", reference=F.silu)
def silu(x: Expr) -> Expr:
    """The input, gated by a sigmoid of itself."""
    return x * sigmoid(x)


@declare(paper="arXiv:1606.08415", reference=F.gelu)
def gelu(x: Expr) -> Expr:
    """The input times the normal distribution function."""
    return 0.5 * x * erfc(-x / sqrt(2))
