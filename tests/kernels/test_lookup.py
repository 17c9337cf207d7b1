"""Kernels of tables: they give the values of the polynomials by NumPy, to the ends of the table, for every size and dtype."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor

from actune.kernels.cpu import llvm
from actune.kernels.tables import lookup, special, tabulated
from actune.kernels.tables.lookup import Lookup
from actune.kernels.tables.polynomials import Polynomials, Table
from actune.kernels.tables.precision import DOUBLE, PLAIN, SINGLE, Precision
from actune.kernels.tables.series import ENDS
from actune.special.contour import numpy_derivatives

REGISTERS = pytest.mark.skipif("avx512f" not in llvm.cpu_features(), reason="the processor has no AVX-512")
HALF = (torch.bfloat16, torch.float16)
KINDS = [
    *(pytest.param(SINGLE, d, marks=REGISTERS, id=f"registers-{str(d)[6:]}") for d in (torch.float32, *HALF)),
    *(pytest.param(PLAIN, d, id=f"rows-{str(d)[6:]}") for d in (torch.float32, *HALF)),
    pytest.param(DOUBLE, torch.float64, id="rows-float64"),
]
every_kind = pytest.mark.parametrize(("precision", "dtype"), KINDS)
SIZES = (1, 31, 32, 33, 4095, 4096, 4101, 70_001)


@pytest.fixture(autouse=True)
def _same_number_of_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def powers(precision: Precision, outputs: int) -> np.ndarray:
    """(outputs, 2 * cells, degree + 1): random coefficients of t^k, the cells of x >= 0 first."""
    rng = np.random.default_rng(outputs)
    return rng.normal(size=(outputs, 2 * precision.cells, precision.degree + 1)).astype(precision.kind)


def table(precision: Precision, p: np.ndarray, limits: tuple[float, float]) -> Lookup:
    aligned = torch.empty(p.size + 16, dtype=precision.dtype)  # a register is loaded from a cache line
    start = -aligned.data_ptr() % 64 // aligned.element_size()
    found = aligned[start : start + p.size].numpy()
    p = p.transpose(0, 2, 1) if precision.in_registers else p
    found = found.reshape(p.shape)
    found[...] = p
    return Lookup(precision, found, limits)


def expected(precision: Precision, p: np.ndarray, limits: tuple[float, float], x: Tensor) -> tuple[np.ndarray, ...]:
    """(outputs, size): the values, and the sums of the sizes of their terms; and what is covered."""
    at = x.double().numpy()
    covered = np.abs(at) < np.where(np.signbit(at), limits[1], limits[0])
    place = np.where(covered, np.abs(at), 0) / precision.widths[0]
    cell = np.floor(place).astype(int)
    rows = p.astype(np.float64)[:, cell + precision.cells * np.signbit(at)]
    terms = rows * (place - cell)[:, None] ** np.arange(precision.degree + 1)
    return terms.sum(-1), np.abs(terms).sum(-1), covered


def inputs(precision: Precision, dtype: torch.dtype, size: int) -> tuple[Tensor, Tensor]:
    """x, most of it in the cells, and a gradient."""
    draw = torch.Generator().manual_seed(size)
    x = (torch.rand(size, generator=draw, dtype=torch.float64) * 2.2 - 1.1) * precision.cells * precision.widths[0]
    odd = [math.nan, math.inf, -math.inf, -0.0, 0.0, 1e-7, -1e-7, 3e4, -3e4]
    x[5 : 5 + len(odd)] = torch.tensor(odd, dtype=torch.float64)[: max(0, size - 5)]
    return x.to(dtype), torch.randn(size, generator=draw, dtype=torch.float64).to(dtype)


@every_kind
@pytest.mark.parametrize("size", SIZES)
def test_values_are_those_of_the_polynomials(precision: Precision, dtype: torch.dtype, size: int) -> None:
    p, limits = powers(precision, 1), (5.5, 8.0)
    x, _ = inputs(precision, dtype, size)
    y = torch.empty_like(x)
    sums, missed = table(precision, p, limits)(x, y)
    true, terms, covered = expected(precision, p, limits, x)
    assert len(sums) == 0
    assert missed.tolist() == np.flatnonzero(~covered).tolist()
    allowed = torch.finfo(dtype).eps * (np.abs(true) + terms) if dtype in HALF else 2 * torch.finfo(dtype).eps * terms
    assert (np.abs(y.double().numpy() - true)[:, covered] <= allowed[:, covered]).all()


@every_kind
@pytest.mark.parametrize("size", SIZES)
def test_a_pullback_multiplies_the_first_and_sums_the_others(precision: Precision, dtype: torch.dtype, size: int) -> None:
    """What is not covered adds nothing, whatever its gradient is."""
    p, limits = powers(precision, 4), (8.0, 3.0)
    x, g = inputs(precision, dtype, size)
    true, terms, covered = expected(precision, p, limits, x)
    g[torch.from_numpy(~covered)] = math.nan
    gx = torch.empty_like(x)
    sums, missed = table(precision, p, limits)(x, gx, g)
    wide = np.where(covered, g.double().numpy(), 0)
    assert missed.tolist() == np.flatnonzero(~covered).tolist()
    allowed = (2 if dtype in HALF else 3) * torch.finfo(dtype).eps * terms[0] * np.abs(wide) + torch.finfo(dtype).smallest_normal
    assert (np.abs(gx.double().numpy() - true[0] * wide)[covered] <= allowed[covered]).all()
    assert sums.dtype == np.float64
    assert (np.abs(sums - true[1:] @ wide) <= 200 * torch.finfo(precision.dtype).eps * (terms[1:] @ np.abs(wide))).all()


@every_kind
def test_a_table_ends_where_it_says(precision: Precision, dtype: torch.dtype) -> None:
    """Just below a limit the last cell counts, and from it on none; each sign has its own cells and limit, zeros too."""
    p = np.zeros((1, 2 * precision.cells, precision.degree + 1), precision.kind)
    p[0, :, 0] = np.arange(2 * precision.cells)  # the number of the cell
    for limits in ((6.0, 4.0), (6.0, 0.0), (0.0, 6.0), (8.0, 8.0)):
        ends = torch.tensor([limits[0], -limits[1]], dtype=dtype)
        inside = torch.nextafter(ends, torch.zeros_like(ends))
        x = torch.cat([ends, inside, torch.tensor([0.0, -0.0, 5.999, -3.999], dtype=dtype)]).repeat(9)
        y = torch.empty_like(x)
        _, missed = table(precision, p, limits)(x, y)
        true, _, covered = expected(precision, p, limits, x)
        assert missed.tolist() == np.flatnonzero(~covered).tolist()
        assert (y.double().numpy() == torch.from_numpy(true[0]).to(dtype).double().numpy())[covered].all()
    assert true.max() == 2 * precision.cells - 1


@REGISTERS
@pytest.mark.parametrize("octave", [4, 8, 16])
def test_cells_that_double(octave: int) -> None:
    """Each cell has its own polynomial, times 2^S for x >= 0; of S = 1 + t - t^2 here."""
    precision = replace(SINGLE, octave=octave, widths=(0.125, 1 / 3))
    p, sign = powers(precision, 1).reshape(1, 2, precision.cells, -1), np.array([1, -1])[:, None, None]
    begin, width = precision.edges[:, :-1, None], np.diff(precision.edges)[..., None]
    x = torch.from_numpy(sign * (begin + width * np.linspace(0.01, 0.99, 50))).float()
    t = (sign * x.double().numpy() - begin) / width
    terms = p[0, :, :, None] * t[..., None] ** np.arange(p.shape[-1])
    terms[0] *= 2 ** (1 + t - t * t)[0, ..., None]
    made = Polynomials(precision, p, precision.edges[None, :, -1], np.tile([1.0, 1.0, -1.0], (precision.cells, 1)))
    y = torch.empty_like(x)
    assert len(made.table().values(x.view(-1), y.view(-1))) == 0
    assert (np.abs(y.double().numpy() - terms.sum(-1)) <= 4 * torch.finfo(x.dtype).eps * np.abs(terms).sum(-1)).all()
    assert len(made.table().values(torch.full((50,), precision.edges[0, -1]), torch.empty(50))) == 50


@every_kind
@pytest.mark.parametrize("backward", [False, True])
def test_nothing_beside_the_tensors_is_touched_or_counts(precision: Precision, dtype: torch.dtype, backward: bool) -> None:
    p, margin = powers(precision, 3), 64
    for size in SIZES[:-1]:
        within = slice(margin, margin + size)
        x, g, y = (torch.full((size + 2 * margin,), math.nan, dtype=dtype) for _ in range(3))
        x[within], g[within], y[:] = 1.5, 1.0, 7.0
        made = table(precision, p if backward else p[:1], (2.0, 2.0))
        sums, missed = made(x[within], y[within], g[within] if backward else None)
        assert len(missed) == 0
        assert (y[:margin] == 7).all()
        assert (y[margin + size :] == 7).all()
        assert (y[within] == y[margin]).all()
        assert np.isfinite(sums).all()


@every_kind
def test_a_lane_that_is_not_there_is_not_listed(precision: Precision, dtype: torch.dtype) -> None:
    """Where no x is covered, a vector that is not full has as many bits as elements."""
    for size in SIZES:
        x = torch.zeros(size, dtype=dtype)
        _, missed = table(precision, powers(precision, 1), (0.0, 0.0))(x, torch.empty_like(x))
        assert missed.tolist() == list(range(size))


@every_kind
def test_results_do_not_depend_on_the_number_of_threads(precision: Precision, dtype: torch.dtype) -> None:
    p, (x, g) = powers(precision, 3), inputs(precision, dtype, 300_007)
    found = []
    for count in (1, 2, 3, 8):
        torch.set_num_threads(count)
        y = torch.zeros_like(x)
        sums, missed = table(precision, p, (8.0, 6.0))(x, y, g.nan_to_num())
        y[torch.from_numpy(missed)] = 0
        found.append((y.view(torch.uint8).numpy().tobytes(), sums.tobytes(), missed.tobytes()))
    assert len(set(found)) == 1


def test_one_kernel_serves_every_table() -> None:
    """Tables are made anew whenever a parameter changed, kernels are not."""
    precision = tabulated.precision_of(torch.float32)
    x = torch.linspace(-3, 3, 100)
    lookup._lookup_kernel.cache_clear()
    with mock.patch.object(llvm, "compile_assembly", side_effect=llvm.compile_assembly) as spy:
        for n in range(20):
            y = torch.empty_like(x)
            table(precision, powers(precision, 1) + n, (8.0, 8.0))(x, y)
            table(precision, powers(precision, 2) + n, (8.0, 8.0))(x, y, x)
    assert spy.call_count == 2


def test_only_memory_of_one_dtype_and_shape_is_looked_up() -> None:
    precision = tabulated.precision_of(torch.float32)
    made = Table(precision, table(precision, powers(precision, 1), (8.0, 8.0)).coefficients, np.full((1, 2), 8.0))
    x = torch.ones(64)
    for wrong in (torch.empty(63), torch.empty(64, dtype=torch.float64), torch.empty(128)[::2]):
        with pytest.raises(ValueError, match="flat, contiguous and of one dtype"):
            made.values(x, wrong)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(("alpha", "beta"), [(0.8, 1.0), (1.5, 0.5), (0.3, 2.0)])
def test_series_at_the_ends_of_their_intervals(alpha: float, beta: float, dtype: torch.dtype) -> None:
    """Both sides of each, for values and all derivatives; beyond the last, and where no series is accurate, `contour` serves."""
    ends = np.array(ENDS)
    z = np.concatenate([ends, np.nextafter(ends, 0), np.nextafter(ends, np.inf), [300.0, 0.3, 77.7]])
    z = np.concatenate([z, -z])
    for kernel in special._table_kernels(alpha, beta, tabulated.precision_of(dtype), special.SLOPES):
        assert kernel is not None
        assert isinstance(kernel.others, special.Series)
        found, true = kernel.others(z), numpy_derivatives(z, alpha, beta, kernel.others.orders)
        with np.errstate(over="ignore", invalid="ignore"):
            assert np.isnan(kernel.others(np.array([math.nan]))).all()
            finite = np.isfinite(true)
            assert (found == true)[~finite].all()
            steep = 1 + np.abs(z) ** (1 / alpha)  # the condition number of exp(z^{1/α})
            error = np.abs(found - true)[finite] / (np.abs(true) * steep + 1e-3)[finite]
        assert error.max() <= (3e-13 if dtype == torch.float64 else 1e-7)


# -- other processors ------------------------------------------------------------------------------------------------------

PORTABLE = """
from actune.kernels.cpu import llvm
text = llvm._feature_text().replace("+avx512", "-avx512").replace("+avx10", "-avx10")
llvm._feature_text = lambda: text
"""
USE = """
import torch, actune
from actune.kernels.tables import tabulated
from actune.kernels.tables.precision import PLAIN
from actune.special.function import mittag_leffler_by_contour
torch.manual_seed(0)
for dtype, bar in ((torch.float32, 1e-6), (torch.bfloat16, 8e-3), (torch.float16, 2e-3), (torch.float64, 1e-13)):
    z = (torch.randn(70_001) * 5).clamp(-40, 5).to(dtype).requires_grad_()
    wide = z.detach().double().requires_grad_()
    y, true = actune.mittag_leffler(z, 0.8, 1.1), mittag_leffler_by_contour(wide, 0.8, 1.1)
    size = true.detach().abs() + 0.01
    assert ((y.double() - true).abs() <= bar * (1 + wide.abs()) * size).all(), dtype
    got, slope = (torch.autograd.grad(a.sum(), b)[0] for a, b in ((y, z), (true, wide)))
    assert ((got.double() - slope).abs() <= bar * (1 + wide.abs()) * (slope.abs() + 0.01)).all(), dtype
x = torch.randn(70_001) * 3
e = actune.parse("tanh(x) + sin(x) + atan(x) + erf(x) + asinh(x)")
y = actune.Activation(e)(x)
true = x.double().tanh() + x.double().sin() + x.double().atan() + x.double().erf() + x.double().asinh()
assert ((y - true).abs() <= 1e-6 * (1 + true.abs())).all()
"""


def run_alone(code: str, place: Path) -> str:
    """What it prints in a process of its own, with its own folder of compiled functions."""
    env = {**os.environ, "ACTUNE_CACHE": str(place)}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=300)
    assert found.returncode == 0, found.stderr[-2000:]
    return found.stdout


def test_a_processor_without_avx512(tmp_path: Path) -> None:
    last = "assert tabulated.precision_of(torch.float32) is PLAIN\nprint('right')\n"
    assert run_alone(PORTABLE + USE + last, tmp_path).strip() == "right"


def test_without_a_compiler(tmp_path: Path) -> None:
    missing = "import sys, warnings\nsys.modules['llvmlite'] = None\nwarnings.simplefilter('ignore')\n"
    assert run_alone(missing + USE + "print('right')\n", tmp_path).strip() == "right"
    assert list(tmp_path.rglob("*.o")) == []
