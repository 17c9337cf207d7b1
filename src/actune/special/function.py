"""The Mittag-Leffler function and its derivatives of torch tensors, differentiable in all three arguments and under vmap."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..tensors import is_plain, is_watched
from .contour import FINE, Order, are_numbers, array_derivatives, numpy_derivatives, raised, scaling_exponent

__all__ = ["Real", "mittag_leffler_by_contour", "mittag_leffler_derivatives", "mittag_leffler_scaled"]

Real: TypeAlias = "Tensor | float"


def _evaluate(z: Tensor, alpha: Tensor, beta: Tensor, orders: Sequence[Order], scaled: bool) -> tuple[Tensor, ...]:
    """These derivatives, computed in float64 and rounded once to the dtype of z; α and β are checked."""
    _check_range("alpha", alpha, 2.0)
    _check_range("beta", beta, 3.0)
    shape = torch.broadcast_tensors(z, alpha, beta)[0].shape  # broadcast_shapes imports sympy, which takes half a second
    x, *parameters = (t.to(torch.float64) for t in (z, alpha, beta))
    x = x.expand(shape).reshape(-1)
    a, b = (t.reshape(()) if t.numel() == 1 else t.expand(shape).reshape(-1) for t in parameters)
    if are_numbers(a, b) and not is_watched() and all(is_plain(t) for t in (z, alpha, beta)):
        values = torch.from_numpy(numpy_derivatives(x.numpy(force=True), a.item(), b.item(), orders, scaled=scaled))
    else:
        values = array_derivatives(x, a, b, orders, FINE, scaled)
    return tuple(y.reshape(shape).to(z.dtype, copy=True) for y in values)  # a view could not be changed in place


class _MittagLeffler(torch.autograd.Function):
    """The derivatives of the given orders; backward evaluates all those of the next order in one call."""

    @staticmethod
    def forward(z: Tensor, alpha: Tensor, beta: Tensor, orders: tuple[Order, ...], scaled: bool) -> tuple[Tensor, ...]:
        return _evaluate(z, alpha, beta, orders, scaled)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        z, alpha, beta, ctx.orders, ctx.scaled = inputs
        ctx.save_for_backward(z, alpha, beta)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        pairs = [(order, g) for order, g in zip(ctx.orders, grads, strict=True) if g is not None]
        needed = [n for n in range(3) if ctx.needs_input_grad[n]]
        if not pairs or not needed:
            return (None,) * 5
        higher = sorted({raised(order, n) for order, _ in pairs for n in needed})
        for order in higher:
            _check_order(order)
        saved = ctx.saved_tensors  # once: a checkpoint gives them once
        values = dict(zip(higher, _MittagLeffler.apply(*saved, tuple(higher), ctx.scaled), strict=True))
        out: list[Tensor | None] = [None] * 5
        for n in needed:
            total = torch.stack([g * values[raised(order, n)] for order, g in pairs]).sum(0)
            out[n] = total.sum_to_size(saved[n].shape).to(saved[n].dtype)
        return tuple(out)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        # The batch dimension goes first, and tensors without enough dimensions get some behind it, so that they broadcast.
        dims, tensors = in_dims[:3], inputs[:3]
        rank = max(t.dim() - (d is not None) for t, d in zip(tensors, dims, strict=True))
        first = [t if d is None else t.movedim(d, 0) for t, d in zip(tensors, dims, strict=True)]
        aligned = [
            t if d is None else t.reshape(len(t), *[1] * (rank + 1 - t.dim()), *t.shape[1:])
            for t, d in zip(first, dims, strict=True)
        ]
        return _MittagLeffler.apply(*aligned, *inputs[3:]), (0,) * len(inputs[3])


def _check_order(order: Sequence[int]) -> None:
    if len(order) != 3 or min(order) < 0 or sum(order) > 2:
        raise ValueError(
            f"derivative order {tuple(order)} of mittag_leffler in (z, alpha, beta): orders are >= 0 and add up to 2 at most; "
            "differentiate the result numerically if you need more"
        )


def _check_range(name: str, value: Tensor, high: float) -> None:
    bad = ~((value >= 0) & (value <= high))
    if not torch.compiler.is_compiling() and bool(bad.any()):
        raise ValueError(
            f"{name} = {value[bad].reshape(-1)[0].item()!r} is outside [0, {high:g}], the range of mittag_leffler; "
            f"choose it inside, or constrain a trained one with {name}.clamp(0, {high:g})"
        )


def _parameter_tensor(name: str, value: Real, z: Tensor) -> Tensor:
    """A parameter as a tensor; a tensor of one element becomes one without dimensions."""
    if not isinstance(value, (Tensor, numbers.Real)):
        raise ValueError(f"{name} = {value!r} is no number; give a number or a real floating-point tensor")
    t = value if isinstance(value, Tensor) else torch.tensor(float(value), dtype=torch.float64, device=z.device)
    if not t.is_floating_point():
        raise ValueError(f"{name} has dtype {t.dtype}; make it a number or a real floating-point tensor")
    return t.reshape(()) if t.numel() == 1 else t


def _apply_function(
    z: Tensor, alpha: Real, beta: Real, orders: Sequence[Order], scaled: bool
) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """(values, z, α): these derivatives in the dtype of z, and the tensors that they were computed from."""
    if not isinstance(z, Tensor) or not z.is_floating_point():
        kind = z.dtype if isinstance(z, Tensor) else type(z).__name__
        raise ValueError(f"z is {kind}; mittag_leffler takes a real floating-point tensor, e.g. torch.tensor(0.5)")
    for order in orders:
        _check_order(order)
    x = z.float() if z.dtype in (torch.float16, torch.bfloat16) else z
    a, b = _parameter_tensor("alpha", alpha, z), _parameter_tensor("beta", beta, z)
    found = _MittagLeffler.apply(x, a, b, tuple((i, j, k) for i, j, k in orders), scaled)
    return tuple(y.to(z.dtype) for y in found), x, a


def mittag_leffler_by_contour(z: Tensor, alpha: Real, beta: Real = 1.0) -> Tensor:
    """The two-parameter Mittag-Leffler function E_{α,β}(z) = Σ_k z^k / Γ(αk + β), elementwise.

    z       real tensor, any shape and value
    alpha   in [0, 2], and
    beta    in [0, 3]: numbers, tensors of one element, or tensors that broadcast with z (such as one per channel)

    The result has the dtype of z and the broadcast shape. It is differentiable twice in all three arguments. At α = 0 it is the
    continuation 1/(Γ(β)(1-z)), the limit of α → 0 for z < 1 only: there ∂/∂α exists, for z ≥ 1 it is nan. Overflow is inf.
    For 1 < α ≤ 2 and z < 0 the phase |z|^{1/α} of the oscillation is known to a relative rounding error, so that its absolute
    error grows from 1e-13 at |z| = 1e6, α = 2, to 1 where |z|^{1/α} reaches 1e15; the amplitude and the tail stay accurate.
    """
    return _apply_function(z, alpha, beta, ((0, 0, 0),), False)[0][0]


def mittag_leffler_derivatives(z: Tensor, alpha: Real, beta: Real, orders: Sequence[Order]) -> tuple[Tensor, ...]:
    """∂^{i+j+k} E_{α,β}(z) / ∂z^i ∂α^j ∂β^k for each order (i, j, k), i + j + k ≤ 2: for less than they cost one by one."""
    return _apply_function(z, alpha, beta, orders, False)[0]


def mittag_leffler_scaled(z: Tensor, alpha: Real, beta: Real = 1.0, orders: Sequence[Order] = ((0, 0, 0),)) -> tuple[Tensor, ...]:
    """(m, ..., t): each derivative of E_{α,β}(z) is m exp(t), with t = z^{1/α} for z > 0, else 0. For ratios of what overflows.

    E1/E2 = m1/m2 exp(t1 - t2). Autograd takes the exponent as a constant and differentiates m with t fixed, which is right for
    every product m exp(t) and for every ratio of two.
    """
    found, x, a = _apply_function(z, alpha, beta, orders, True)
    t = scaling_exponent(x.detach().to(torch.float64), a.detach().to(torch.float64))
    return *found, t.expand(found[0].shape).to(found[0].dtype)
