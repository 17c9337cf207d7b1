"""Values from tables: as accurate as the formula, for every family and for E, and only where they apply."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

import actune
from actune.kernels import dispatch, operators
from actune.kernels.cpu import llvm
from actune.kernels.tables import special, tabulated, whole
from actune.kernels.tables.polynomials import TableTarget, fit, points
from actune.kernels.tables.precision import DOUBLE, PLAIN, SINGLE
from actune.special.function import mittag_leffler_by_contour, mittag_leffler_derivatives

SIZE = 4 * whole.ELEMENTS + 7  # no multiple of 16
U = 2.0**-24
HOSTILE = torch.tensor([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-30, -1e-30, 1e4, -1e4, 3e38, -3e38, 7.99, 8.0, -8.0])


def pays_from(monkeypatch: pytest.MonkeyPatch, instructions: int) -> None:
    """A table is asked for formulas that cost more than this."""
    monkeypatch.setattr(whole, "HEAVY", instructions)
    dispatch._suiting.cache_clear()


@pytest.fixture(autouse=True)
def _whatever_it_costs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tables for any formula that has one, also where a kernel would be as fast."""
    pays_from(monkeypatch, -1)
    yield
    dispatch._suiting.cache_clear()


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[tabulated.Kernel]:
    """The tables that served."""
    seen: list[tabulated.Kernel] = []

    def spy(value: tabulated.Kernel, *rest: Any) -> tabulated.Tabulated:
        seen.append(value)
        return tabulated.Tabulated(value, *rest)

    for module in (whole, special):
        monkeypatch.setattr(module, "Tabulated", spy)
    return seen


def sample(size: int = SIZE, seed: int = 0) -> Tensor:
    x = torch.randn(size, generator=torch.Generator().manual_seed(seed)) * 3
    x[: len(HOSTILE)] = HOSTILE
    return x


def initial(f: actune.Family, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    return {name: torch.tensor([v], dtype=dtype).float().to(dtype) for name, v in f.initial()}


# -- every family --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", actune.list_families())
def test_a_family_is_as_accurate_as_its_formula(name: str, used: list[tabulated.Kernel]) -> None:
    """Value and slopes against the formula in float64, in units of roundoff of what rounding the inputs would excuse."""
    f = actune.family(name)
    learn = name.startswith("ml_")  # other trained parameters are left to kernels
    x = sample(whole.ELEMENTS + 7 if learn else SIZE)  # E of so many numbers in float64 takes seconds
    x = x[x.abs() < 1e5]
    names = [n for n, _ in f.initial()]
    inputs = [x.requires_grad_(), *(p.requires_grad_(learn) for p in initial(f).values())]
    y = dispatch.activate(f.expr, inputs[0], dict(zip(names, inputs[1:], strict=True)))
    g = torch.randn(len(x), generator=torch.Generator().manual_seed(1))
    got = torch.autograd.grad(y, [t for t in inputs if t.requires_grad], g)

    each = [
        torch.full_like(x, t.item(), dtype=torch.float64).requires_grad_()
        if t.numel() == 1
        else t.detach().double().requires_grad_()
        for t in inputs
    ]
    true = operators.activate_in_torch(f.expr, each[0], dict(zip(names, each[1:], strict=True)))
    first = torch.autograd.grad(true.sum(), each, create_graph=True)
    excused = true.abs() + sum((t * s).abs() for t, s in zip(each, first, strict=True))
    bar = 4 * U if used or not learn else 5 * U  # torch's own tanh has 4.1 at some of so many points
    # What underflows in a kernel is zero, and so are its products: with x, and with parameters of about 2.
    under = 2 * torch.finfo(torch.float32).smallest_normal * x.detach().double().abs().clamp(min=1)
    assert ((y - true).abs() <= bar * excused + under).all()
    if not f.kinks:
        second = torch.autograd.grad(first[0].sum() + 0 * sum(each).sum(), each)
        excused = first[0].abs() + sum((t * s).abs() for t, s in zip(each, second, strict=True))
        assert ((got[0] - g * first[0]).abs() <= bar * g.abs() * excused.clamp(min=1)).all()
    for one, s in zip(got[1:], first[1:] if learn else (), strict=True):
        assert (one - (g * s).sum()).abs() <= 1e-5 * (g * s).abs().sum() + 1e-6


@pytest.mark.parametrize("name", ["mish", "swish", "apalu", "zorro_tanh", "ml_tanh", "ml_gelu", "ml_softsign"])
def test_what_a_table_does_not_cover_is_the_formulas(name: str) -> None:
    f = actune.family(name)
    x, p = sample(), initial(f)
    got, wanted = (
        dispatch.activate(f.expr, x, p)[: len(HOSTILE)],
        operators.activate_in_torch(f.expr, x[: len(HOSTILE)].clone(), p),
    )
    assert torch.equal(got.isnan(), wanted.isnan())
    assert torch.allclose(got, wanted, rtol=5e-7, atol=1e-37, equal_nan=True)
    zeros = HOSTILE == 0
    assert torch.equal(got[zeros].signbit(), wanted[zeros].signbit())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["mish", "gelu", "ml_tanh", "ml_gelu"])
