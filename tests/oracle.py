"""The oracle: values and derivatives by mpmath, and how far a computed result is from them.

Derivatives come from differences at 80 digits or more, never from the derivative rules that are being tested.
Every error is in units of roundoff u of the dtype, relative to the scale that rounding the inputs alone would excuse:

    value        |y| + |x*y'| + sum |p*dy/dp|
    derivative   max(1, |d| + |x*dd/dx| + sum |p*dd/dp|)

`python tests/oracle.py` prints the worst error of every family in every dtype.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
import torch
from torch import Tensor
from torch.distributions import transform_to

import actune
from actune.catalogue.interval import Closed
from actune.kernels.cpu.fused import cpu_way
from actune.kernels.cpu.steps import has_kernels
from actune.kernels.operators import activate_in_torch, ordered
from actune.kernels.request import Request, subject_of_symbols
from actune.language.exact import value
from actune.language.expr import Expr
from actune.language.ops import OPS

ALLOWED = 4.0  # the bar, in u
WIDE = (2e-13, 2e-12)  # that of the Mittag-Leffler function in float64, for values and derivatives
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def allowed(e: Expr, dtype: torch.dtype) -> tuple[float, float]:
    """The bar for values and derivatives, in u. A wide operator has its own in float64; narrower dtypes are rounded from it."""
    if dtype != torch.float64 or not is_wide(e):
        return ALLOWED, ALLOWED
    u = torch.finfo(dtype).eps / 2
    return WIDE[0] / u, WIDE[1] / u


def is_wide(e: Expr) -> bool:
    return any(not n.is_leaf and OPS[n.op].float64 for n in e.expand().nodes())


# -- where to look -------------------------------------------------------------------------------------------------------


def grid(dtype: torch.dtype, marks: Sequence[float] = (), count: int = 100, seed: int = 0) -> Tensor:
    """Points up to 1e4: logarithmic, uniform in [-10, 10], dense around the marks, each with its neighbours, zero and the tiny.

    Not so tiny that x/2 is subnormal: in kernels that counts as zero.
    """
    draw = torch.Generator().manual_seed(seed)
    far = 10 ** (torch.rand(count // 4, generator=draw, dtype=torch.float64) * 10 - 6)
    near = torch.rand(count // 2, generator=draw, dtype=torch.float64) * 20 - 10
    around = 10 ** (torch.rand(8, generator=draw, dtype=torch.float64) * 6 - 6)
    tiny = 4 * torch.finfo(dtype).tiny
    special = torch.tensor([0.0, tiny, -tiny, 1e-8, -1e-8, 1.0, -1.0, 1e4, -1e4], dtype=torch.float64)
    at = [torch.tensor(float(m), dtype=dtype) for m in marks]
    up, down = torch.tensor(math.inf, dtype=dtype), torch.tensor(-math.inf, dtype=dtype)
    steps = [t for m in at for t in (m, torch.nextafter(m, up), torch.nextafter(m, down))]
    parts = [far, -far, near, special, *(torch.cat([m.double() + around, m.double() - around]) for m in at)]
    points = torch.cat([torch.cat(parts).to(dtype), *(t.reshape(1) for t in steps)])
    return points[(points == 0) | (points.abs() >= tiny) & ~points.isinf()].unique()  # no subnormal inputs


def parameters(f: actune.Family, dtype: torch.dtype, shift: float = 0.0) -> dict[str, float]:
    """The value of each symbol but x, rounded to the dtype: the initial ones, or moved by this much on the unconstrained side."""
    found: dict[str, float] = {}
    for i, (name, p) in enumerate(f.params.items()):
        start = torch.tensor(p.init, dtype=torch.float64)
        by = shift * (1 + 0.05 * i * isinstance(p.constraint, Closed))  # so that no two of a range stay equal
        moved = transform_to(p.constraint)(transform_to(p.constraint).inv(start) + by) if shift else start
        if isinstance(p.init, tuple):
            found |= {f"{name}{i}": v for i, v in enumerate(moved.to(dtype).tolist())}
        else:
            found[name] = moved.to(dtype).item()
    return found


# -- what is true --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Truth:
    """A function of n arguments (x, then the parameters) at m points: float64 pairs `value + rest`, exact to twice the digits.

    value   (m), first (n, m), second (n, n, m)
    """

    value: np.ndarray
    value_rest: np.ndarray
    first: np.ndarray
    first_rest: np.ndarray
    second: np.ndarray


def truth(e: Expr, points: np.ndarray, values: dict[str, float], side: int = 1) -> Truth:
    """Value, first and second derivatives by one-sided differences: step 1e-25 or less (then with more digits), up or down."""
    e, names = e.expand(), ("x", *values)
    n, m = len(names), len(points)
    value_, first, second = np.empty((2, m)), np.empty((2, n, m)), np.empty((n, n, m))
    for k, x in enumerate(points.tolist()):
        digits = 25 if x == 0 or abs(x) > 1e-12 else 13 - math.floor(math.log10(abs(x)))  # a step much smaller than x
        with mpmath.workdps(2 * digits + 30):
            y, d, dd = _differences(e, names, (x, *values.values()), side * mpmath.mpf(10) ** -digits)
            value_[:, k] = _pair(y)
            for i in range(n):
                first[:, i, k] = _pair(d[i])
                second[i, :, k] = [float(dd[min(i, j), max(i, j)]) for j in range(n)]
    return Truth(value_[0], value_[1], first[0], first[1], second)


def _differences(e: Expr, names: tuple[str, ...], at: tuple[float, ...], h: mpmath.mpf) -> tuple:
    start = [mpmath.mpf(v) for v in at]

    @functools.cache
    def f(*moved: int) -> mpmath.mpf:
        return value(e, {name: v + moved.count(i) * h for i, (name, v) in enumerate(zip(names, start, strict=True))})

    n = len(names)
    first = [(f(i) - f()) / h for i in range(n)]
    second = {(i, j): (f(i, j) - f(i) - f(j) + f()) / h**2 for i, j in itertools.combinations_with_replacement(range(n), 2)}
    return f(), first, second


def _pair(v: mpmath.mpf) -> tuple[float, float]:
    high = float(v)
    return high, float(v - high) if math.isfinite(high) else 0.0


# -- how far off ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Worst:
    """The largest error in units of u, at which x, and of what: "value" or "dx", and by which way."""

    error: float = 0.0
    x: float = math.nan
    what: str = ""

    def __str__(self) -> str:
        return f"{self.error:.3g} u in {self.what} at x = {self.x!r}"


Computed = tuple[np.ndarray, np.ndarray]


def computed(e: Expr, x: Tensor, values: dict[str, float]) -> Computed:
    """What torch's operators give: the value (m) and the first derivatives (n, m), parameters one for each point."""
    inputs = [t.requires_grad_() for t in (x.detach().clone(), *(torch.full_like(x, v) for v in values.values()))]
    y = activate_in_torch(e, inputs[0], dict(zip(values, inputs[1:], strict=True)))
    slopes = torch.autograd.grad(y.sum(), inputs) if y.requires_grad else [torch.zeros_like(x)]
    return y.detach().double().numpy(), torch.stack([s.double() for s in slopes]).numpy()


