"""A formula as functions that torch.compile makes: its value in one pass, and its pullback in one more.

For plain tensors on a GPU in eager mode. Each function has a code object of its own, because the compiler keeps only a few versions
of one and then runs it uncompiled; and it sees tensors of one dimension, or of three, (outer, channels, inner), of any size.
"""

from __future__ import annotations

import functools
import math
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..language.expr import Expr, from_json, to_json
from . import operators
from .autograd import compute, memory_order, restored

__all__ = ["activate"]


def activate(e: Expr, x: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
    """The value of the formula at `x`, in the dtype, shape and layout of `x`; parameters must broadcast to it.

    Differentiable to any order in `x` and the parameters; the first by a compiled function, those above by the torch formula.
    Where nothing can be compiled, all is computed by the torch formula, with one warning; so is, without one, a formula with
    Mittag-Leffler functions: it would be compiled for minutes.
    """
    names, values = ("x", *parameters), tuple(parameters.values())
    layout = None if operators.compile_program((e,), names).wide else _layout(x, values)
    if layout is None or not _compiles(x.device.type):
        return operators.activate(e, x, parameters)
    return compute(_Compiled(e, names, layout), x, values)


@dataclass(frozen=True)
class Layout:
    """How the elements lie in memory, and along which of their dimensions in that order, [first, last), parameters differ."""

    order: tuple[int, ...]
    first: int
    last: int

    def flat(self, t: Tensor) -> Tensor:
        """x, or a tensor like it, as one dimension or as (outer, channels, inner)."""
        t = t.detach().permute(self.order)
        if self.first == self.last:
            return t.reshape(-1)
        sizes = (math.prod(part) for part in (t.shape[: self.first], t.shape[self.first : self.last], t.shape[self.last :]))
        return t.reshape(*sizes)

    def channels(self, p: Tensor) -> Tensor:
        """A parameter, to broadcast against that."""
        if p.numel() == 1:
            return p.detach().reshape((1,) * (1 if self.first == self.last else 3))
        return p.detach().permute(self.order).reshape(1, -1, 1)

    def restored(self, flat: Tensor, like: Tensor) -> Tensor:
        """The inverse, for x and for a parameter: the shape of `like`, and the layout of x."""
        if flat.numel() == 1:
            return flat.reshape(like.shape)
        return restored(flat.reshape([like.shape[d] for d in self.order]), self.order)


def _layout(x: Tensor, parameters: tuple[Tensor, ...]) -> Layout | None:
    """None: no elements, or parameters that do not differ along adjacent dimensions, or not all along the same."""
    if x.numel() == 0:
        return None
    varied = {tuple(d for d, size in enumerate(p.shape, start=x.ndim - p.ndim) if size > 1) for p in parameters if p.numel() > 1}
    if len(varied) > 1 or any(p.ndim != x.ndim for p in parameters if p.numel() > 1):
        return None
    order = tuple(memory_order(x) or range(x.ndim))
    at = sorted(order.index(d) for d in (varied.pop() if varied else ()))
    if not at:
        return Layout(order, 0, 0)
    first, last = at[0], at[-1] + 1
    between = {order[i] for i in range(first, last)} - {order[i] for i in at}
    return None if any(x.shape[d] > 1 for d in between) else Layout(order, first, last)


@dataclass(frozen=True)
class _Compiled:
    """A formula of x and the named parameters as a `Way`."""

    e: Expr
    names: tuple[str, ...]
    layout: Layout

    def values(self, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        inputs = self.layout.flat(x), *map(self.layout.channels, parameters)
        (y,) = _run(self.e, self.names, None, inputs)
        return _alone(self.layout.restored(y, x))  # a view could not be changed in place

    def pullback(self, x: Tensor, parameters: Sequence[Tensor], g: Tensor, needs: Sequence[bool]) -> Sequence[Tensor | None]:
        wanted = tuple(i for i, n in enumerate(needs) if n)
        inputs = self.layout.flat(g.expand_as(x)), self.layout.flat(x), *map(self.layout.channels, parameters)
        found = iter(_run(self.e, self.names, wanted, inputs))
        return [self.layout.restored(next(found), t) if n else None for t, n in zip((x, *parameters), needs, strict=True)]

    def formula(self, x: Tensor, *parameters: Tensor) -> Tensor:
        return operators.activate(self.e, x, dict(zip(self.names[1:], parameters, strict=True)))


def _run(e: Expr, names: tuple[str, ...], wanted: tuple[int, ...] | None, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    # A size of one, a dtype and the mode are what the compiler makes a version of its own for.
    kind = tuple((t.dtype, *(n == 1 for n in t.shape)) for t in inputs), inputs[0].is_inference(), inputs[0].device
    with torch.no_grad(), torch.autocast(inputs[0].device.type, enabled=False):
        return _function(e, names, wanted, kind)(*map(_alone, inputs))  # type: ignore[no-any-return]


def _alone(t: Tensor) -> Tensor:
    """The same memory, as a tensor that is no view: of a view the compiler looks at the size of what it is a view of."""
    return torch.empty(0, dtype=t.dtype, device=t.device).set_(t.untyped_storage(), t.storage_offset(), t.shape, t.stride())  # type: ignore[no-any-return,call-overload]


@functools.lru_cache(maxsize=512)
def _function(e: Expr, names: tuple[str, ...], wanted: tuple[int, ...] | None, kind: Any) -> Callable[..., Any]:
    """The value (wanted: None), or the pullback to these inputs, as a function of flat tensors of this kind."""
    torch.compiler.allow_in_graph(_values)
    torch.compiler.allow_in_graph(_gradients)
    text = to_json(e)

    def value(*inputs: Tensor) -> Any:
        return _values(text, names, *inputs)

    def pullback(g: Tensor, *inputs: Tensor) -> Any:
        return _gradients(text, names, slopes, g, *inputs)

    slopes = wanted or ()
    chosen = value if wanted is None else pullback
    own = types.FunctionType(chosen.__code__.replace(), globals(), chosen.__name__, None, chosen.__closure__)
    return torch.compile(own, fullgraph=True, dynamic=True)


def _values(text: str, names: tuple[str, ...], *inputs: Tensor) -> tuple[Tensor, ...]:
    x = inputs[0]
    program = operators.compile_program((from_json(text),), names)
    return (program.run(inputs, program.precision(x.dtype))[0].to(x.dtype).expand(x.shape).clone(),)


def _gradients(text: str, names: tuple[str, ...], wanted: tuple[int, ...], g: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    e = from_json(text)
    program = operators.compile_program(tuple(e.diff(names[i]) for i in wanted), names)
    slopes = program.run(inputs, program.precision(inputs[0].dtype))
    products = ((g.to(s.dtype) * s).expand(g.shape) for s in slopes)
    return tuple(t.sum_to_size(inputs[i].shape).to(inputs[i].dtype) for i, t in zip(wanted, products, strict=True))


@functools.cache
def _compiles(device: str) -> bool:
    """Whether torch.compile works for this kind of device; tried once."""
    try:
        torch.compile(lambda t: t * 2 + 1, fullgraph=True)(torch.ones(3, device=device))
    except Exception as error:  # whatever a missing compiler, Triton or a driver may raise
        reason = str(error).strip().splitlines()[0]
        warnings.warn(f"torch.compile does not work for {device} here ({type(error).__name__}: {reason}); "
                      "actune computes every function there by torch operators", stacklevel=2)  # fmt: skip
        return False
    return True