def test_half_precision_is_rounded_once(name: str, dtype: torch.dtype) -> None:
    f = actune.family(name)
    x = sample().to(dtype).requires_grad_()
    y = dispatch.activate(f.expr, x, initial(f))
    assert y.dtype == dtype
    keep = torch.isfinite(x) & (x.abs() < 100)
    wide = x.detach().double()
    true = operators.activate_in_torch(f.expr, wide, initial(f, torch.float64))
    assert ((y - true).abs() <= 0.51 * torch.finfo(dtype).eps * true.abs() + torch.finfo(dtype).smallest_normal)[keep].all()
    (g,) = torch.autograd.grad(y[keep].sum(), x)
    assert g.dtype == dtype


# -- E -------------------------------------------------------------------------------------------------------------------

SPECIAL = [(a, b) for a in (0.5, 1.0, 1.5, 2.0) for b in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)]
DRAWN = [
    tuple(t.tolist())
    for t in torch.rand(16, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * torch.tensor([2.0, 3.0])
]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-7), (torch.float64, 2e-13)])
@pytest.mark.parametrize(("alpha", "beta"), SPECIAL + DRAWN)
def test_e(alpha: float, beta: float, dtype: torch.dtype, tolerance: float, used: list[tabulated.Kernel]) -> None:
    """Against `special`, which is held to mpmath: relative to max(|y|, envelope / 10) and the condition number."""
    draw = torch.Generator().manual_seed(int(1000 * (alpha + beta)))
    near = torch.randn(4096, generator=draw, dtype=torch.float64) * 4
    far = 10 ** (torch.rand(600, generator=draw, dtype=torch.float64) * 14 - 8) * torch.where(
        torch.rand(600, generator=draw) < 0.5, -1, 1
    )
    z = torch.cat([near, far]).to(dtype)
    y = actune.mittag_leffler(z, alpha, beta)
    assert len(used) == 1
    wide = z.double()
    true, slope = mittag_leffler_by_contour(wide, alpha, beta), mittag_leffler_derivatives(wide, alpha, beta, ((1, 0, 0),))[0]
    excused = torch.maximum(true.abs(), (wide * slope).abs())
    small = (true.abs() < torch.finfo(dtype).max / 2) & torch.isfinite(excused)
    assert ((y.double() - true).abs() <= tolerance * excused + torch.finfo(dtype).smallest_normal)[small].all()
    assert torch.equal(
        y[true.abs() > 1.1 * torch.finfo(dtype).max].isinf(),
        torch.ones_like(y, dtype=torch.bool)[true.abs() > 1.1 * torch.finfo(dtype).max],
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("alpha", "beta"), [(0.8, 1.0), (1.0, 1.3), (1.5, 1.0), (2.0, 2.0)])
def test_the_table_of_e_covers_what_it_can(alpha: float, beta: float, dtype: torch.dtype, used: list[tabulated.Kernel]) -> None:
    """Else it would be right, and slow."""
    actune.mittag_leffler(torch.zeros(4096, dtype=dtype), alpha, beta)
    assert min(used[0].table.limits) >= 8.0


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 1.0), (0.3, 0.6), (0.2, 1.0), (0.4, 2.0), (0.6, 0.0)])
def test_the_table_of_e_ends_where_float32_does(alpha: float, beta: float, used: list[tabulated.Kernel]) -> None:
    """Where E grows fast there is nothing left to compute one by one: what overflows, and inf itself, are infinite."""
    z = torch.cat([torch.linspace(0, 20, 5000), torch.tensor([math.nan, math.inf, 3e38])])
    y = actune.mittag_leffler(z, alpha, beta)
    assert used[0].table.limits[0] == math.inf
    assert used[0].table.values(z, torch.empty_like(z)).tolist() == [5000]
    true = mittag_leffler_by_contour(z.double(), alpha, beta)
    assert y[5000].isnan()
    assert y[true > 1.0001 * torch.finfo(torch.float32).max].isinf().all()
    assert y[true < 0.9999 * torch.finfo(torch.float32).max].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("alpha", "beta"), [(0.8, 1.0), (0.5, 0.5), (1.3, 1.2), (2.0, 2.0), (1.0, 1.0)])
