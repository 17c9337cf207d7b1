"""The kernel column: its error in units in the last place, and its special values against the torch column.

`python tests/test_elementary.py` prints the errors and the time of every function.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import math
import time
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import torch

from actune.kernels.cpu import llvm
from actune.kernels.cpu.lanes import LANES, Code, Lanes, Value, vector
from actune.kernels.cpu.loops import VECTORS
from actune.kernels.cpu.subnormal import without_subnormals
from actune.language.elementary import KERNEL_ERRORS, PARTNERS
from actune.language.exact import value
from actune.language.expr import apply, symbol
from actune.language.ops import OPS
from actune.language.parser import parse

KERNELS = [op for op in OPS.values() if op.kernel and op.arity]
NUMBERS = [op for op in KERNELS if not op.boolean and op.name not in ("where", "sign", "relu", "abs", "neg", "max", "min", "clip")]
SPECIAL = (0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0)
TABLES = pytest.mark.skipif("avx512f" not in llvm.cpu_features(), reason="the processor has no AVX-512")
WIDE = (pytest.param(True, marks=TABLES, id="avx512"), pytest.param(False, id="portable"))
DOUBLE = (pytest.param(False, id="float32"), pytest.param(True, id="float64"))
# Where the true value is zero or infinite far away, or takes mpmath long: the largest argument, (float32, float64).
FARTHEST = {"sinc": (1e6, 1e12)}


@functools.cache
def compiled(function: Callable[..., Value], arity: int, double: bool, wide512: bool) -> Callable[..., np.ndarray]:
    """A function over Lanes, compiled to one on arrays."""
    code = Code(wide512=wide512)
    lanes = Lanes(code, double)
    kind = lanes.kind
    found = function(lanes, *(Value(code, kind, f"%x{i}") for i in range(arity)))
    if found.kind == "i1":
        found = lanes.where(found, 1.0, 0.0)
    loads = [
        f"  %p{i} = getelementptr {kind}, ptr %X{i}, i64 %i\n  %x{i} = load {vector(kind)}, ptr %p{i}, align 4"
        for i in range(arity)
    ]
    body = "\n".join([
        "", "entry:", "  br label %loop", "loop:", "  %i = phi i64 [0, %entry], [%j, %loop]",
        *loads, *code.lines, f"  %p = getelementptr {kind}, ptr %Y, i64 %i",
        f"  store {vector(kind)} {found.name}, ptr %p, align 4", f"  %j = add i64 %i, {LANES}", "  %c = icmp ult i64 %j, %n",
        "  br i1 %c, label %loop, label %exit", "exit:",
    ])  # fmt: skip
    parameters = ", ".join(["ptr %Y", "i64 %n", *(f"ptr %X{i}" for i in range(arity))])
    text = "\n".join(code.outside) + without_subnormals("run", parameters, VECTORS, body)
    run = llvm.compile_assembly(text, ["run"]).function("run", ctypes.c_void_p, ctypes.c_int64, *[ctypes.c_void_p] * arity)

    def call(*xs: Any, out: np.ndarray | None = None) -> np.ndarray:
        dtype, n = np.float64 if double else np.float32, len(xs[0])
        xs = tuple(
            np.concatenate([x, np.ones(-n % LANES)]).astype(dtype) if n % LANES else np.ascontiguousarray(x, dtype) for x in xs
        )
        y = np.empty_like(xs[0]) if out is None else out
        run(y.ctypes.data, len(y), *(x.ctypes.data for x in xs))
        return y[:n]

    return call


def kernel(name: str, double: bool, wide512: bool) -> Callable[..., np.ndarray]:
    return compiled(OPS[name].kernel, OPS[name].arity, double, wide512)


# -- errors --------------------------------------------------------------------------------------------------------------


def points(name: str, double: bool, count: int) -> list[np.ndarray]:
    """Arguments of all magnitudes, most of them where functions bend."""
    draw, arity = np.random.default_rng(len(name)), OPS[name].arity
    info = np.finfo(np.float64 if double else np.float32)
    low, high = info.minexp, info.maxexp - 1e-6
    sizes = [draw.uniform(low, high, count), draw.uniform(-12, 12, count), draw.uniform(-3, 8, count)]
    xs = [np.concatenate([np.exp2(np.concatenate(sizes)) * draw.choice([-1, 1], 3 * count), draw.uniform(-5, 5, count)])]
    xs += [draw.permutation(np.concatenate([xs[0][count:], draw.integers(-9, 10, count)])) for _ in range(arity - 1)]
    if name in ("sin", "cos"):  # where they are nearly zero
        xs[0][: count // 2] = draw.integers(1, 80_000, count // 2) * (math.pi / 2)
    if name in FARTHEST:
        xs[0] = xs[0][abs(xs[0]) <= FARTHEST[name][double]]
    if name in ("log", "sqrt", "pow"):
        xs[0] = abs(xs[0])
    if name == "pow":  # some results nearly as large and as small as there are, also of numbers close to one
        xs[0][: count // 2] = draw.uniform(0.71, 1.41, count // 2)
        xs[1][:count] = draw.uniform(0.97, 1.0, count) * draw.choice([low, high], count) / np.log2(xs[0][:count])
    if name == "div":
        xs[1][xs[1] == 0] = 3.0
    if name == "log1p":
        xs[0] = np.where(xs[0] < -1, -1 / xs[0] - 1, xs[0])
    return [x.astype(info.dtype).astype(np.float64) for x in xs]


@functools.cache
def truth(name: str, double: bool) -> tuple[list[np.ndarray], list[Any]]:
    """Arguments, and the exact values of the primitive there."""
    xs, names = points(name, double, 60), "abc"[: OPS[name].arity]
    formula = apply(name, *map(symbol, names))
    with mpmath.workdps(40):
        exact = [value(formula, {n: mpmath.mpf(v) for n, v in zip(names, x, strict=True)}) for x in zip(*xs, strict=True)]
    return xs, exact


def units(off: np.ndarray, true: np.ndarray, double: bool, times: float = 1.0) -> np.ndarray:
    """Differences, given times a number, in units in the last place of the true values; what is too small to be normal may be 0."""
    info = np.finfo(np.float64 if double else np.float32)
    size = np.clip(abs(true), float(info.tiny), float(info.max))
    found = off / np.exp2(np.floor(np.log2(size)) - info.nmant) / times
    return np.where(abs(true) < info.tiny * (1 + 4 * info.eps), np.maximum(found - 2.0**info.nmant - 4, 0.0), found)


def error(y: np.ndarray, exact: list[Any], double: bool) -> np.ndarray:
    """In units; none where what is too large for the format became infinite."""
    most = float(np.finfo(np.float64 if double else np.float32).max)
    with mpmath.workdps(40):
        lost = [0.0 if abs(t) > most and abs(v) == math.inf else abs(v - t) for v, t in zip(y.tolist(), exact, strict=True)]
    off = np.array([float(v * 2**30) for v in lost])  # where a float64 cannot hold the smallest of them
    return units(off, np.array([float(t) for t in exact]), double, 2.0**30)


def allowed(name: str, double: bool, wide512: bool) -> float:
    return KERNEL_ERRORS.get(name, (0.5,) * 4)[double + 2 * (not wide512)]


@np.errstate(all="ignore")
@pytest.mark.parametrize("wide512", WIDE)
@pytest.mark.parametrize("double", DOUBLE)
@pytest.mark.parametrize("name", [op.name for op in NUMBERS])
def test_error(name: str, double: bool, wide512: bool) -> None:
    xs, exact = truth(name, double)
    found = error(kernel(name, double, wide512)(*xs), exact, double)
    worst = int(np.argmax(found))
    assert found[worst] <= allowed(name, double, wide512) + 1e-6, [x[worst] for x in xs]


@np.errstate(all="ignore")
@pytest.mark.parametrize("wide512", WIDE)
@pytest.mark.parametrize("name", [op.name for op in NUMBERS])
def test_single_against_double(name: str, wide512: bool) -> None:
    """float32 at many more points, against float64, which is exact enough to judge it."""
    xs = points(name, False, 100_000)
    y, true = (kernel(name, double, wide512)(*xs).astype(np.float64) for double in (False, True))
    same = (y == true.astype(np.float32)) | np.isnan(y) & np.isnan(true)
    off = np.where(same, 0.0, units(np.nan_to_num(abs(y - true), nan=math.inf), true, False))
    worst = int(np.argmax(off))
    assert off[worst] <= allowed(name, False, wide512) + 1e-6, [x[worst] for x in xs]


def test_declared_errors_are_of_kernels() -> None:
    assert set(KERNEL_ERRORS) <= {op.name for op in KERNELS}


# -- partners ------------------------------------------------------------------------------------------------------------


def meant(name: str) -> Callable[..., Value]:
    """What a partner stands for, by the kernels of the primitives."""
    return parse(PARTNERS[name].meaning).fold(
        lambda e: lambda K, a: a if e.op == "symbol" else K.const(e.args[0]),
        lambda e, *parts: lambda K, a: OPS[e.op].kernel(K, *(part(K, a) for part in parts)),
    )


@TABLES
@np.errstate(all="ignore")
@pytest.mark.parametrize("name", PARTNERS)
def test_a_partner_is_what_it_stands_for(name: str) -> None:
    xs = np.concatenate([*points("tanh", False, 100_000), SPECIAL])
    y, true = (compiled(f, 1, double, True)(xs) for f, double in ((PARTNERS[name].kernel, False), (meant(name), True)))
    off = np.where(np.isnan(y) & np.isnan(true) | (y == true), 0.0, units(np.nan_to_num(abs(y - true), nan=math.inf), true, False))
    worst = int(np.argmax(off))
    assert off[worst] <= PARTNERS[name].error, xs[worst]
    assert (np.signbit(y) == np.signbit(true))[(y == 0) & (true == 0)].all()


@np.errstate(all="ignore")
@pytest.mark.parametrize(("double", "wide512"), [(False, False), (True, False), pytest.param(True, True, marks=TABLES)])
@pytest.mark.parametrize("name", PARTNERS)
def test_a_partner_without_tables_is_the_primitive(name: str, double: bool, wide512: bool) -> None:
    xs = np.concatenate([*points("tanh", double, 1000), SPECIAL])
    y, true = (compiled(f, 1, double, wide512)(xs) for f in (PARTNERS[name].kernel, meant(name)))
    np.testing.assert_allclose(y, true, rtol=4 * np.finfo(y.dtype).eps, atol=2 * np.finfo(y.dtype).tiny)


# -- special values ------------------------------------------------------------------------------------------------------


def specials(name: str, double: bool) -> list[np.ndarray]:
    info = np.finfo(np.float64 if double else np.float32)
    numbers = [*SPECIAL, float(info.tiny), -float(info.tiny)]
    numbers = [v * 1.25 for v in numbers] if name == "sinc" else numbers  # of 1 torch's is not quite zero
    numbers += [0.5, -0.5, 2.0, -2.0, 3.0, -3.0] if OPS[name].arity == 2 else []
    return [np.array(x, info.dtype) for x in zip(*itertools.product(numbers, repeat=OPS[name].arity), strict=True)]


def torchs(name: str, xs: list[np.ndarray]) -> np.ndarray:
    """Each argument sixteen times: torch computes the last few elements of a tensor differently, signed zeros too."""
    tensors = [torch.from_numpy(np.repeat(x, 16)) for x in xs]
    return OPS[name].torch(*(t != 0 if name == "where" and t is tensors[0] else t for t in tensors)).numpy()[::16]


@np.errstate(all="ignore")
@pytest.mark.parametrize("wide512", WIDE)
@pytest.mark.parametrize("double", DOUBLE)
@pytest.mark.parametrize("name", [op.name for op in KERNELS])
def test_special_values(name: str, double: bool, wide512: bool) -> None:
    xs = specials(name, double)
    truth_value = (lambda lanes, c, a, b: OPS[name].kernel(lanes, c != 0.0, a, b)) if name == "where" else OPS[name].kernel
    y, true = compiled(truth_value, len(xs), double, wide512)(*xs), torchs(name, xs).astype(xs[0].dtype)
    true = np.where(abs(true) < np.finfo(true.dtype).tiny, np.copysign(0.0, true), true)
    same = (y == true) & (np.signbit(y) == np.signbit(true)) | np.isnan(y) & np.isnan(true)
    near = (y * true > 0) & (abs(y - true) <= 8 * np.spacing(abs(true)))  # an ordinary value, of which torch's is not exact either
    wrong = np.flatnonzero(~(same | near))
    assert [(*(x[i] for x in xs), y[i], true[i]) for i in wrong] == []


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("bound", [0.0, -0.0, 1.5, -2.0, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["max", "min"])
def test_a_bound_that_is_a_number(name: str, bound: float, double: bool) -> None:
    """A bound that is a number takes fewer instructions and gives the same: nan stays, and of 0 and -0 it is the second."""
    x = specials("tanh", double)[0]
    wide512 = "avx512f" in llvm.cpu_features()
    y = compiled(lambda lanes, a: OPS[name].kernel(lanes, a, lanes.const(bound)), 1, double, wide512)(x)
    true = torchs(name, [x, np.full_like(x, bound)]).astype(x.dtype)
    assert np.array_equal(y, true, equal_nan=True)
    assert np.array_equal(np.signbit(y)[~np.isnan(y)], np.signbit(true)[~np.isnan(y)])


@np.errstate(all="ignore")
@pytest.mark.parametrize("name", ["tanh", "erf", "sigmoid", "erfc", "softplus", "atan", "exp", "expm1"])
@pytest.mark.parametrize("wide512", WIDE)
def test_saturation(name: str, wide512: bool) -> None:
    """A function that has reached its limit stays there."""
    xs = np.array([12.0, 30.0, 1e3, 1e30, 3.4e38, math.inf])
    for x in (xs, -xs):
        y = kernel(name, False, wide512)(x)
        assert (np.diff(y[~np.isinf(y)]) * np.sign(x[0]) * (-1 if name == "erfc" else 1) >= 0).all(), y
        assert y[-1] == kernel(name, True, wide512)(x)[-1].astype(np.float32)


# -- the vector code -----------------------------------------------------------------------------------------------------


def test_every_row_has_a_kernel_or_a_reason() -> None:
    assert [op.name for op in OPS.values() if op.kernel is None and op.definition is None and not op.float64] == []


@pytest.mark.parametrize("wide512", WIDE)
@pytest.mark.parametrize("double", DOUBLE)
@pytest.mark.parametrize("name", [op.name for op in NUMBERS])
def test_a_lane_does_not_depend_on_its_neighbours(name: str, double: bool, wide512: bool) -> None:
    """Each element has its own value, also where some of them take a rare branch."""
    xs = points(name, double, 50)
    order = np.random.default_rng(0).permutation(len(xs[0]))
    f = kernel(name, double, wide512)
    np.testing.assert_array_equal(f(*xs)[order], f(*(x[order] for x in xs)))


def instructions(*functions: Callable[[Lanes, Value], Value]) -> int:
    code = Code(wide512=True)
    lanes = Lanes(code)
    for f in functions:
        f(lanes, Value(code, "float", "%x"))
    return len(code.lines)


@pytest.mark.parametrize("name", ["sigmoid", "softplus", "log_sigmoid", "tanh", "erf", "erfc"])
def test_a_function_shares_its_work_with_that_of_the_opposite(name: str) -> None:
    f = OPS[name].kernel
    one = instructions(lambda K, x: f(K, 2.0 * x))
    assert instructions(lambda K, x: f(K, 2.0 * x), lambda K, x: f(K, -2.0 * x)) <= one + 6


def test_known_exponents_cost_no_power() -> None:
    for b in (0.5, 1.0, 2.0, 3.0, -1.0):
        assert instructions(lambda K, x, b=b: OPS["pow"].kernel(K, x, K.const(b))) <= 4


@pytest.mark.parametrize("double", DOUBLE)
@pytest.mark.parametrize("wide512", WIDE)
@pytest.mark.parametrize("b", [0.5, 1.0, 2.0, 3.0, -1.0])
def test_known_exponents(b: float, double: bool, wide512: bool) -> None:
    x = np.array([*SPECIAL, 1e-30, -1e-30, 7.25, -7.25, 1e20, -1e20], np.float64 if double else np.float32)
    y = compiled(lambda K, a, b=b: OPS["pow"].kernel(K, a, K.const(b)), 1, double, wide512)(x)
    true = torch.pow(torch.from_numpy(x), torch.tensor(b, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(y, true, rtol=1.6 * np.finfo(x.dtype).eps, atol=0)
    np.testing.assert_array_equal(np.signbit(y[~np.isnan(y)]), np.signbit(true[~np.isnan(true)]))


@pytest.mark.parametrize("double", DOUBLE)
@pytest.mark.parametrize("wide512", WIDE)
def test_numbers_are_picked_and_scaled(double: bool, wide512: bool) -> None:
    for count in (16, 32, 64):
        numbers = [float(i * i) for i in range(count)]
        picked = compiled(lambda K, x, numbers=numbers: K.pick(numbers, K.to_int(x)), 1, double, wide512)
        assert picked(np.arange(2 * count)).tolist() == 2 * numbers
    scaled = compiled(lambda K, a, k: K.ldexp(a, k), 2, double, wide512)
    least = math.log2(np.finfo(np.float64 if double else np.float32).tiny)
    found = scaled(np.array([1.0, 1.5, 1.5, 1.5, 3.0]), np.array([3.5, -2.5, least, least - 1, 2 * least]))
    assert found.tolist() == [8.0, 0.1875, 1.5 * 2**least, 0.0, 0.0]
    with pytest.raises(ValueError, match="got 3"):
        Lanes(Code()).pick([1.0, 2.0, 3.0], Value(Code(), "i32", "%i"))


# -- the table -----------------------------------------------------------------------------------------------------------


def measured(name: str, double: bool, wide512: bool) -> tuple[float, float]:
    """The largest error, and milliseconds for a million elements."""
    f, (xs, exact) = kernel(name, double, wide512), truth(name, double)
    x = [
        abs(np.random.default_rng(i).standard_normal(1 << 20)).astype(np.float64 if double else np.float32) for i in range(len(xs))
    ]
    y, times = np.empty_like(x[0]), []
    for _ in range(15):
        start = time.perf_counter()
        f(*x, out=y)
        times.append(time.perf_counter() - start)
    return float(error(f(*xs), exact, double).max()), sorted(times)[7] * 1e3 / 1.048576


if __name__ == "__main__":
    ways = [(d, w) for w in (True, False) for d in (False, True) if not w or "avx512f" in llvm.cpu_features()]
    heads = [f"{'float64' if d else 'float32'}{'' if w else ', portable'}" for d, w in ways]
    print("units in the last place, ms a million elements\n" + f"{'':12s}" + "".join(f"{h:>20s}" for h in heads))
    for op in NUMBERS:
        cells = [f"{e:10.2f} {t:9.3f}" for e, t in (measured(op.name, d, w) for d, w in ways)]
        print(f"{op.name:12s}" + "".join(cells), flush=True)
