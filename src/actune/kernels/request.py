"""What is asked of a way: a formula, how its parameters are kept, and all of the tensors that the choice depends on."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, compiler
from torch._C import _are_functorch_transforms_active, _get_tracing_state, _len_torch_dispatch_stack
from torch.autograd import forward_ad

from ..catalogue.registry import Family, Param
from ..language.expr import Expr
from ..tensors import KINDS, is_plain
from .layout import Layout, laid_as, layout_of

__all__ = ["Request", "Subject", "place_of", "subject_of_family", "subject_of_symbols", "symbol_values"]

Source = tuple[tuple[str, ...], Param]
_ANY = Param(0.0)  # what a symbol's tensor stores is its value


@dataclass(frozen=True, eq=False)
class Subject:
    """A formula of x and of parameters in the form in which tensors keep them.

    sources   for each tensor: the symbols that it gives (of a vector, one per entry), and the Param that maps it to their values

    A module stores `b > 0` as its logarithm: its subject has the family's Params. Where tensors are the values of symbols, each
    Param is the identity. Equal subjects are one object.
    """

    e: Expr
    sources: tuple[Source, ...]

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """All symbols but x."""
        return tuple(name for names, _ in self.sources for name in names)

    def needed(self, needs: Iterable[bool]) -> list[bool]:
        """For each symbol, whether the gradient of its tensor is needed; `needs` says so of the tensors."""
        return [need for (names, _), need in zip(self.sources, needs, strict=True) for _ in names]

    def symbols(self, x: Tensor, tensors: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> dict[str, Tensor]:
        """The value of each symbol, shaped to broadcast against x; differentiable in the tensors."""
        return symbol_values(x, self.sources, tensors, shapes)


def symbol_values(
    x: Tensor, sources: Iterable[Source], tensors: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]
) -> dict[str, Tensor]:
    """`Subject.symbols` as a function that torch's compiler can follow."""
    found: dict[str, Tensor] = {}
    for (names, p), t, shape in zip(sources, tensors, shapes, strict=True):
        if p is _ANY:
            found[names[0]] = t
        else:
            entries = p.value(t) if len(names) > 1 else (p.value(t),)
            values = {name: entries[i].reshape(shape) for i, name in enumerate(names)}
            # `shape` holds numbers; the shapes of traced tensors hold tensors.
            found |= values if sum(n != 1 for n in shape) < 2 else {name: laid_as(x, v) for name, v in values.items()}
    return found


@functools.lru_cache(maxsize=512)
def subject_of_family(family: Family) -> Subject:
    """The family with its parameters as a module stores them."""
    return Subject(family.expr, tuple((p.symbols(name), p) for name, p in family.params.items()))


@functools.lru_cache(maxsize=512)
def subject_of_symbols(e: Expr, names: tuple[str, ...]) -> Subject:
    """The formula with a tensor per symbol."""
    return Subject(e, tuple(((name,), _ANY) for name in names))


class Request(NamedTuple):
    """All that the choice of a way depends on; equal requests are served in the same way.

    shapes    in which each tensor of parameters broadcasts against x
    place     "cpu" or "gpu": where kernels may run
    strides   of x; None: it is contiguous
    """

    subject: Subject
    shapes: tuple[tuple[int, ...], ...]
    place: str
    dtype: torch.dtype
    sizes: tuple[int, ...]
    strides: tuple[int, ...] | None

    @property
    def elements(self) -> int:
        """The number of elements of x."""
        return math.prod(self.sizes)

    @property
    def has_single_parameters(self) -> bool:
        """Whether every parameter is one number for all of x."""
        return all(math.prod(shape) == 1 for shape in self.shapes)

    @property
    def is_dense(self) -> bool:
        """Whether the elements of x lie in memory without gaps, in some order of its dimensions."""
        if self.strides is None:
            return True
        ordered = sorted((stride, size) for stride, size in zip(self.strides, self.sizes, strict=True) if size > 1)
        wanted = itertools.accumulate((size for _, size in ordered), operator.mul, initial=1)
        return all(stride == step for (stride, _), step in zip(ordered, wanted, strict=False))

    @property
    def layout(self) -> Layout | None:
        """How x lies in memory beside these parameters; None: they vary in a way that kernels do not know."""
        return layout_of(self.sizes, self.strides, self.shapes)


def place_of(x: Tensor, tensors: Sequence[Tensor]) -> str:
    """Where kernels may run for these tensors: "cpu", "gpu", or "" for nowhere.

    Kernels read memory, which nobody may watch: no compiler, exporter, tracer or function transform, no tensor subclass.
    """
    # A small tensor is no more than a few such questions: each is asked once, in place and not through a function.
    if (
        x.dtype not in _FLOATS
        or compiler._is_compiling_flag
        or _are_functorch_transforms_active()
        or _len_torch_dispatch_stack()
        or _get_tracing_state()
        or forward_ad._current_level >= 0
    ):
        return ""
    on_cpu = is_plain(x)
    for t in tensors:  # of any layout: who reads numbers from what is not dense raises an error, as operators do
        if not (t.is_cpu if on_cpu else t.is_cuda) or t.dtype not in _FLOATS or type(t) not in KINDS:
            return ""
    if on_cpu:
        return "cpu"
    return "gpu" if x.is_cuda and type(x) in KINDS and x.layout is torch.strided and not x.is_nested else ""


_FLOATS = frozenset((torch.float32, torch.float64, torch.float16, torch.bfloat16))
