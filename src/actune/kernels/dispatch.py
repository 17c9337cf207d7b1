"""How a formula is computed: by the first way that suits. To add a way, add a row to `WAYS`.

A row takes a request and returns a function of (x, tensors of parameters), or None where the way does not suit. The answers are
kept, so that each kind of call is looked at once. A function may still return None, where the values of parameters decide: then the
next one is called. Torch operators come last and compute everything; where no kernel may run at all, nothing else is asked.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..language.expr import Expr
from . import operators
from .autograd import Way, apply_way
from .cpu.flat import flat_way
from .cpu.fused import cpu_way
from .gpu import gpu_way
from .onnx import by_onnx_operator, is_recorded_for_onnx
from .request import Request, Subject, place_of, subject_of_symbols
from .tables.exhaustive import exhaustive_way
from .tables.gates import gates_way
from .tables.whole import table_way

__all__ = ["WAYS", "activate", "activate_stored"]

Function = Callable[[Tensor, Sequence[Tensor]], Tensor | None]


def activate(e: Expr, x: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
    """The value of the formula at `x`, in the dtype and shape of `x`; parameters must broadcast to it.

    Differentiable to any order in `x` and the parameters. Keeps `x` and the parameters for backward, nothing else.
    """
    if torch.compiler.is_dynamo_compiling():  # it follows this code, which should be short
        return operators.activate_in_torch(e, x, parameters)
    values = tuple(parameters.values())
    return activate_stored(subject_of_symbols(e, tuple(parameters)), tuple(tuple(p.shape) for p in values), x, values)


def activate_stored(subject: Subject, shapes: tuple[tuple[int, ...], ...], x: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    """`activate` with parameters as their keeper stores them; each tensor broadcasts against x in its shape of `shapes`."""
    place = place_of(x, tensors)
    if not place:
        return _by_operators(subject, shapes, x, tensors)
    for way in _suiting(subject, shapes, place, x.dtype, x.shape, None if x.is_contiguous() else x.stride()):
        y = way(x, tensors)
        if y is not None:
            return y
    raise AssertionError("torch operators compute every formula")


def _by_autograd(suits: Callable[[Request], Way | None]) -> Callable[[Request], Function | None]:
    """The row of a `Way`: autograd goes around it."""

    def row(asked: Request) -> Function | None:
        way = suits(asked)
        return None if way is None else functools.partial(apply_way, way)

    return row


def _by_flat(asked: Request) -> Function | None:
    way = flat_way(asked)
    return None if way is None else way.apply


def _by_operators(subject: Subject, shapes: tuple[tuple[int, ...], ...], x: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    if is_recorded_for_onnx():
        y = by_onnx_operator(subject, shapes, x, tensors)
        if y is not None:
            return y
    return operators.activate_in_torch(subject.e, x, subject.symbols(x, tensors, shapes))


# Plain tensors on the CPU have tables where these are faster than kernels, then kernels; those on a GPU what torch compiles.
WAYS: tuple[Callable[[Request], Function | None], ...] = (
    gates_way,
    exhaustive_way,
    table_way,
    _by_flat,
    _by_autograd(cpu_way),
    gpu_way,
    lambda asked: functools.partial(_by_operators, asked.subject, asked.shapes),
)


@functools.lru_cache(maxsize=4096)
def _suiting(*fields: Any) -> tuple[Function, ...]:
    """The ways for a request of these fields, which is made when it comes for the first time."""
    asked = Request(*fields)
    return tuple(function for function in (way(asked) for way in WAYS) if function is not None)
