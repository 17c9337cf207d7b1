"""Which way a formula is computed: by kernels, from tables, or by torch operators. Nothing else.

Kernels (`fused`): plain tensors on the CPU, of any size and scope; interpreted at first, compiled once that pays (`chosen`).
Tables (`tabulated`): large ones of a formula that costs more, whose parameters are not trained; and Mittag-Leffler functions.
GPUs (`compiled`): one function of torch.compile a formula.
Torch operators (`formula`): everything else.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..language.expr import Expr, symbol
from ..language.ops import OPS
from . import gpu, operators
from .autograd import compute, eager, on_gpu, wanted
from .cpu import llvm
from .cpu.compiler import STORED, cost, has_kernels
from .cpu.fused import Fused, Held
from .tables.polynomials import fit, points, trials
from .tables.precision import Precision
from .tables.tabulated import Kernel, Tabulated, loops_work, precision_of

__all__ = ["activate", "by_kernel", "has_kernel"]

LEAST = 32768  # elements from which tables pay
COSTLY = 1024  # and where the formula has a Mittag-Leffler function, of which one element costs a microsecond
HEAVY = {4: 50, 2: 70}  # instructions, by bytes an element: a formula with fewer is computed as fast as looked up
REACH = 2.0  # |x| that a table must cover to be of use
_FLOOR = 0.1  # the size of a slope below which its error is counted as that of this size

Array = NDArray[Any]
_X = symbol("x")


def activate(e: Expr, x: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
    """The value of the formula at `x`, in the dtype and shape of `x`; parameters must broadcast to it.

    Differentiable to any order in `x` and the parameters. Keeps `x` and the parameters for backward, nothing else.
    """
    values = tuple(parameters.values())
    if eager(x, values):
        found = _eager(e, x, parameters)
        if found is not None:
            return found
    elif on_gpu(x, values):
        return gpu.activate(e, x, parameters)
    return operators.activate(e, x, parameters)


def by_kernel(way: Held, x: Tensor, stored: Sequence[Tensor]) -> Tensor | None:
    """The same with parameters as a module stores them, if a kernel is what serves."""
    if eager(x, stored) and _suits(way.e, way.names, x, any(p.requires_grad for p in stored)) and way.fits(x):
        return compute(way, x, stored)
    return None


def has_kernel(e: Expr, names: tuple[str, ...], dtype: torch.dtype) -> bool:
    """Whether a kernel of x and these parameters can be made on this machine."""
    return _facts(e, names)[1] is not None and dtype in STORED and llvm.works(dtype)


def _suits(e: Expr, names: tuple[str, ...], x: Tensor, learn: bool) -> bool:
    """Whether a kernel is the first choice for formulas whose parameters are trained, or are not."""
    cost = _facts(e, names)[1]
    if cost is None or not has_kernel(e, names, x.dtype):
        return False
    return learn or x.numel() < LEAST or x.dtype == torch.float64 or cost <= HEAVY[x.dtype.itemsize]


def _eager(e: Expr, x: Tensor, parameters: Mapping[str, Tensor]) -> Tensor | None:
    """By kernels, if any serve."""
    names, values = tuple(parameters), tuple(parameters.values())
    wide, cost = _facts(e, names)
    if wide:
        return _with_tables(e, x, parameters) if x.dtype != torch.float64 and x.numel() >= COSTLY and loops_work() else None
    if cost is None or x.dtype not in STORED or not llvm.works(x.dtype):
        return None
    if not _suits(e, names, x, any(p.requires_grad for p in values)):
        found = _tabulated(e, x, parameters) if all(p.numel() == 1 for p in values) and loops_work() else None
        if found is not None:
            return found
    way = _fused(e, names)
    return compute(way, x, values) if way.fits(x, values) else None


_fused = functools.lru_cache(maxsize=512)(Fused)


@functools.lru_cache(maxsize=512)
def _facts(e: Expr, names: tuple[str, ...]) -> tuple[bool, int | None]:
    """Whether a formula wants float64 throughout; and its cost in instructions, None without kernels."""
    outputs, nodes = operators.ordered((e,))
    wide = any(OPS[n.op].wide for n in nodes if not n.leaf)
    return wide, None if wide or not has_kernels(nodes) else cost(outputs, nodes)


def _with_tables(e: Expr, x: Tensor, parameters: Mapping[str, Tensor]) -> Tensor | None:
    """A formula with Mittag-Leffler functions."""
    if all(p.numel() == 1 and p.ndim <= x.ndim for p in parameters.values()):
        return next((y for y in (way(x, parameters) for way in _ways(e)) if y is not None), None)
    dim = _channels(x, tuple(parameters.values()))
    if dim is None:
        return None

    def channel(i: int) -> Tensor:
        own = {name: p.select(dim, i if p.shape[dim] > 1 else 0) for name, p in parameters.items()}
        return activate(e, x.select(dim, i), own)

    return torch.stack([channel(i) for i in range(x.shape[dim])], dim)


def _channels(x: Tensor, values: tuple[Tensor, ...]) -> int | None:
    """The one dimension along which parameters differ, if each of its values has enough elements for a table."""
    dims = {d for p in values for d, size in enumerate(p.shape) if size != 1}
    if len(dims) != 1 or any(p.ndim != x.ndim for p in values):
        return None
    (dim,) = dims
    return dim if x.numel() // x.shape[dim] >= COSTLY else None


@functools.lru_cache(maxsize=256)
def _ways(e: Expr) -> tuple[Callable[[Tensor, Mapping[str, Tensor]], Tensor | None], ...]:
    """How tables may serve, the best first: for the whole, or for the parts that are Mittag-Leffler functions."""
    whole = functools.partial(_tabulated, e)
    of_x, of_argument = _gates(e, "x"), _gates(e, "argument")
    if not _is_product(of_x):
        return (whole,)
    by_x, by_argument = (functools.partial(_by_gates, split) for split in (of_x, of_argument))
    # Parts without parameters have tables that are never made anew: E(b*x) with a trained b.
    fixed = e.symbols() != ("x",) and all(gate.symbols() == ("x",) for _, gate, _ in of_argument.gates)
    return (by_argument, whole) if fixed else (whole, by_x, by_argument)


def _tabulated(e: Expr, x: Tensor, parameters: Mapping[str, Tensor], one_sided: bool = False) -> Tensor | None:
    """From tables; None where there are none for both signs (one_sided: for neither)."""
    names, values = ("x", *parameters), tuple(parameters.values())
    slopes = tuple(names[i] for i in wanted(x, values))
    value, slope = _kernels(e, names, tuple(p.item() for p in values), precision_of(x.dtype), slopes)
    limits = value.table.limits if slope is None else tuple(map(min, value.table.limits, slope.table.limits))
    if (max if one_sided else min)(limits) < REACH:
        return None
    return compute(Tabulated(value, slope, functools.partial(_by_formula, e, names[1:])), x, values)


def _by_gates(split: Split, x: Tensor, parameters: Mapping[str, Tensor]) -> Tensor | None:
    """By operators, but the costly parts from tables; None where one has no table."""
    wide = x.to(torch.float32)

    def used(part: Expr, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
        symbols = part.symbols()
        return {n: t for n, t in named.items() if n in symbols}

    tables: dict[str, Tensor] = {}
    for name, gate, inner in split.gates:
        at = wide if inner is _X else operators.activate(inner, wide, used(inner, parameters))
        found = _tabulated(gate, at, used(gate, parameters), one_sided=inner is not _X)
        if found is None:
            return None
        tables[name] = found
    return operators.activate(split.outer, wide, used(split.outer, {**parameters, **tables})).to(x.dtype)


@dataclass(frozen=True)
class Split:
    """A formula with its costly parts as symbols; and these parts: the symbol, the part as a function of x, and at what x."""

    outer: Expr
    gates: tuple[tuple[str, Expr, Expr], ...]


def _gates(e: Expr, by: str) -> Split:
    """Cut the Mittag-Leffler functions out of a formula, as functions of x or of their own argument.

    For a formula with a kink, or with |x|^γ and a trained γ, at 0, where its Mittag-Leffler functions are smooth: those of x, or,
    in E(min(x, 0)), those of what they are taken of.
    """
    parts: dict[str, tuple[str, Expr, Expr]] = {}

    def cut(n: Expr, *args: Expr) -> Expr:
        found = Expr(n.op, args)
        moving = {a for a in args if "x" in a.symbols()}
        if not OPS[n.op].wide or not moving:
            return found
        inner = moving.pop() if by == "argument" and len(moving) == 1 else _X
        gate = found if inner is _X else Expr(n.op, tuple(_X if a is inner else a for a in args))
        name = f"gate_{len(parts)}"
        parts[name] = name, gate, inner
        return symbol(name)

    outer = e.expand().fold(lambda n: n, cut)
    return Split(outer, tuple(part for name, part in parts.items() if name in outer.symbols()))


def _is_product(split: Split) -> bool:
    """Whether the parts are only multiplied, divided and chosen: a sum might cancel the digits that rounding has left them."""
    parts = {name for name, _, _ in split.gates}

    def node(n: Expr, *inside: bool | None) -> bool | None:
        """None: no part is in it; else whether it is a product of them."""
        found = [i for i in inside if i is not None]
        return None if not found else all(found) and n.op in ("mul", "div", "neg", "where")

    return split.outer.fold(lambda n: True if n.op == "symbol" and n.args[0] in parts else None, node) is not False


def _by_formula(e: Expr, names: tuple[str, ...], x: Tensor, *values: Tensor) -> Tensor:
    return operators.activate(e, x, dict(zip(names, values, strict=True)))


@functools.lru_cache(maxsize=256)
def _kernels(
    e: Expr, names: tuple[str, ...], values: tuple[float, ...], precision: Precision, slopes: tuple[str, ...]
) -> tuple[Kernel, Kernel | None]:
    """The value of a formula, and its slopes in these symbols if there are any."""
    exprs = (e, *(e.diff(name) for name in slopes))
    at = points(precision)
    zeros, extra = np.array([0.0, -0.0]), trials(precision)
    found = np.array(_outputs(exprs, names, values, torch.float64, np.concatenate([at.ravel(), extra.ravel(), zeros])))
    on_cells, tried, at_zero = np.split(found, [at.size, at.size + extra.size], axis=1)
    slope = at_zero[1] if slopes else _outputs((e.diff(),), names, values, torch.float64, zeros)[0]
    shapes = ((len(exprs), *a.shape) for a in (at, extra))
    on_cells, tried = (a.reshape(shape) for a, shape in zip((on_cells, tried), shapes, strict=True))
    table = fit(on_cells, at_zero, precision, np.array([0.0] + [_FLOOR] * len(slopes)), slope, tried)
    parts = (slice(0, 1), slice(1, None))[: 1 + bool(slopes)]
    kernels = [Kernel(table.part(k), functools.partial(_outputs, exprs[k], names, values, precision.dtype)) for k in parts]
    return kernels[0], kernels[1] if slopes else None


def _outputs(
    exprs: tuple[Expr, ...], names: tuple[str, ...], values: tuple[float, ...], dtype: torch.dtype, x: Array
) -> list[Array]:
    """The formulas at these elements and parameters, computed as in this dtype."""
    program = operators.compile_program(exprs, names)
    inputs = torch.from_numpy(x), *(torch.tensor([v], dtype=torch.float64, device="cpu") for v in values)
    found = program.run(inputs, program.precision(dtype))
    return [y.expand(x.shape).numpy() for y in found]
