"""The gated Mittag-Leffler representation: one form that ten known functions are points of (Mostafanejad, arXiv 2302.11007).

    φ(x) = x^γ · E_{α1,β1}(f(x)) / E_{α2,β2}(g(x)),      E_{α,β}(z) = Σ_k z^k / Γ(αk + β)

The inner maps f and g say which family it is; γ, α1, β1, α2, β2 may be trained, and are fixed unless asked for:
`Activation("ml_tanh", trainable={"beta2": True})`. Fixed, a preset is the built-in function itself.

All powers are of |x|: x^γ is sign(x)|x|^γ where the function starts at γ = 1, and |x|^γ with |x|^0 = 1 where it starts at γ = 0.
Inner maps are cut where the function has reached its limit: an exponential at e^230, so that a tail ends at 1e-100 and not at 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ...language import functions as op
from ...language.expr import Expr, apply
from ..interval import Closed
from ..registry import FAMILIES, Family, Param, declare, family

__all__ = ["interpolate"]

GATED = "arXiv:2302.11007"

# Where the function, and its gradient in float32, are finite.
_GAMMA = Closed(0, 2)
_BETA = Closed(0, 3)
_BETA_BELOW = Closed(0.05, 3)  # 1/E_{α,0}(0) = 1/0
_EXPONENTIAL = Closed(0, 1)  # α of an inner map below 0 that grows like an exponential: beyond 1 the oscillation would have no end
_NEGATIVE = Closed(0, 2)  # α of an inner map below 0
_GROWING = Closed(0.5, 2)  # α of the inner map x²: E grows like exp(|x|^(2/α))
_ROOT = Closed(0.25, 2)  # α of the inner map x beside it

_LAST = 1e6  # |x| from which E(x²)/E(x²) is its own power law to more digits than float64 has
_LEAST = 1e-30  # |x| below which |x|^(γ-1) stays as it is, so that its slope is finite
_CUT = 230.0  # of an exponential inside: e^230 = 1e100
_LIMIT = 1e30  # |x| at which a function has long reached its limit

# What a parameter shows of its preset, see `Family.sweep`.
_FROM_0_TO_1 = ("alpha1", (0.0, 0.25, 0.5, 0.75, 1.0))
_FROM_1_TO_2 = ("beta2", (1.0, 1.25, 1.5, 1.75, 2.0))


def odd_power(x: Expr, gamma: Expr) -> Expr:
    """sign(x)|x|^γ; at γ = 1 its slope is 1 at 0 too."""
    return x * op.max(op.abs(x), _LEAST) ** (gamma - 1)


def even_power(x: Expr, gamma: Expr) -> Expr:
    """|x|^γ, and 1 for γ = 0 at x = 0 too."""
    return op.where(apply("==", x, 0), op.where(apply("==", gamma, 0), 1, 0), op.max(op.abs(x), _LEAST) ** gamma)


def below(f: Expr, alpha1: Expr, beta1: Expr, beta2: Expr) -> Expr:
    """The gate with g = 0, Γ(β2) E_{α1,β1}(f), on which α2 has no effect."""
    return op.mittag_leffler_ratio(f, alpha1, beta1, 0, 1, beta2)


def squares(x: Expr, gamma: Expr, alpha1: Expr, beta1: Expr, alpha2: Expr, beta2: Expr) -> Expr:
    """The form with f = g = x². For equal α its gate goes like |x|^(2(β2-β1)/α2), and is continued so beyond |x| = 1e6."""
    u, size = op.square(op.clip(x, -_LAST, _LAST)), op.abs(x)
    tail = op.where(size > _LAST, size / _LAST, 1) ** op.clip(2 * (beta2 - beta1) / alpha2, -9, 9)
    return odd_power(x, gamma) * op.mittag_leffler_ratio(u, op.max(alpha1, alpha2), beta1, u, alpha2, beta2) * tail


def decay(x: Expr) -> Expr:
    """exp(-x), cut where the gate has reached its limit."""
    return op.exp(-op.clip(x, -_CUT, _CUT))


_NO_ALPHA2 = "g = 0, so that alpha2 has no effect and is left out. "
_LARGER = ("The numerator takes max(alpha1, alpha2) for its alpha: with a smaller one the function would grow like an exponential; "
           "alpha >= 0.5, so that gradients are finite in float32. ")  # fmt: skip


def gated(form: str, alpha1: tuple[float, Closed], beta1: float, alpha2: tuple[float, Closed] | None = None, beta2: float = 1.0,
          gamma: float = 1.0, notes: str = "", **more: Any) -> Callable[[Callable[..., Any]], Family]:  # fmt: skip
    """Declare a preset by its initial form and its initial values; its parameters are fixed unless a user trains them."""
    params = {
        "gamma": Param(gamma, _GAMMA, trainable=False),
        "alpha1": Param(*alpha1, trainable=False),
        "beta1": Param(beta1, _BETA, trainable=False),
        **({"alpha2": Param(*alpha2, trainable=False)} if alpha2 else {}),
        "beta2": Param(beta2, _BETA_BELOW, trainable=False),
    }
    return declare(paper=GATED, initial_form=form, notes=((_LARGER if alpha2 else _NO_ALPHA2) + notes).strip(), **params, **more)


# -- f below 0, g = 0 ----------------------------------------------------------------------------------------------------


@gated("sigmoid(x)", (0.0, _EXPONENTIAL), 1.0, gamma=0.0, monotone=True, bounds=(0.0, 1.0), sweep=_FROM_0_TO_1)
def ml_sigmoid(x: Expr, gamma: Expr, alpha1: Expr, beta1: Expr, beta2: Expr) -> Expr:
    """The sigmoid as |x|^gamma E_{alpha1,beta1}(-exp(-x)) / E(0), gamma = alpha1 = 0."""
    return even_power(op.max(x, -_LIMIT), gamma) * below(-decay(x), alpha1, beta1, beta2)


@gated("silu(x)", (0.0, _EXPONENTIAL), 1.0, bounds=(-0.278465, None), sweep=_FROM_0_TO_1, c=Param(1.0, trainable=False))
def ml_swish(x: Expr, gamma: Expr, alpha1: Expr, beta1: Expr, beta2: Expr, c: Expr) -> Expr:
    """Swish as x^gamma E_{alpha1,beta1}(-exp(-c x)) / E(0), alpha1 = 0."""
    return odd_power(op.max(x, -_LIMIT), gamma) * below(-decay(c * x), alpha1, beta1, beta2)


@gated("mish(x)", (0.0, _EXPONENTIAL), 1.0, bounds=(-0.308844, None), sweep=_FROM_0_TO_1,
       notes="The inner map is reconstructed.")  # fmt: skip
def ml_mish(x: Expr, gamma: Expr, alpha1: Expr, beta1: Expr, beta2: Expr) -> Expr:
    """Mish as x^gamma E_{alpha1,beta1}(-2 exp(-x)/(exp(x) + 2)) / E(0), alpha1 = 0."""
    f = -2 * decay(x) / (decay(-x) + 2)
    return odd_power(op.max(x, -_LIMIT), gamma) * below(f, alpha1, beta1, beta2)


@gated("softsign(x)", (0.0, _NEGATIVE), 1.0, odd=True, monotone=True, bounds=(-1.0, 1.0), joints=(0.0,), sweep=_FROM_0_TO_1,
       notes="The inner map is reconstructed.")  # fmt: skip
def ml_softsign(x: Expr, gamma: Expr, alpha1: Expr, beta1: Expr, beta2: Expr) -> Expr:
    """Softsign as x^gamma E_{alpha1,beta1}(-|x|) / E(0), alpha1 = 0."""
    u = op.clip(x, -_LIMIT, _LIMIT)
    return odd_power(u, gamma) * below(-op.abs(u), alpha1, beta1, beta2)


@gated("elu(x)", (1.0, _NEGATIVE), 2.0, monotone=True, bounds=(-1.0, None), joints=(0.0,),
       sweep=("alpha1", (0.0, 0.5, 1.0, 1.5, 2.0)), notes="The inner map is reconstructed.")  # fmt: skip
def ml_elu(x: Expr, gamma: Expr, alpha1: Expr, beta1: Expr, beta2: Expr) -> Expr:
    """ELU as x^gamma E_{alpha1,beta1}(min(x, 0)) / E(0), alpha1 = 1 and beta1 = 2."""
    u = op.max(x, -_LIMIT)
    return odd_power(u, gamma) * below(op.min(u, 0), alpha1, beta1, beta2)


# -- f = g = x² ----------------------------------------------------------------------------------------------------------


@gated(
    "tanh(x)", (2.0, _GROWING), 2.0, (2.0, _GROWING), 1.0, odd=True, monotone=True, bounds=(-1.0, 1.0), sweep=_FROM_1_TO_2,
    notes="beta2 leads from tanh (1) to the identity (2): the slope at 0 is Gamma(beta2), the tail goes like |x|^(beta2 - 1).",
)  # fmt: skip
def ml_tanh(x: Expr, gamma: Expr, alpha1: Expr, beta1: Expr, alpha2: Expr, beta2: Expr) -> Expr:
    """Tanh as x^gamma E_{alpha1,beta1}(x^2) / E_{alpha2,beta2}(x^2), both alphas 2, beta1 = 2 and beta2 = 1."""
    return squares(x, gamma, alpha1, beta1, alpha2, beta2)


@gated("x", (2.0, _GROWING), 2.0, (2.0, _GROWING), 2.0, odd=True, monotone=True, sweep=_FROM_1_TO_2)
def ml_identity(x: Expr, gamma: Expr, alpha1: Expr, beta1: Expr, alpha2: Expr, beta2: Expr) -> Expr:
    """The identity in the form of ml_tanh: all four parameters of the quotient are 2."""
    return squares(x, gamma, alpha1, beta1, alpha2, beta2)


@gated("erf(x)", (1.0, _GROWING), 1.5, (1.0, _GROWING), 1.0, odd=True, monotone=True, bounds=(-1.0, 1.0),
       sweep=("beta2", (1.0, 1.125, 1.25, 1.375, 1.5)))  # fmt: skip
def ml_erf(x: Expr, gamma: Expr, alpha1: Expr, beta1: Expr, alpha2: Expr, beta2: Expr) -> Expr:
    """The error function in the form of ml_tanh: both alphas 1, beta1 = 3/2 and beta2 = 1."""
    return squares(x, gamma, alpha1, beta1, alpha2, beta2)


@gated("relu(x)", (2.0, _GROWING), 2.0, (2.0, _GROWING), 2.0, monotone=True, bounds=(0.0, None), kinks=(0.0,), sweep=_FROM_1_TO_2)
def ml_relu(x: Expr, gamma: Expr, alpha1: Expr, beta1: Expr, alpha2: Expr, beta2: Expr) -> Expr:
    """ReLU: ml_identity, and 0 for x <= 0."""
    return op.where(x <= 0, 0, squares(x, gamma, alpha1, beta1, alpha2, beta2))


# -- f = x/√2, g = x²/2 + ln 2 -------------------------------------------------------------------------------------------


@gated(
    "gelu(x)", (0.5, _ROOT), 1.0, (1.0, _GROWING), bounds=(-0.169972, None), sweep=("beta2", (0.5, 0.75, 1.0, 1.25, 1.5)),
    notes="Here it is max(alpha1, alpha2/2). Beyond |x| = 100 the gate stays as it is. The inner maps are reconstructed.",
)  # fmt: skip
def ml_gelu(x: Expr, gamma: Expr, alpha1: Expr, beta1: Expr, alpha2: Expr, beta2: Expr) -> Expr:
    """GELU as x^gamma E_{alpha1,beta1}(x/sqrt(2)) / E_{alpha2,beta2}(x^2/2 + ln 2), alpha1 = 1/2, alpha2 = 1."""
    u = op.clip(x, -100, 100) / op.sqrt(2)
    gate = op.mittag_leffler_ratio(u, op.max(alpha1, alpha2 / 2), beta1, op.square(u) + op.log(2), alpha2, beta2)
    return odd_power(x, gamma) * gate


# -- between two of them -------------------------------------------------------------------------------------------------


def interpolate(a: str | Family, b: str | Family, t: float) -> Family:
    """The family between a and b at t: the form that both share, with initial values in between.

    a, b    two members of one form, such as "ml_tanh", "ml_identity" and "ml_erf"
    t       from 0, where it is a, to 1, where it is b

    Raises ValueError in one line for two families without a common form, which names those that have one.
    """
    one, two = (f if isinstance(f, Family) else family(f) for f in (a, b))
    if not 0 <= t <= 1:
        raise ValueError(f"t = {t!r} is outside [0, 1]; 0 is {one.name} and 1 is {two.name}")
    if one.expr is not two.expr or list(one.params) != list(two.params):
        raise ValueError(f"{one.name} and {two.name} have no form in common; {_partners(one)}, {_partners(two)}")
    if t in (0, 1) or one is two:
        return two if t == 1 else one
    values = {name: _between(p.init, two.params[name].init, t) for name, p in one.params.items()}
    return replace(one.with_initial(**values), name=f"{one.name}~{two.name}@{t:g}", summary=f"Between {one.name} and {two.name}.")


def _between(start: Any, end: Any, t: float) -> Any:
    return (
        tuple(_between(*pair, t) for pair in zip(start, end, strict=True))
        if isinstance(start, tuple)
        else start + t * (end - start)
    )


def _partners(f: Family) -> str:
    found = [other.name for other in FAMILIES.values() if other.params and other.expr is f.expr and other is not f]
    return f"{f.name} shares its own with {', '.join(found)}" if found else f"{f.name} shares its own with none"
