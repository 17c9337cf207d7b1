"""A formula as two functions, of its value in one pass and of its pullback in one more: made by torch.compile, or by us in Triton.

For plain tensors on a GPU in eager mode. Each function that torch.compile makes has a code object of its own, because the compiler
keeps only a few versions of one and then runs it uncompiled. Functions see tensors of one dimension, or of three, (outer, channels,
inner), of any size.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..code_objects import with_own_code
from ..language.expr import Expr, from_json, to_json
from . import operators
from .autograd import apply_way
from .layout import Layout, restore_order
from .request import Request, Subject
from .triton.launch import has_triton_kernel, triton_function
from .triton.tape import tape_function

__all__ = ["GpuWay", "gpu_way"]

Maker = Literal["torch.compile", "triton", "tape"]

# For which (dtype, whether parameters vary by channel) our own Triton takes less time than what torch.compile makes, as measured by
# benchmarks/gpu.py. None has been measured yet, for want of a GPU: so it is torch.compile everywhere.
TRITON_WINS: frozenset[tuple[torch.dtype, bool]] = frozenset()
# For how many elements a formula is interpreted from a tape before it is compiled, as those of a search are that nobody sees again.
# What it costs on a GPU has not been measured either: so it is for none.
TAPED_ELEMENTS = 0


def gpu_way(asked: Request) -> Callable[..., Tensor | None] | None:
    """A function of the value and one of the pullback; none for a Mittag-Leffler function, which takes minutes to compile.

    Differentiable to any order in `x` and the parameters: the first by a compiled function, those above by the torch formula. Where
    nothing can be compiled, that is said once, and torch operators compute all.
    """
    subject, layout = asked.subject, asked.layout
    if asked.place != "gpu" or layout is None or not asked.elements or operators.needs_float64(subject.e):
        return None
    return _on_device(subject, asked.shapes, layout, asked.dtype)


def _on_device(
    subject: Subject, shapes: tuple[tuple[int, ...], ...], layout: Layout, dtype: torch.dtype
) -> Callable[..., Tensor | None]:
    possible = has_triton_kernel(subject.e, dtype)
    by: Maker = "triton" if possible and (dtype, layout.varies) in TRITON_WINS else "torch.compile"
    compiled, taped = (GpuWay(subject.e, ("x", *subject.names), layout, maker) for maker in (by, "tape"))
    left = TAPED_ELEMENTS if possible else 0

    def compute(x: Tensor, tensors: Sequence[Tensor]) -> Tensor | None:
        nonlocal left
        way = taped if left > 0 else compiled
        left -= x.numel()
        if way.by == "torch.compile" and not _compiles(x.device.type):
            return None
        return apply_way(way, x, tuple(subject.symbols(x, tensors, shapes).values()))

    return compute


@dataclass(frozen=True)
class GpuWay:
    """The functions of a formula of x and the named parameters, as a `Way`.

    by   who makes them: torch.compile; our own Triton, a kernel for each; our own interpreter in Triton, one kernel for all
    """

    e: Expr
    names: tuple[str, ...]
    layout: Layout
    by: Maker = "torch.compile"

    def values(self, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        inputs = self._flat(x), *map(self._channels, parameters)
        (y,) = self._run(None, inputs)
        return _alone(self._restored(y, x))  # a view could not be changed in place

    def pullback(
        self, x: Tensor, parameters: Sequence[Tensor], g: Tensor, needs: Sequence[bool], spare: Tensor | None = None
    ) -> Sequence[Tensor | None]:
        wanted = tuple(i for i, n in enumerate(needs) if n)
        inputs = self._flat(g.expand_as(x)), self._flat(x), *map(self._channels, parameters)
        found = iter(self._run(wanted, inputs))
        return [self._restored(next(found), t) if n else None for t, n in zip((x, *parameters), needs, strict=True)]

    def formula(self, x: Tensor, *parameters: Tensor) -> Tensor:
        return operators.activate_in_torch(self.e, x, dict(zip(self.names[1:], parameters, strict=True)))

    def _run(self, wanted: tuple[int, ...] | None, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if self.by == "torch.compile":
            return _run_compiled(self.e, self.names, wanted, inputs)
        return (tape_function if self.by == "tape" else triton_function)(self.e, self.names, wanted)(*inputs)

    def _flat(self, t: Tensor) -> Tensor:
        """x, or a tensor like it, as one dimension or as (outer, channels, inner)."""
        t = t.detach() if self.layout.order is None else t.detach().permute(self.layout.order)
        return t.reshape(self.layout.extents if self.layout.varies else -1)

    def _channels(self, p: Tensor) -> Tensor:
        """A parameter, to broadcast against that."""
        p = p.detach()
        if p.numel() == 1:
            return p.reshape((1,) * (3 if self.layout.varies else 1))
        return (p if self.layout.order is None else p.permute(self.layout.order)).reshape(1, -1, 1)

    def _restored(self, flat: Tensor, like: Tensor) -> Tensor:
        """The inverse, for x and for a parameter: the shape of `like`, and the layout of x."""
        if flat.numel() == 1 or self.layout.order is None:
            return flat.reshape(like.shape)
        return restore_order(flat.reshape([like.shape[d] for d in self.layout.order]), self.layout.order)


def _run_compiled(
    e: Expr, names: tuple[str, ...], wanted: tuple[int, ...] | None, inputs: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    # A size of one, a dtype and the mode are what the compiler makes a version of its own for.
    kind = tuple((t.dtype, *(n == 1 for n in t.shape)) for t in inputs), inputs[0].is_inference(), inputs[0].device
    with torch.no_grad(), torch.autocast(inputs[0].device.type, enabled=False):
        return _function(e, names, wanted, kind)(*map(_alone, inputs))  # type: ignore[no-any-return]


def _alone(t: Tensor) -> Tensor:
    """A tensor over the memory of t that is not a view: of a view the compiler would look at the size of its base."""
    return torch.empty(0, dtype=t.dtype, device=t.device).set_(t.untyped_storage(), t.storage_offset(), t.shape, t.stride())  # type: ignore[no-any-return,call-overload]


@functools.lru_cache(maxsize=512)
def _function(e: Expr, names: tuple[str, ...], wanted: tuple[int, ...] | None, kind: Any) -> Callable[..., Any]:
    """The value (wanted: None), or the pullback to these inputs, as a function of flat tensors of this kind."""
    torch.compiler.allow_in_graph(_graph_values)
    torch.compiler.allow_in_graph(_gradients)
    text = to_json(e)

    def value(*inputs: Tensor) -> Any:
        return _graph_values(text, names, *inputs)

    def pullback(g: Tensor, *inputs: Tensor) -> Any:
        return _gradients(text, names, slopes, g, *inputs)

    slopes = wanted or ()
    chosen = value if wanted is None else pullback
    return torch.compile(with_own_code(chosen), fullgraph=True, dynamic=True)


def _graph_values(text: str, names: tuple[str, ...], *inputs: Tensor) -> tuple[Tensor, ...]:
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
