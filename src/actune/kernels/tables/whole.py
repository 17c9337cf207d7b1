"""A whole formula as one table: for large tensors of a formula that costs more instructions than a look-up."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

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
from .polynomials import fit, points, trials
from .precision import Precision
from .tabulated import Kernel, Tabulated, precision_of

__all__ = ["by_table", "table_way"]

ELEMENTS = 32768  # from which tables pay
HEAVY = 50  # instructions up to which a formula is computed as fast as looked up
REACH = 2.0  # |x| that a table must cover to be of use
_FLOOR = 0.1  # the size of a slope below which its error is counted as that of this size


def table_way(asked: Request) -> Callable[..., Tensor | None] | None:
    """A table for large tensors of a heavy formula whose parameters are single numbers that nobody trains."""
    e = asked.subject.e
    if asked.place != "cpu" or asked.dtype != torch.float32 or not has_kernel(e, asked.dtype):
        return None
    if asked.learns or not asked.has_single_parameters or asked.elements < ELEMENTS:
        return None
    if (kernel_cost(e) or 0) <= HEAVY:
        return None
    return lambda x, tensors: by_table(e, x, asked.subject.symbols(x, tensors, asked.shapes))


def by_table(e: Expr, x: Tensor, parameters: Mapping[str, Tensor], one_sided: bool = False) -> Tensor | None:
    """The value from tables; None where there are none for both signs (one_sided: for neither)."""
    names, values = ("x", *parameters), tuple(parameters.values())
    slopes = tuple(names[i] for i in needed_gradients(x, values))
    value, slope = table_kernels(e, names, tuple(p.item() for p in values), precision_of(x.dtype), slopes)
    limits = value.table.limits if slope is None else tuple(map(min, value.table.limits, slope.table.limits))
    if (max if one_sided else min)(limits) < REACH:
        return None
    return apply_way(Tabulated(value, slope, functools.partial(_whole_by_operators, e, names[1:])), x, values)


def _whole_by_operators(e: Expr, names: tuple[str, ...], x: Tensor, *values: Tensor) -> Tensor:
    return operators.activate_in_torch(e, x, dict(zip(names, values, strict=True)))


@functools.lru_cache(maxsize=256)
def table_kernels(
    e: Expr, names: tuple[str, ...], values: tuple[float, ...], precision: Precision, slopes: tuple[str, ...]
) -> tuple[Kernel, Kernel | None]:
    """The value of a formula, and its slopes in these symbols if there are any."""
    exprs = (e, *(e.diff(name) for name in slopes))
    at = points(precision)
    zeros, extra = np.array([0.0, -0.0]), trials(precision)
    found = np.array(_outputs(exprs, names, values, torch.float64, np.concatenate([at.ravel(), extra.ravel(), zeros])))
    on_cells, tried, at_zero = np.split(found, [at.size, at.size + extra.size], axis=1)
    slope = at_zero[1] if slopes else _outputs((e.diff(),), names, values, torch.float64, zeros)[0]
    on_cells, tried = (a.reshape(len(exprs), *like.shape) for a, like in ((on_cells, at), (tried, extra)))

    def kernel(part: slice, floor: float, slope: Array | None) -> Kernel:
        fitted = fit(on_cells[part], at_zero[part], precision, floor, slope, tried[part])
        return Kernel(fitted.table(), functools.partial(_outputs, exprs[part], names, values, precision.dtype))

    return kernel(slice(0, 1), 0.0, slope), kernel(slice(1, None), _FLOOR, None) if slopes else None


def _outputs(
    exprs: tuple[Expr, ...], names: tuple[str, ...], values: tuple[float, ...], dtype: torch.dtype, x: Array
) -> list[Array]:
    """The formulas at these elements and parameters, computed as in this dtype."""
    program = operators.compile_program(exprs, names)
    inputs = torch.from_numpy(x), *(torch.tensor([v], dtype=torch.float64, device="cpu") for v in values)
    found = program.run(inputs, program.precision(dtype))
    return [y.expand(x.shape).numpy() for y in found]