@pytest.mark.parametrize(
    "needs", [(True, True, True), (True, False, False), (False, True, False), (False, False, True), (True, False, True)]
)
def test_gradients_of_e(alpha: float, beta: float, dtype: torch.dtype, needs: tuple[bool, ...]) -> None:
    z = (torch.randn(5000, generator=torch.Generator().manual_seed(3)) * 2).to(dtype)
    g = torch.randn(5000, generator=torch.Generator().manual_seed(4)).to(dtype)
    inputs = [
        t.requires_grad_(n)
        for t, n in zip((z, torch.tensor([alpha], dtype=dtype), torch.tensor(beta, dtype=dtype)), needs, strict=True)
    ]
    wanted = [t for t, n in zip(inputs, needs, strict=True) if n]
    got = torch.autograd.grad(special.mittag_leffler(*inputs), wanted, g)
    wide = [t.detach().double().requires_grad_() for t in inputs]
    true = torch.autograd.grad(mittag_leffler_by_contour(*wide), [t for t, n in zip(wide, needs, strict=True) if n], g.double())
    tolerance = 2e-6 if dtype == torch.float32 else 1e-11
    for one, other, t in zip(got, true, wanted, strict=True):
        assert one.shape == t.shape
        assert one.dtype == dtype
        size = other.abs().clamp(min=1) if t is inputs[0] else (other.abs() + 100)
        assert ((one - other).abs() <= tolerance * size * (1 + 3 * z.abs() if t is inputs[0] else 1)).all()


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_gradients_of_e_where_much_lies_beyond_its_table(share: float) -> None:
    """What the table covers counts once, also where all is computed without it."""
    draw = torch.Generator().manual_seed(12)
    z, g = torch.rand(5000, generator=draw, dtype=torch.float64) * 7, torch.randn(5000, generator=draw, dtype=torch.float64)
    z = torch.where(torch.rand(5000, generator=draw) < share, -z - 8, z - 7)

    def gradients(function: Any) -> list[Tensor]:
        inputs = [z.clone().requires_grad_(), *(torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.8, 1.1))]
        return list(torch.autograd.grad(function(*inputs), inputs, g))

    for got, wanted in zip(gradients(special.mittag_leffler), gradients(mittag_leffler_by_contour), strict=True):
        assert torch.allclose(got, wanted, rtol=1e-10, atol=1e-12)


def test_second_derivatives_of_e() -> None:
    z = (torch.rand(special.LEAST, dtype=torch.float64) * 4 - 3).requires_grad_()
    alpha, beta = (torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (0.7, 1.1))
    inputs = (z, alpha, beta)

    def second(function) -> tuple[Tensor, ...]:
        first = torch.autograd.grad(function(*inputs).sum(), inputs, create_graph=True)
        return torch.autograd.grad(sum(t.sum() for t in first), inputs)

    pairs = zip(second(special.mittag_leffler), second(mittag_leffler_by_contour), strict=True)
    assert all(torch.allclose(a, b, rtol=1e-10) for a, b in pairs)


@pytest.mark.skipif("avx512f" not in llvm.cpu_features(), reason="the processor has no AVX-512")
@pytest.mark.parametrize(("name", "reach"), [("ml_mish", (12, 12)), ("ml_tanh", (12, 12)), ("ml_gelu", (8, 6))])
def test_tables_of_formulas_with_e_reach_far(name: str, reach: tuple[float, float], used: list[tabulated.Kernel]) -> None:
    """What lies beyond takes so long that two elements in a layer are felt; where wider cells reach less far they do not serve."""
    f = actune.family(name)
    dispatch.activate(f.expr, sample(), initial(f))
    assert used[-1].table.limits == reach


