"""Any formula as one pass over its elements, and its derivatives as another: vector instructions from the kernel column.

A pass reads x (and the gradient), computes every part of the formula once, in registers, and writes one result; the gradients of
parameters are sums that it keeps beside. What depends on parameters alone is computed once a strip (see `strips`).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import torch

from ...language.expr import Expr, symbol
from . import llvm
from .elements import (
    STORED,
    add_sums,
    added,
    is_partial,
    load_vectors,
    masks,
    parameter,
    read_elements,
    rounded_elements,
    store_vector,
    vectors,
)
from .lanes import Code, Lanes, Value, vector
from .loops import SIGNATURE
from .steps import emit, emit_still, kernel_form
from .strips import driver

__all__ = [
    "compute_dtype",
    "formula_library",
    "kernels_run",
    "processor_lanes",
    "strip_assembly",
]


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """What elements of this dtype are computed in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def processor_lanes(double: bool) -> Lanes:
    """New lanes of float32 or float64, with the instructions that this processor has."""
    return Lanes(Code(wide512="avx512f" in llvm.cpu_features()), double)


def kernels_run(dtype: torch.dtype) -> bool:
    """Whether kernels run on this machine for elements of this dtype."""
    return dtype in STORED and llvm.works(dtype)


@functools.lru_cache(maxsize=512)
def formula_library(
    exprs: tuple[Expr, ...], names: tuple[str, ...], dtype: torch.dtype, columns: bool, backward: bool
) -> llvm.Library:
    """The kernel (see `strips`) of formulas of x and the named parameters.

    forward    of the one formula, its values
    backward   of slopes: the first times the gradient; and the sums of the gradient times each other
    """
    return llvm.compile_assembly(formula_assembly(exprs, names, dtype, columns, backward), ("run",))


def formula_assembly(exprs: tuple[Expr, ...], names: tuple[str, ...], dtype: torch.dtype, columns: bool, backward: bool) -> str:
    """The kernel of `formula_library` in LLVM assembly."""
    lanes = processor_lanes(dtype == torch.float64)
    outputs, nodes = kernel_form(exprs)
    inputs = {symbol(name): Value(lanes.code, lanes.kind, f"%param.{i}") for i, name in enumerate(names)}
    still = emit_still(lanes, outputs, nodes, inputs)
    before = lanes.code.take_lines()
    found = emit(lanes, outputs, nodes, still | {symbol("x"): read_elements(lanes, dtype, "x")})
    # Backward the first slope is multiplied by the gradient.
    flushed = not may_be_constant(outputs[0]) if backward else is_flushed(outputs[0])
    return strip_assembly(lanes, dtype, found, len(names), columns, backward, before=before, flushed=flushed)


_CHOICES = ("where", "max", "min", "neg", "abs")  # they give what they are given, a subnormal number too
_ARITHMETIC = ("add", "sub", "mul", "div", "square", "reciprocal", "sqrt")  # the processor flushes their results


@functools.lru_cache(maxsize=512)
def is_flushed(e: Expr) -> bool:
    """Whether a formula never gives a subnormal number as it is computed: its last operations are arithmetic.

    Not so where LLVM may do without it: x*where(x > 0, 1, 0) is a choice between x and 0 to it.
    """
    if e.op in _CHOICES:
        return all(is_flushed(a) for a in _chosen(e))
    return e.op in _ARITHMETIC and not any(may_be_constant(a) for a in e.args)


@functools.lru_cache(maxsize=512)
def may_be_constant(e: Expr) -> bool:
    """Whether the value is a number that LLVM knows, for some x at least."""
    if e.op in _CHOICES:
        return any(may_be_constant(a) for a in _chosen(e))
    return e.op in ("const", "sign") or (e.op in _ARITHMETIC and all(may_be_constant(a) for a in e.args))


def _chosen(e: Expr) -> tuple[Expr, ...]:
    return e.args[1:] if e.op == "where" else e.args


def strip_assembly(
    lanes: Lanes,
    dtype: torch.dtype,
    outputs: Iterable[Value],
    parameters: int,
    columns: bool,
    backward: bool,
    counted: Value | None = None,
    before: str = "",
    after: str = "",
    flushed: bool = False,
) -> str:
    """A kernel with the loops around it, from the outputs for a vector %x and %param.0, %param.1, ...

    forward        the first output is what it writes
    backward       the first times the gradient; and the sums of the gradient times each other
    counted        the lanes that count in these sums; None: all, as those that are not %alive add nothing to them
    before, after  more text: where the function begins, and where the vector with the number %i is done
    flushed        the outputs come from arithmetic, not from choices among inputs, so that none of them is subnormal

    The first output is written as soon as it is there: what is computed before a store waits in memory if it is used behind it.
    So an iterator that computes the others when it is asked for them gives a faster kernel than a list.
    """
    code, each = lanes.code, iter(outputs)
    first, sums = next(each), []
    if backward:
        g = read_elements(lanes, dtype, "g")
        first = g * first
    result, written = rounded_elements(lanes, dtype, first, flushed), len(code.lines)
    if backward:
        sums = [added(lanes, counted, g, other, f"%sum.{k}") for k, other in enumerate(each)]
    zero = f"{vector(lanes.kind)} [zeroinitializer, %entry]"
    carried = "".join(f"\n  %sum.{k} = phi {zero}, [{s.name}, %put.done]" for k, s in enumerate(sums))
    entry = "".join(parameter(lanes.kind, f"param.{i}", str(i), columns) for i in range(parameters)) + before
    flush = "".join(add_sums(lanes, f"flush.{k}", s.name, str(k), columns) for k, s in enumerate(sums))
    body, rest = code.text(0, written), code.text(written)
    fetch = load_vectors("xg" if backward else "x", dtype, "%at", "%some", "%i", columns)
    put = store_vector(result, dtype, "%at", "%some", "%i", columns)
    return f"""{code.outer_text()}{masks(dtype)}
{SIGNATURE}{{
entry:{entry}{vectors(columns)}
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %put.done]
  %column = phi i64 [0, %entry], [%column.next, %put.done]
  %row = phi i64 [0, %entry], [%row.next, %put.done]{carried}
  %next = add i64 %i, 1
  %at = add i64 %row, %column
  %some = {is_partial("%i", columns)}{fetch}{body}{after}{put}{rest}
  %column.after = add i64 %column, %stride
  %row.ends = icmp eq i64 %column.after, %row.length
  %column.next = select i1 %row.ends, i64 0, i64 %column.after
  %row.after = add i64 %row, %pitch
  %row.next = select i1 %row.ends, i64 %row.after, i64 %row
  %again = icmp ult i64 %next, %vectors
  br i1 %again, label %loop, label %done
done:{flush}
  ret void
}}
{driver(columns)}"""