def asked(e: Expr, x: Tensor, p: Mapping[str, Tensor], place: str = "cpu") -> Request:
    """What `activate` asks of a way, with a tensor per symbol."""
    shapes, strides = tuple(tuple(t.shape) for t in p.values()), None if x.is_contiguous() else x.stride()
    return Request(subject_of_symbols(e, tuple(p)), shapes, place, x.dtype, x.shape, strides)


def by_kernels(e: Expr, x: Tensor, values: dict[str, float]) -> Computed:
    """What the kernels give: the points are the neurons of one row."""
    row = x.detach()[None]
    p = [torch.full_like(row, v) for v in values.values()]
    way = cpu_way(asked(e, row, dict(zip(values, p, strict=True))))
    assert way is not None
    y = way.values(row, p)
    slopes = way.pullback(row, p, torch.ones_like(row), [True] * (1 + len(p)))
    return y[0].double().numpy(), torch.cat([s for s in slopes if s is not None]).double().numpy()


WAYS: dict[str, Callable[[Expr, Tensor, dict[str, float]], Computed]] = {"operators": computed, "kernels": by_kernels}


def ways(e: Expr) -> tuple[str, ...]:
    """How a formula can be computed."""
    return tuple(WAYS)[: 1 + has_kernels(ordered((e,))[1])]


