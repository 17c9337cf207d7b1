"""What the papers say: families stated a second time, in mpmath, as the source writes them.

Every family without a function of torch's own is here, and some that torch has, but not to all digits. These are the plain textbook
forms, without regard to cancellation or overflow: mpmath has the digits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mpmath import mp

Definition = Callable[..., Any]


def sigmoid(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x))


def softplus(x: Any) -> Any:
    return mp.log(1 + mp.exp(x))


def normal(x: Any) -> Any:
    """The normal distribution function."""
    return mp.ncdf(x)


def gelu(x: Any) -> Any:
    return x * normal(x)


def elu(x: Any, alpha: Any = 1) -> Any:
    return x if x > 0 else alpha * (mp.exp(x) - 1)


def selu(x: Any) -> Any:
    return mp.mpf(1.0507009873554805) * elu(x, mp.mpf(1.6732632423543772))


def silu(x: Any) -> Any:
    return x * sigmoid(x)


def xielu(x: Any, alpha_p: Any, alpha_n: Any) -> Any:
    beta = mp.mpf(0.5)
    return alpha_p * x**2 + beta * x if x > 0 else alpha_n * (mp.exp(x) - 1) - alpha_n * x + beta * x


def rational(x: Any, a: Any, b: Any) -> Any:
    return sum(c * x**k for k, c in enumerate(a)) / (1 + b[0] * x**2 + b[1] * x**4)


def zorro(x: Any, a: Any, b: Any, a2: Any = None, b2: Any = None) -> Any:
    """Symmetric and asymmetric Zorro as the paper writes them, in pieces."""

    def piece(t: Any, a: Any, b: Any) -> Any:
        return (1 + mp.exp(a * b)) * t * sigmoid(a * (t - b))

    a2, b2 = (a, b) if a2 is None else (a2, b2)
    return piece(x, a, b) if x < 0 else x if x <= 1 else 1 - piece(1 - x, a2, b2)


def zorro_linear(x: Any, a: Any, b: Any) -> Any:
    return zorro(x, a, b) if x < 0 else x


def sau(x: Any, alpha: Any, n: Any) -> Any:
    return ((1 + alpha) / 2 * x + (1 - alpha) / 2 * x * mp.erf(n * x / mp.sqrt(2))
            + (1 - alpha) / (2 * n) * mp.sqrt(2 / mp.pi) * mp.exp(-(n**2) * x**2 / 2))  # fmt: skip


def sinc(x: Any) -> Any:
    return mp.sin(mp.pi * x) / (mp.pi * x) if x else mp.mpf(1)


def mittag_leffler(z: Any, alpha: Any, beta: Any) -> Any:
    """The series; the continuation at alpha = 0; far out the exponential terms, and for z < 0 the algebraic ones."""
    if alpha == 0:
        return mp.rgamma(beta) / (1 - z)
    if z and abs(z) ** (1 / alpha) > 100:
        pole = mp.mpc(z) ** (1 / alpha)
        wave = (mp.exp(pole) * pole ** (1 - beta) / alpha).real
        return wave if z > 0 else 2 * (alpha > 1) * wave - sum(z**-k * mp.rgamma(beta - alpha * k) for k in range(1, 60))
    size, total, k = mp.mpf(1), mp.mpf(0), 0
    while k < 10 or size > mp.eps * abs(total):
        term = z**k * mp.rgamma(alpha * k + beta)
        size, total, k = max(abs(term), size / 2), total + term, k + 1
    return total


def gated(x: Any, f: Any, g: Any, gamma: Any, alpha1: Any, beta1: Any, beta2: Any, alpha2: Any = 1) -> Any:
    """x^gamma E(f)/E(g), the power that of |x|, with the sign of x where gamma is about 1."""
    return abs(x) ** gamma * mittag_leffler(f, alpha1, beta1) / mittag_leffler(g, alpha2, beta2)


def gated_odd(x: Any, f: Any, g: Any, **p: Any) -> Any:
    return mp.sign(x) * gated(x, f, g, **p)


def gated_squares(x: Any, **p: Any) -> Any:
    return gated_odd(x, x**2, x**2, **p | {"alpha1": max(p["alpha1"], p["alpha2"])})


def gated_gelu(x: Any, **p: Any) -> Any:
    return gated_odd(x, x / mp.sqrt(2), x**2 / 2 + mp.log(2), **p | {"alpha1": max(p["alpha1"], p["alpha2"] / 2)})


DEFINITIONS: dict[str, Definition] = {
    # classics
    "gelu": gelu,
    "gelu_tanh": lambda x: x / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + mp.mpf(0.044715) * x**3))),
    "elu": elu,
    "leaky_relu": lambda x, negative_slope: max(0, x) + negative_slope * min(0, x),
    "prelu": lambda x, a: max(0, x) + a * min(0, x),
    "selu": selu,
    "celu": lambda x, alpha: max(0, x) + min(0, alpha * (mp.exp(x / alpha) - 1)),
    "softplus": softplus,
    "log_sigmoid": lambda x: mp.log(sigmoid(x)),
    "mish": lambda x: x * mp.tanh(softplus(x)),
    "tanhshrink": lambda x: x - mp.tanh(x),
    "keras_hard_sigmoid": lambda x: max(0, min(1, mp.mpf(0.2) * x + mp.mpf(0.5))),
    "elish": lambda x: x / (1 + mp.exp(-x)) if x >= 0 else (mp.exp(x) - 1) / (1 + mp.exp(-x)),
    "xielu": xielu,
    "quick_gelu": lambda x: x * sigmoid(mp.mpf(1.702) * x),
    "swish": lambda x, beta: x * sigmoid(beta * x),
    "e_swish": lambda x, beta: beta * x * sigmoid(x),
    "dsilu": lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x))),
    "dgelu": lambda x: normal(x) + x * mp.npdf(x),
    "sinlu": lambda x, a, b: (x + a * mp.sin(b * x)) * sigmoid(x),
    "hard_mish": lambda x: x / 2 * min(2, max(0, x + 2)),
    "tanhexp": lambda x: x * mp.tanh(mp.exp(x)),
    "serf": lambda x: x * mp.erf(softplus(x)),
    "erfact": lambda x, alpha, beta: x * mp.erf(alpha * mp.exp(beta * x)),
    "pserf": lambda x, gamma, delta: x * mp.erf(gamma * softplus(delta * x)),
    "lisht": lambda x: x * mp.tanh(x),
    "logish": lambda x: x * mp.log(1 + sigmoid(x)),
    "smish": lambda x: x * mp.tanh(mp.log(1 + sigmoid(x))),
    "phish": lambda x: x * mp.tanh(gelu(x)),
    "lecun_tanh": lambda x: mp.mpf(1.7159) * mp.tanh(mp.mpf(2 / 3) * x),
    "penalized_tanh": lambda x: mp.tanh(x) if x > 0 else mp.tanh(x) / 4,
    "dynamic_tanh": lambda x, alpha: mp.tanh(alpha * x),
    "isru": lambda x, alpha: x / mp.sqrt(1 + alpha * x**2),
    "isrlu": lambda x, alpha: x if x >= 0 else x / mp.sqrt(1 + alpha * x**2),
    "sqnl": lambda x: mp.sign(x) if abs(x) > 2 else x - x**2 / 4 if x >= 0 else x + x**2 / 4,
    "cloglog": lambda x: 1 - mp.exp(-mp.exp(x)),
    "squareplus": lambda x, b: (x + mp.sqrt(x**2 + b)) / 2,
    "relu_squared": lambda x: max(x, 0) ** 2,
    "star_relu": lambda x, s, b: s * max(x, 0) ** 2 + b,
    "bent_identity": lambda x: (mp.sqrt(x**2 + 1) - 1) / 2 + x,
    "snake": lambda x, a: x + mp.sin(a * x) ** 2 / a,
    "gcu": lambda x: x * mp.cos(x),
    "gaussian": lambda x: mp.exp(-(x**2)),
    "symlog": lambda x: mp.sign(x) * mp.log(1 + abs(x)),
    "rational": rational,
    # the papers' families
    "zorro_symmetric": zorro,
    "zorro_asymmetric": lambda x, a1, b1, a2, b2: zorro(x, a1, b1, a2, b2),
    "zorro_sigmoid": lambda x, m, a, b: zorro(m * x + mp.mpf(1) / 2, a, b),
    "zorro_tanh": lambda x, m, a, b: 2 * zorro((m * x + 1) / 2, a, b) - 1,
    "zorro_sloped": lambda x, m, a, b: zorro(m * x, a, b),
    "zorro_gelu": zorro_linear,
    "zorro_silu": zorro_linear,
    "zorro_dsilu": lambda x, m, a, b: zorro(m * x + mp.mpf(1) / 2, a, b),
    "zorro_dgelu": lambda x, m, a, b: zorro(m * x + mp.mpf(1) / 2, a, b),
    "sau": sau,
    "smu": lambda x, alpha, mu: ((1 + alpha) * x + (1 - alpha) * x * mp.erf(mu * (1 - alpha) * x)) / 2,
    "smu1": lambda x, alpha, mu: ((1 + alpha) * x + mp.sqrt(((1 - alpha) * x) ** 2 + mu**2)) / 2,
    "apalu": lambda x, a, b: a * (x + x * sigmoid(mp.mpf(1.702) * x)) if x >= 0 else b * (mp.exp(x) - 1),
    # the gated Mittag-Leffler representation
    "ml_sigmoid": lambda x, **p: gated(x, -mp.exp(-x), 0, **p),
    "ml_swish": lambda x, c, **p: gated_odd(x, -mp.exp(-c * x), 0, **p),
    "ml_mish": lambda x, **p: gated_odd(x, -2 * mp.exp(-x) / (mp.exp(x) + 2), 0, **p),
    "ml_softsign": lambda x, **p: gated_odd(x, -abs(x), 0, **p),
    "ml_elu": lambda x, **p: gated_odd(x, min(x, 0), 0, **p),
    "ml_tanh": gated_squares,
    "ml_identity": gated_squares,
    "ml_erf": gated_squares,
    "ml_relu": lambda x, **p: gated_squares(x, **p) if x > 0 else 0,
    "ml_gelu": gated_gelu,
    # found by searches
    "pangaea_gated_asinh": lambda x, alpha, beta: mp.log(sigmoid(alpha * x)) * beta * mp.asinh(x),
    "pangaea_line_log_sigmoid": lambda x, alpha, beta, gamma: alpha * x - beta * mp.log(sigmoid(gamma * x)),
    "pangaea_softplus_elu": lambda x: softplus(elu(x)),
    "pangaea_swish_swish": lambda x, alpha: -silu(silu(alpha * x)),
    "pangaea_min_log_sigmoid": lambda x, alpha, beta: min(mp.log(sigmoid(x)), alpha * mp.log(sigmoid(beta * x))),
    "pangaea_selu_swish": lambda x: selu(silu(x)),
    "gelu_sine": lambda x: gelu(x) + mp.mpf(0.1) * mp.sin(x),
    "gelu_sinc": lambda x: gelu(x) * (1 + mp.mpf(0.5) * sinc(x)),
    "gmtu": lambda x: mp.tanh(mp.mpf(1.5) * x) * mp.exp(-mp.mpf(0.2) * x**2) + mp.mpf(0.2) * x,
}  # fmt: skip