# -- when they apply -----------------------------------------------------------------------------------------------------


def test_tables_are_kept_by_value_and_rebuilt_when_a_parameter_changed() -> None:
    x, f = sample(), actune.family("swish")
    p = {"beta": torch.tensor([1.25])}
    before = whole.table_kernels.cache_info().misses
    first = dispatch.activate(f.expr, x, p)
    assert torch.equal(dispatch.activate(f.expr, x, {"beta": torch.tensor([1.25])}), first) or first.isnan().any()
    assert whole.table_kernels.cache_info().misses == before + 1
    p["beta"].data.fill_(0.5)  # no version counter sees this
    y = dispatch.activate(f.expr, x, p)
    assert whole.table_kernels.cache_info().misses == before + 2
    assert torch.allclose(y[20:], x[20:] * torch.sigmoid(0.5 * x[20:]), rtol=1e-6, atol=1e-7)


@pytest.mark.filterwarnings("ignore:`torch.jit.trace` is deprecated")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(
    "case", ["small", "float64", "each element", "channels", "trained", "vmap", "jvp", "cheap", "subclass", "trace", "make_fx"]
)
def test_no_table_serves_everything_else(case: str, used: list[tabulated.Kernel], monkeypatch: pytest.MonkeyPatch) -> None:
    e, x, p = actune.family("swish").expr, sample().nan_to_num(0, 0, 0).clamp(-50, 50), {"beta": torch.tensor([1.5])}
    if case == "small":
        y = dispatch.activate(e, x := x[:1000], p)
    elif case == "float64":
        y = dispatch.activate(e, x := x.double(), p)
    elif case == "each element":
        y = dispatch.activate(e, x, {"beta": torch.full_like(x, 1.5)})
    elif case == "channels":
        y = dispatch.activate(e, x := x[: 2**16].view(-1, 4, 256), {"beta": torch.full((1, 4, 1), 1.5)})
    elif case == "vmap":
        y = torch.func.vmap(lambda t: dispatch.activate(e, t, p))(x[None])[0]
    elif case == "jvp":
        y, _ = torch.func.jvp(lambda t: dispatch.activate(e, t, p), (x,), (x,))
    elif case == "trace":
        y = torch.jit.trace(lambda t: dispatch.activate(e, t, p), (x + 1,), check_trace=False)(x)
    elif case == "make_fx":
        y = make_fx(lambda t: dispatch.activate(e, t, p))(x + 1)(x)
    elif case == "cheap":
        pays_from(monkeypatch, 1000)
        y = dispatch.activate(e, x, p)
    elif case == "trained":
        y = dispatch.activate(e, x, {"beta": p["beta"].requires_grad_()}).detach()
    else:

        class Marked(Tensor):
            pass

        y = dispatch.activate(e, x.as_subclass(Marked), p)
    assert not used
    assert torch.allclose(torch.as_tensor(y).float(), (x * torch.sigmoid(1.5 * x)).float(), rtol=2e-6, atol=1e-7)