def measure(e: Expr, x: Tensor, values: dict[str, float]) -> tuple[Worst, Worst]:
    """The worst error of the value, and of the first derivatives, at these points, computed in any way."""
    up = truth(e, x.double().numpy(), values)
    found = [_measured(e, x, values, up, way) for way in ways(e)]
    return max((v for v, _ in found), key=_error), max((d for _, d in found), key=_error)


def _error(worst: Worst) -> float:
    return worst.error


def _measured(e: Expr, x: Tensor, values: dict[str, float], up: Truth, way: str) -> tuple[Worst, Worst]:
    """The errors of one way; at a kink a slope may lie in between."""
    dtype, points = x.dtype, x.double().numpy()
    y, d = WAYS[way](e, x, values)
    arguments = np.stack([points, *(np.full_like(points, v) for v in values.values())])
    with np.errstate(all="ignore"):
        scale = np.abs(up.value) + np.abs(arguments * up.first).sum(0)
        scales = np.maximum(1, np.abs(up.first) + np.abs(arguments * up.second).sum(1))
        value_error = _units(y, up.value, up.value_rest, scale, dtype, np.maximum(1, np.abs(points)))
        error = _units(d, up.first, up.first_rest, scales, dtype)
        doubt = np.flatnonzero((error > allowed(e, dtype)[1]).any(0))
        if len(doubt):  # one-sided slopes differ at a kink: the other side, and everything between
            down = truth(e, points[doubt], values, side=-1)
            other = _units(d[:, doubt], down.first, down.first_rest, scales[:, doubt], dtype)
            between = (d[:, doubt] - down.first) * (d[:, doubt] - up.first[:, doubt]) <= 0
            error[:, doubt] = np.where(between, 0, np.minimum(error[:, doubt], other))
    names = [f"d{name} by {way}" for name in ("x", *values)]
    return _worst(value_error[None], points, [f"value by {way}"]), _worst(error, points, names)


def _units(got: Any, true: Any, rest: Any, scale: Any, dtype: torch.dtype, factor: Any = 1.0) -> np.ndarray:
    """Error in u of the scale; what overflows the dtype is not judged.

    What underflows may be off by the smallest normal number, times the factor x in a value: in x*sigmoid(x) it is the sigmoid
    that underflows, in torch's own function too.
    """
    info = torch.finfo(dtype)
    error = np.maximum(np.abs((got - true) - rest) - info.tiny * factor, 0)
    units = np.where(error == 0, 0, error / (info.eps / 2 * scale))
    units = np.where(np.isfinite(got), units, math.inf)
    return np.where(np.abs(true) > info.max * (1 - info.eps), 0, units)


def _worst(error: np.ndarray, points: np.ndarray, names: list[str]) -> Worst:
    row, column = np.unravel_index(np.argmax(error), error.shape)
    return Worst(float(error[row, column]), float(points[column]), names[row])


def report(f: actune.Family, dtype: torch.dtype, count: int = 100, shift: float = 0.0, seed: int = 0) -> tuple[Worst, Worst]:
    """The worst errors of a family in a dtype."""
    x = grid(dtype, f.kinks + f.joints, count, seed)
    if shift and is_wide(f.expr):  # |x|^gamma has an infinite slope at 0, or none
        x = x[x.abs() > 1e-24]
    return measure(f.expr, x, parameters(f, dtype, shift))


def main(names: Sequence[str]) -> None:
    print(f"{'worst error in u':28s}" + "".join(f"{str(d)[6:]:>18s}" for d in DTYPES))
    for name in names or actune.list_families():
        f = actune.family(name)
        cells = []
        for dtype in DTYPES:
            found = [report(f, dtype, 200, shift) for shift in ((0.0, 0.6, -0.6) if f.params else (0.0,))]
            worst = [max((w[i] for w in found), key=lambda w: w.error) for i in (0, 1)]
            cells.append(f"{worst[0].error:8.2f} {worst[1].error:8.2f} ")
            for w, bar in zip(worst, allowed(f.expr, dtype), strict=True):
                if w.error > bar:
                    print(f"    {name} {dtype}: {w}")
        print(f"{name:28s}" + "".join(f"{c:>18s}" for c in cells), flush=True)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
