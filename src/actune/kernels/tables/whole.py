"""A whole formula as one table: for large tensors of a formula that costs more instructions than a look-up."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ...language.expr import Expr
from ...tensors import Array
from .. import operators
from ..autograd import apply_way, needed_gradients
from ..cpu.fused import has_kernel
from ..cpu.steps import kernel_cost
from ..request import Request
from .patches import Patch, TableSample, make_patch
from .polynomials import TableTarget, fit, points, trials
from .precision import Precision
from .tabulated import Kernel, Tabulated, precision_of

__all__ = ["by_table", "table_way"]

ELEMENTS = 32768  # from which tables pay
HEAVY = 50  # instructions up to which a formula is computed as fast as looked up
REACH = 2.0  # |x| that a table must cover to be of use
_BOX = 1 / 8  # the width of a patch in each moving parameter
_DEGREE = {1: 7, 2: 5}  # of a patch, by the number of parameters that move
_OCTAVE = 8  # cells after which they become twice as wide, for formulas with Mittag-Leffler functions
_FLOOR = 0.1  # the size of a slope below which its error is counted as that of this size


def table_way(asked: Request) -> Callable[..., Tensor | None] | None:
    """A table for large tensors of a heavy formula whose parameters are single numbers that nobody trains."""
    e = asked.subject.e
    if asked.place != "cpu" or asked.dtype != torch.float32 or not has_kernel(e, asked.dtype):
        return None
    if not asked.has_single_parameters or asked.elements < ELEMENTS:
        return None
    if (kernel_cost(e) or 0) <= HEAVY:
        return None

    def by_whole_table(x: Tensor, tensors: Sequence[Tensor]) -> Tensor | None:
        return None if any(t.requires_grad for t in tensors) else by_table(e, x, asked.subject.symbols(x, tensors, asked.shapes))

    return by_whole_table


def by_table(e: Expr, x: Tensor, parameters: Mapping[str, Tensor], one_sided: bool = False) -> Tensor | None:
    """The value from tables; None where there are none for both signs (one_sided: for neither)."""
    names, values = ("x", *parameters), tuple(parameters.values())
    slopes = tuple(names[i] for i in needed_gradients(x, values))
    value, slope, limits = _farthest(e, names, tuple(p.item() for p in values), precision_of(x.dtype), slopes)
    if (max if one_sided else min)(limits) < REACH:
        return None
    return apply_way(Tabulated(value, slope, functools.partial(_whole_by_operators, e, names[1:])), x, values)


def _farthest(
    e: Expr, names: tuple[str, ...], values: tuple[float, ...], precision: Precision, slopes: tuple[str, ...]
) -> tuple[Kernel, Kernel | None, tuple[float, ...]]:
    """The tables of a formula, and |x| of each sign that they do not cover any more.

    An x beyond takes a Mittag-Leffler function some 1000 times as long: there cells become wider, unless that is too wide for it.
    """
    wider = precision.in_registers and operators.needs_float64(e)
    for cells in (_widened(precision), precision) if wider else (precision,):
        kernels = table_kernels(e, names, values, cells, slopes)
        limits = tuple(np.min([k.table.limits for k in kernels if k is not None], 0).tolist())
        if all(limit in (0.0, end) for limit, end in zip(limits, cells.edges[:, -1], strict=True)):
            break
    return *kernels, limits


@functools.cache
def _widened(precision: Precision) -> Precision:
    return replace(precision, octave=_OCTAVE)


def _whole_by_operators(e: Expr, names: tuple[str, ...], x: Tensor, *values: Tensor) -> Tensor:
    return operators.activate_in_torch(e, x, dict(zip(names, values, strict=True)))


@functools.lru_cache(maxsize=256)
def table_kernels(
    e: Expr, names: tuple[str, ...], values: tuple[float, ...], precision: Precision, slopes: tuple[str, ...]
) -> tuple[Kernel, Kernel | None]:
    """The value of a formula, and its slopes in these symbols if there are any."""
    exprs = (e, *(e.diff(name) for name in slopes))
    moving = tuple(n for n, name in enumerate(names[1:]) if name in slopes)
    patch = _patch_around(exprs, names, values, moving, precision) if len(moving) in _DEGREE else None
    if patch is None:
        tables = [fit(target) for target in _sample(exprs, names, values, precision).targets]
    else:
        tables = patch.at(tuple(values[n] for n in moving))
    parts = (slice(0, 1), slice(1, None))
    kernels = [
        Kernel(t.table(), functools.partial(_outputs, exprs[part], names, values, precision.dtype))
        for t, part in zip(tables, parts, strict=False)
    ]
    return kernels[0], kernels[1] if slopes else None


def _sample(exprs: tuple[Expr, ...], names: tuple[str, ...], values: tuple[float, ...], precision: Precision) -> TableSample:
    """A formula and its slopes, if there are any, of which that in x comes first."""
    at = points(precision)
    zeros, extra = np.array([0.0, -0.0]), trials(precision)
    found = np.array(_outputs(exprs, names, values, torch.float64, np.concatenate([at.ravel(), extra.ravel(), zeros])))
    on_cells, tried, at_zero = np.split(found, [at.size, at.size + extra.size], axis=1)
    slope = at_zero[1] if len(exprs) > 1 else _outputs((exprs[0].diff(),), names, values, torch.float64, zeros)[0]
    on_cells, tried = (a.reshape(len(exprs), *like.shape) for a, like in ((on_cells, at), (tried, extra)))
    value, slopes = slice(0, 1), slice(1, None)
    targets = [TableTarget(on_cells[value], at_zero[value], precision, 0.0, slope, tried[value])]
    if len(exprs) > 1:
        targets.append(TableTarget(on_cells[slopes], at_zero[slopes], precision, _FLOOR, None, tried[slopes]))
    return TableSample(tuple(targets), np.empty((0, 1)))


def _patch_around(
    exprs: tuple[Expr, ...], names: tuple[str, ...], values: tuple[float, ...], moving: tuple[int, ...], precision: Precision
) -> Patch | None:
    """The patch for the box of the grid around the values of the moving parameters, or for the part of it that these lie in.

    A parameter may be at an end of where the formula is defined; there no box around it is.
    """
    place = [values[n] for n in moving]
    centre = [round(v / _BOX) * _BOX for v in place]
    boxes = (
        [(c - _BOX / 2, c + _BOX / 2) for c in centre],
        [(c - (v <= c) * _BOX / 2, c + (v > c) * _BOX / 2) for c, v in zip(centre, place, strict=True)],
    )
    fixed = tuple(0.0 if n in moving else v for n, v in enumerate(values))
    return next(
        (p for p in (_patch_of(exprs, names, fixed, moving, tuple(box), precision) for box in boxes) if p is not None), None
    )


@functools.lru_cache(maxsize=64)
def _patch_of(
    exprs: tuple[Expr, ...],
    names: tuple[str, ...],
    fixed: tuple[float, ...],
    moving: tuple[int, ...],
    box: tuple[tuple[float, float], ...],
    precision: Precision,
) -> Patch | None:
    low, high = zip(*box, strict=True)

    def sample(place: tuple[float, ...]) -> TableSample:
        given = dict(zip(moving, place, strict=True))
        return _sample(exprs, names, tuple(given.get(n, v) for n, v in enumerate(fixed)), precision)

    try:
        return make_patch(sample, low, high, _DEGREE[len(moving)]) if _is_smooth(exprs, names, fixed, moving, box) else None
    except ValueError:  # a Mittag-Leffler function is asked for what it is not defined for
        return None


# What decides by the size of its arguments.
_DECIDING = ("max", "min", "clip", "abs", "sign", "<", "<=", ">", ">=", "==", "!=")


def _is_smooth(
    exprs: tuple[Expr, ...],
    names: tuple[str, ...],
    fixed: tuple[float, ...],
    moving: tuple[int, ...],
    box: tuple[tuple[float, float], ...],
) -> bool:
    """Whether nothing is decided by the moving parameters, or it is decided alike everywhere in the box."""
    learned = {names[1 + n] for n in moving}
    deciding = [n for n in operators.ordered(exprs)[1] if n.op in _DECIDING and learned & {s for a in n.args for s in a.symbols()}]
    if any("x" in n.symbols() for n in deciding):
        return False
    grid = np.stack(np.meshgrid(*(np.linspace(low, high, 9) for low, high in box)), -1).reshape(-1, len(moving)).T
    given = {n: torch.from_numpy(np.ascontiguousarray(g)) for n, g in zip(moving, grid, strict=True)}
    values = {name: given.get(n, fixed[n]) for n, name in enumerate(names[1:])}
    for node in deciding:
        sides = [(a - b) for a, b in itertools.combinations(node.args, 2)] or list(node.args)
        for side in sides:
            if len(operators.evaluate(side, {"x": 0.0, **values}).sign().unique()) > 1:
                return False
    return True


def _outputs(
    exprs: tuple[Expr, ...], names: tuple[str, ...], values: tuple[float, ...], dtype: torch.dtype, x: Array
) -> list[Array]:
    """The formulas at these elements and parameters, computed as in this dtype."""
    program = operators.compile_program(exprs, names)
    inputs = torch.from_numpy(x), *(torch.tensor([v], dtype=torch.float64, device="cpu") for v in values)
    found = program.run(inputs, program.precision(dtype))
    return [y.expand(x.shape).numpy() for y in found]