def test_a_table_serves(used: list[tabulated.Kernel]) -> None:
    dispatch.activate(actune.family("mish").expr, sample(), {})
    assert len(used) == 1
    assert used[0].table.limits == (8.0, 8.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_small_and_large_are_the_same_function(dtype: torch.dtype) -> None:
    """A kernel below the threshold, a table above it: within what the bar of either allows."""
    f = actune.family("mish")
    x = sample(2 * whole.ELEMENTS)[len(HOSTILE) :].to(dtype)
    at_once, parts = dispatch.activate(f.expr, x, {}), torch.cat([dispatch.activate(f.expr, c, {}) for c in x.split(4096)])
    assert ((at_once.double() - parts.double()).abs() <= 4 * torch.finfo(dtype).eps * (x.abs() + 1) * parts.double().abs()).all()


def test_what_is_cheap_is_left_to_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The threshold is of instructions: no table for a sigmoid, one for what takes several functions."""
    monkeypatch.undo()
    dispatch._suiting.cache_clear()
    seen: list[tabulated.Kernel] = []
    make = tabulated.Tabulated
    monkeypatch.setattr(whole, "Tabulated", lambda value, *rest: seen.append(value) or make(value, *rest))
    for text, tables in (
        ("sigmoid(x)", 0),
        ("x*sigmoid(x)", 0),
        ("relu(x)", 0),
        ("tanh(x) + sin(x) + atan(x) + erf(x) + asinh(x)", 1),
    ):
        seen.clear()
        dispatch.activate(actune.parse(text), sample(), {})
        assert len(seen) == (tables if llvm.works(torch.float32) else 0), text


def test_a_kink_at_zero_leaves_the_whole_to_the_formula_but_not_its_gates(used: list[tabulated.Kernel]) -> None:
    f = actune.family("ml_relu")
    p = {n: t.requires_grad_(n == "beta2") for n, t in initial(f).items()}
    p["beta2"].data.fill_(1.5)
    x = sample().clamp(-50, 50).nan_to_num().requires_grad_()
    y = dispatch.activate(f.expr, x, p)
    assert len(used) == 1
    exact = operators.activate_in_torch(f.expr, x[:3000].double(), {n: t.detach().double() for n, t in p.items()})
    assert torch.allclose(y[:3000].double(), exact, rtol=1e-6)
    g, b = torch.autograd.grad(y.sum(), (x, p["beta2"]))
    assert g[x == 0].eq(0).all()
    assert b != 0


@pytest.mark.parametrize("dim", [1, -1])
def test_channels_have_tables_of_their_own(dim: int, used: list[tabulated.Kernel]) -> None:
    """A Mittag-Leffler function with parameters for each channel."""
    act = actune.Activation("ml_tanh", trainable={"beta2": True, "beta1": True}, scope="channel", channels=3, dim=dim)
    act.beta2.data.copy_(torch.tensor([1.0, 1.4, 2.0]))
    shape = [8, 600, 600]
    shape[dim] = 3
    x = torch.randn(shape, generator=torch.Generator().manual_seed(8)).requires_grad_()
    y = act(x)
    assert len(used) == 3
    g = torch.randn(y.shape, generator=torch.Generator().manual_seed(9))
    got = torch.autograd.grad(y, (x, act.beta1, act.beta2), g)
    for i, beta2 in enumerate((1.0, 1.4, 2.0)):
        one = actune.Activation("ml_tanh", trainable={"beta2": True, "beta1": True}, beta2=beta2)
        part = x.detach().select(dim, i).requires_grad_()
        z = one(part)
        assert torch.equal(z, y.select(dim, i))
        wanted = torch.autograd.grad(z, (part, one.beta1, one.beta2), g.select(dim, i))
        assert torch.equal(wanted[0], got[0].select(dim, i))
        assert all(torch.allclose(w, t[i], rtol=1e-5) for w, t in zip(wanted[1:], got[1:], strict=True))


@pytest.mark.parametrize("form", ["channels_last", "transposed", "strided", "expanded"])
def test_layout(form: str) -> None:
    """Any layout of input and gradient; a dense one is kept."""
    x = torch.randn(8, 16, 32, 32, generator=torch.Generator().manual_seed(5))
    x = {
        "channels_last": lambda: x.contiguous(memory_format=torch.channels_last),
        "transposed": lambda: x.transpose(0, 3),
        "strided": lambda: x[:, ::2, :, :],
        "expanded": lambda: x[:, :1].expand(8, 16, 32, 32),
    }[form]()
    leaf = x.detach().requires_grad_()
    y = dispatch.activate(actune.family("mish").expr, leaf, {})
    if form in ("channels_last", "transposed"):
        assert y.stride() == x.stride()
    g = torch.randn(y.shape, generator=torch.Generator().manual_seed(6))
    (got,) = torch.autograd.grad(y, leaf, g)
    (wanted,) = torch.autograd.grad(torch.nn.functional.mish(leaf), leaf, g)
    assert torch.allclose(y, torch.nn.functional.mish(leaf), rtol=1e-6, atol=1e-7)
    assert torch.allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_derivative_of_a_derivative() -> None:
    e, x = actune.family("mish").expr, torch.randn(SIZE, generator=torch.Generator().manual_seed(7)).requires_grad_()
    (slope,) = torch.autograd.grad(dispatch.activate(e, x, {}).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(slope.sum(), x)
    wide = x.detach().double().requires_grad_()
    (true,) = torch.autograd.grad(torch.autograd.grad(torch.nn.functional.mish(wide).sum(), wide, create_graph=True)[0].sum(), wide)
    assert torch.allclose(second.double(), true, atol=1e-6)


def test_an_activation_keeps_its_input_and_nothing_else() -> None:
    kept: list[Tensor] = []
    x = torch.randn(SIZE).requires_grad_()
    act = actune.Activation("swish")
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        act(x)
    assert sum(t.numel() for t in kept if t.numel() > 1) == x.numel()


def test_from_many_threads() -> None:
    x = sample().clamp(-20, 20).nan_to_num()
    wanted = torch.nn.functional.mish(x)
    good: list[bool] = []

    def work(n: int) -> None:
        e = actune.parse(f"x*tanh(softplus({1 + n / 1000}*x))")
        good.append(
            torch.allclose(dispatch.activate(e, x, {}), wanted, atol=0.1)
            and torch.allclose(dispatch.activate(actune.family("mish").expr, x, {}), wanted, atol=1e-6)
        )

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert good == [True] * 8


@pytest.mark.parametrize("name", ["mish", "swish", "mittag_leffler"])
@pytest.mark.parametrize("form", ["sum", "stack", "expanded rows", "reversed"])
def test_any_form_of_gradient(name: str, form: str) -> None:
    """The gradient that arrives need not lie in memory as its shape says: that of a sum is one number."""
    x = torch.randn(512, 300, generator=torch.Generator().manual_seed(10))

    def loss(y: Tensor) -> Tensor:
        w = torch.linspace(0, 1, 300, dtype=y.dtype)
        if form == "sum":
            return y.sum()
        if form == "stack":
            return (torch.stack([y, 0 * y], -1) * torch.stack([w, w], -1)).sum()
        return (y * w).sum() if form == "expanded rows" else (y.flip(0) * w).sum()

    def gradients(dtype: torch.dtype) -> list[Tensor]:
        leaf, p = x.to(dtype).requires_grad_(), torch.tensor([0.9], dtype=dtype, requires_grad=True)
        if name == "mittag_leffler":
            y = (actune.mittag_leffler if dtype == torch.float32 else mittag_leffler_by_contour)(leaf, p, 1.0)
        else:
            function = dispatch.activate if dtype == torch.float32 else operators.activate_in_torch
            y = function(actune.family(name).expr, leaf, {"beta": p} if name == "swish" else {})
        return list(torch.autograd.grad(loss(y), [leaf, p] if name != "mish" else [leaf]))

    for got, wanted in zip(gradients(torch.float32), gradients(torch.float64), strict=True):
        assert torch.allclose(got.double(), wanted, rtol=1e-5, atol=1e-5)


def test_the_result_may_be_changed_in_place() -> None:
    x = torch.randn(SIZE).requires_grad_()
    for y in (dispatch.activate(actune.family("mish").expr, x, {}), actune.mittag_leffler(x, 0.7)):
        y += 1
        y.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_a_batch_of_gradients() -> None:
    x = torch.randn(SIZE).requires_grad_()
    y = dispatch.activate(actune.family("mish").expr, x, {})
    g = torch.randn(2, SIZE)
    (got,) = torch.autograd.grad(y, x, g, is_grads_batched=True, retain_graph=True)
    wanted = torch.stack([torch.autograd.grad(y, x, one, retain_graph=True)[0] for one in g])
    assert torch.allclose(got, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_e_and_its_gradients_at_zero(dtype: torch.dtype) -> None:
    """Whether the table reaches there or not."""
    for alpha in (0.05, 0.2, 0.25, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0):
        for beta in (0.0, 0.3, 1.0, 2.0, 3.0):
            z = torch.zeros(4096, dtype=dtype)
            z[::2] = -0.0
            inputs = [z.requires_grad_(), *(torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (alpha, beta))]
            y = actune.mittag_leffler(*inputs)
            assert torch.allclose(y, mittag_leffler_by_contour(z, alpha, beta), rtol=1e-6, atol=1e-15)
            got = torch.autograd.grad(y.sum(), inputs)
            for g, order in zip(got, ((1, 0, 0), (0, 1, 0), (0, 0, 1)), strict=True):
                wanted = mittag_leffler_derivatives(torch.zeros(1, dtype=torch.float64), alpha, beta, (order,))[0].item()
                assert g.sum().item() == pytest.approx(4096 * wanted, rel=1e-5, abs=1e-9), (alpha, beta, order)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("hardshrink(x)", 0.5), ("x*tanh(x)*where(x > 1, 2, 3)", 1.0), ("tanh(x)*sign(x - 1.0005)", 1.0),
        ("x*tanh(x)*selu(x - 1.001)", 1.0), ("exp(x)*tanh(x)*sigmoid(max(x, 1.0015))", 1.0), ("softplus(x)*square(x - 1.25)", 1.25),
    ],
)  # fmt: skip
def test_corners_beside_the_edge_of_a_cell_and_double_roots_end_a_table(text: str, end: float) -> None:
    value, _ = whole.table_kernels(actune.parse(text), ("x",), (), tabulated.precision_of(torch.float32), ("x",))
    assert value.table.limits[0] <= end


def test_gates_are_only_multiplied() -> None:
    """A sum would cancel what float32 has left of a part, so it goes to the formula, which computes it all in float64."""
    x = torch.randn(2000, generator=torch.Generator().manual_seed(11)) * 1e-5
    p = {"b": torch.tensor([1.0], requires_grad=True)}
    e = actune.parse("abs(mittag_leffler(b*x, 1.5, 1) - 1)")
    true = operators.activate_in_torch(e, x.double(), {"b": torch.tensor([1.0], dtype=torch.float64)})
    assert torch.allclose(dispatch.activate(e, x, p).double(), true, rtol=1e-6)


def test_where_nothing_is_covered_the_formula_serves() -> None:
    e, x = actune.family("mish").expr, torch.full((SIZE,), 20.0).requires_grad_()
    y = dispatch.activate(e, x, {})
    y.sum().backward()
    assert torch.equal(y, operators.activate_in_torch(e, x, {}))
    assert x.grad is not None
    assert x.grad.eq(1).all()


# -- tables --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", [SINGLE, PLAIN, DOUBLE], ids=["registers", "rows", "double"])
def test_a_fitted_table_agrees_with_the_function(precision) -> None:
    if precision is SINGLE and "avx512f" not in llvm.cpu_features():
        pytest.skip("this processor has no AVX-512")
    p = points(precision)
    values = np.stack([np.tanh(p), 1 / np.cosh(p) ** 2, np.sin(p)])
    slope = np.array([1.0, 1.0]) if precision is not DOUBLE else None
    value = fit(TableTarget(values[:1], np.array([[0.0, -0.0]]), precision, 0.0, slope)).table()
    slopes = fit(TableTarget(values[1:], np.array([[1.0, 1.0], [0.0, 0.0]]), precision, 1e-3)).table()
    assert value.limits == slopes.limits == (8.0, 8.0)
    x = sample(10_007).to(precision.dtype)
    y, gx = torch.empty_like(x), torch.empty_like(x)
    missed = value.values(x, y)
    outside = ~(x.abs() < 8)
    assert torch.equal(torch.from_numpy(missed).sort().values, outside.nonzero().squeeze(1))
    eps = torch.finfo(precision.dtype).eps
    assert ((y - x.double().tanh()).abs() <= max(2 * eps, 1e-14) * x.double().tanh().abs())[~outside].all()
    g = torch.randn(len(x), dtype=precision.dtype)
    sums, missed = slopes.pullback(x, g, gx)
    inside = x[~outside].double()
    assert torch.allclose(gx[~outside].double(), g[~outside].double() / inside.cosh() ** 2, atol=4 * max(eps, 1e-14))
    terms = g[~outside].double() * inside.sin()
    assert abs(sums[0] - terms.sum().item()) <= 1e-6 * terms.abs().sum().item()


def test_a_table_says_where_it_ends() -> None:
    """A corner inside a cell, a pole, and a function too steep for its cells end it; a corner between cells does not."""
    p = points(SINGLE)
    zeros = np.zeros((1, 2))
    for function, limits in (
        (lambda x: np.abs(x - 1.7) - 1.7, (1.5, 8.0)),
        (lambda x: np.abs(x - 1.5) - 1.5, (8.0, 8.0)),
        (lambda x: x / (3.2 - x), (2.5, 8.0)),
        (lambda x: np.where(x < 0, x, np.nan), (0.0, 8.0)),
    ):
        found = fit(TableTarget(function(p)[None], zeros, SINGLE)).table().limits
        assert found[0] <= limits[0]
        assert found[0] >= limits[0] - 0.5
        assert found[1] == limits[1]
