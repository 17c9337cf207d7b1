"""Zorro: five smooth functions that join ReLU and the sigmoid (Roodschild et al., arXiv 2409.19239).

The paper's left side is k*x*GS(x), GS(x) = sigmoid(a*(x - b)), k = 1/GS(0); the right side is its mirror image. All members are
a clipped line plus the hump below, written so that the tails keep their digits and no infinity meets a zero.
"""

from __future__ import annotations

from ...language.expr import Expr
from ...language.functions import abs as absolute
from ...language.functions import clip, exp, relu, sign, where
from ..registry import Param, declare, positive

ZORRO = "arXiv:2409.19239"
LSTM = "a = 4 and b = 2 are the authors' (LSTM), fixed there, trainable here."


def hump(u: Expr, a: Expr, q: Expr) -> Expr:
    """u*k*GS(-u) for the distance u >= 0 from the linear part: how far the function is above (below) its limit there.

    k*GS(-u) = (1 + e^(ab))/(1 + e^(ab + au)) = (1 + q)*w/(1 + q*w) with q = e^(-ab) and w = e^(-au), neither of them above 1.
    """
    u = clip(u, -1e30, 1e30)  # the tail has long been zero; keeps inf*0 away
    w = exp(-(a * u))
    return u * ((1 + q) * w / (1 + q * w))


def unit(x: Expr, a: Expr, q: Expr) -> Expr:
    """Symmetric-Zorro Z(x; a, b): linear on [0, 1], limits 0 and 1."""
    return clip(x, 0, 1) + sign(x) * hump(relu(-x) + relu(x - 1), a, q)


def gate(x: Expr, m: Expr, a: Expr, b: Expr) -> Expr:
    """Sigmoid-Zorro Z(m*x + 1/2; a, b): symmetric about (0, 1/2)."""
    s = m * x
    return (0.5 + clip(s, -0.5, 0.5)) + sign(s) * hump(relu(absolute(s) - 0.5), a, exp(-(a * b)))


@declare(paper=ZORRO, a=Param(4.0, positive), b=Param(2.0, positive), joints=(0.0, 1.0), bounds=(-0.0921, 1.0921), notes=LSTM)
def zorro_symmetric(x: Expr, a: Expr, b: Expr) -> Expr:
    """Linear on [0, 1], bending back to 0 on the left and to 1 on the right."""
    return unit(x, a, exp(-(a * b)))


@declare(
    paper=ZORRO,
    a1=Param(4.0, positive),
    b1=Param(2.0, positive),
    a2=Param(1.2, positive),
    b2=Param(1.0, positive),
    joints=(0.0, 1.0),
    notes="Form reconstructed: (a1, b1) for x < 0, (a2, b2) for x > 1. Initial values are the authors' for LSTM (left) and for "
    "YOLOv5 (right); a2 near 0 makes the right side linear, zorro_gelu and zorro_silu have it exactly linear.",
)
def zorro_asymmetric(x: Expr, a1: Expr, b1: Expr, a2: Expr, b2: Expr) -> Expr:
    """Symmetric-Zorro with its own bend on each side."""
    return unit(x, where(x < 0, a1, a2), where(x < 0, exp(-(a1 * b1)), exp(-(a2 * b2))))


@declare(
    paper=ZORRO,
    m=Param(0.5, positive),
    a=Param(4.0, positive),
    b=Param(2.0, positive),
    joints=(-1.0, 1.0),
    bounds=(-0.0921, 1.0921),
    notes=LSTM + " m = 1/2 is theirs for gates.",
)
def zorro_sigmoid(x: Expr, m: Expr, a: Expr, b: Expr) -> Expr:
    """Symmetric-Zorro moved to the middle, Z(m*x + 1/2): a gate with a linear centre."""
    return gate(x, m, a, b)


@declare(
    paper=ZORRO,
    m=Param(1.0, positive),
    a=Param(4.0, positive),
    b=Param(2.0, positive),
    joints=(-1.0, 1.0),
    odd=True,
    bounds=(-1.1841, 1.1841),
    notes=LSTM + " m = 1 is theirs.",
)
def zorro_tanh(x: Expr, m: Expr, a: Expr, b: Expr) -> Expr:
    """Symmetric-Zorro as an odd function, 2*Z((m*x + 1)/2) - 1: in place of tanh."""
    s = m * x
    return clip(s, -1, 1) + sign(s) * (2 * hump(relu(absolute(s) - 1) / 2, a, exp(-(a * b))))


@declare(
    paper=ZORRO,
    m=Param(2.0, positive),
    a=Param(4.0, positive),
    b=Param(2.0, positive),
    joints=(0.0, 0.5),
    bounds=(-0.0921, 1.0921),
    notes="Form reconstructed, Z(m*x); m = 2 is ours. " + LSTM,
)
def zorro_sloped(x: Expr, m: Expr, a: Expr, b: Expr) -> Expr:
    """Symmetric-Zorro with a steeper linear part, to train faster."""
    return unit(m * x, a, exp(-(a * b)))


def _linear_right(x: Expr, a: Expr, b: Expr) -> Expr:
    """Asymmetric-Zorro with a2 = 0: linear for x > 0."""
    return where(x > 0, x, -hump(-x, a, exp(-(a * b))))


# Presets: the parameters that come nearest to a known function on [-8, 8]; root mean square of the difference in the notes.


@declare(paper=ZORRO, a=Param(1.92, positive), b=Param(2.0, positive), joints=(0.0,), notes="Fit to GELU on [-8, 8]: rms 0.045.")
def zorro_gelu(x: Expr, a: Expr, b: Expr) -> Expr:
    """Zorro with a linear right side, near GELU."""
    return _linear_right(x, a, b)


@declare(
    paper=ZORRO, a=Param(1.09, positive), b=Param(2.0, positive), joints=(0.0,), notes="Fit to Swish (SiLU) on [-8, 8]: rms 0.10."
)
def zorro_silu(x: Expr, a: Expr, b: Expr) -> Expr:
    """Zorro with a linear right side, near Swish."""
    return _linear_right(x, a, b)


@declare(
    paper=ZORRO,
    m=Param(0.4032, positive),
    a=Param(2.98, positive),
    b=Param(2.0, positive),
    joints=(-1.240079, 1.240079),
    notes="Fit to the derivative of SiLU on [-8, 8]: rms 0.018.",
)
def zorro_dsilu(x: Expr, m: Expr, a: Expr, b: Expr) -> Expr:
    """Sigmoid-Zorro near the derivative of SiLU."""
    return gate(x, m, a, b)


@declare(
    paper=ZORRO,
    m=Param(0.6853, positive),
    a=Param(2.80, positive),
    b=Param(2.0, positive),
    joints=(-0.729608, 0.729608),
    notes="Fit to the derivative of GELU on [-8, 8]: rms 0.009.",
)
def zorro_dgelu(x: Expr, m: Expr, a: Expr, b: Expr) -> Expr:
    """Sigmoid-Zorro near the derivative of GELU."""
    return gate(x, m, a, b)
