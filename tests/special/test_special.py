"""E_{α,β}(z) and its derivatives against mpmath (tests/reference), identities, boundaries between methods, and hostile input."""

from __future__ import annotations

import functools
import itertools
import math

import pytest
import torch
import torch.utils.checkpoint
from exact_values import ORDERS, reference
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from actune.special.function import mittag_leffler_by_contour, mittag_leffler_derivatives, mittag_leffler_scaled


def derivative(z: Tensor, alpha: Tensor | float, beta: Tensor | float, i: int = 0, j: int = 0, k: int = 0) -> Tensor:
    return mittag_leffler_derivatives(z, alpha, beta, ((i, j, k),))[0]


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def error(y: Tensor, exact: Tensor, scale: Tensor) -> Tensor:
    return torch.where(y == exact, torch.zeros_like(y), (y.double() - exact).abs() / scale)


def condition(alpha: Tensor, beta: Tensor, z: Tensor, scale: Tensor) -> Tensor:
    """κ = |zE'/E|, at least 1."""
    return torch.nan_to_num((z * derivative(z, alpha, beta, 1)).abs() / scale, nan=1.0).clamp(min=1.0)


def test_values_match_mpmath() -> None:
    narrow, wide = reference()
    alpha, beta, z, exact, scale = torch.cat([narrow, wide[:, :5]]).T
    assert len(z) > 22000
    e = error(mittag_leffler_by_contour(z, alpha, beta), exact, scale) / condition(alpha, beta, z, scale)
    assert e.max() <= 1e-13  # wanted: 2e-13


@pytest.mark.parametrize("order", ORDERS[1:], ids=str)
def test_derivatives_match_mpmath(order: tuple[int, int, int]) -> None:
    _, wide = reference()
    alpha, beta, z = wide[:, :3].T
    exact, scale = wide[:, 3 + 2 * ORDERS.index(order) :][:, :2].T
    e = error(derivative(z, alpha, beta, *order), exact, scale) / condition(alpha, beta, z, wide[:, 4])
    assert e.max() <= 3e-12  # wanted: 1e-10


def test_float32_is_rounded_once() -> None:
    _, wide = reference()
    alpha, beta, z = wide[:, :3].float().T
    y = mittag_leffler_by_contour(z, alpha, beta)
    assert y.dtype == torch.float32
    assert torch.equal(y, mittag_leffler_by_contour(z.double(), alpha.double(), beta.double()).float())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_wide(dtype: torch.dtype) -> None:
    z = torch.linspace(-20, 3, 101, dtype=dtype, requires_grad=True)
    y = mittag_leffler_by_contour(z, 0.8, 1.2)
    assert y.dtype == dtype
    assert torch.equal(y, mittag_leffler_by_contour(z.double(), 0.8, 1.2).to(dtype))
    (g,) = torch.autograd.grad(y.sum(), z)
    assert torch.equal(g, derivative(z.double(), 0.8, 1.2, 1).to(dtype))


IDENTITIES = {
    "exp": (1.0, 1.0, torch.exp, (-700.0, 700.0)),
    "expm1": (1.0, 2.0, lambda z: torch.expm1(z) / z, (-1e6, 700.0)),
    "z exp": (1.0, 0.0, lambda z: z * torch.exp(z), (-700.0, 700.0)),
    "erfcx": (0.5, 1.0, lambda z: torch.special.erfcx(-z), (-1e6, 20.0)),
    "cosh": (2.0, 1.0, lambda z: torch.cosh(z.clamp(min=0).sqrt()), (0.0, 4e5)),
    "sinh": (2.0, 2.0, lambda z: torch.sinh(z.sqrt()) / z.sqrt(), (1e-9, 4e5)),
    "geometric": (0.0, 1.0, lambda z: 1 / (1 - z), (-1e6, 1e6)),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_identities(name: str) -> None:
    alpha, beta, function, (low, high) = IDENTITIES[name]
    size = torch.logspace(-9, math.log10(max(-low, high)), 1500, dtype=torch.float64)
    z = torch.cat([-size, size])
    z = z[(z >= low) & (z <= high)]
    exact = function(z)
    keep = exact.isfinite() & (exact.abs() > 1e-305)
    kappa = torch.nan_to_num((z * derivative(z, alpha, beta, 1) / exact).abs(), nan=1.0).clamp(min=1)
    assert keep.sum() > 1000
    assert (((mittag_leffler_by_contour(z, alpha, beta) - exact) / exact).abs() / kappa)[keep].max() <= 2e-14


@pytest.mark.parametrize(("beta", "function"), [(1.0, torch.cos), (2.0, lambda x: torch.sin(x) / x)])
def test_oscillation(beta: float, function) -> None:
    x = torch.logspace(-4, 3, 3000, dtype=torch.float64)
    amplitude = torch.minimum(torch.ones_like(x), x ** (1 - beta))
    assert ((mittag_leffler_by_contour(-(x**2), 2.0, beta) - function(x)).abs() / amplitude / x.clamp(min=1)).max() <= 1e-15


def test_oscillation_far_out_keeps_amplitude_and_tail() -> None:
    z = -torch.logspace(6, 30, 200, dtype=torch.float64)
    assert mittag_leffler_by_contour(z, 2.0, 1.0).abs().max() <= 1
    tail = -1 / z / math.gamma(0.5)
    assert ((mittag_leffler_by_contour(z, 1.5, 2.0) - tail) / tail).abs().max() <= 1e-6  # the next term is of size 1/z


@pytest.mark.parametrize("alpha", [0.3, 0.8, 1.0])
def test_tail_keeps_relative_accuracy(alpha: float) -> None:
    z = -torch.logspace(9, 30, 100, dtype=torch.float64)
    y = mittag_leffler_by_contour(z, alpha, alpha + 0.25)
    assert (y * -z * math.gamma(0.25) - 1).abs().max() <= 1e-8  # -1/(z Γ(β-α)) (1 + O(1/z))
    assert (mittag_leffler_by_contour(z[-1:], alpha, alpha + 0.25) * -z[-1] * math.gamma(0.25) - 1).abs() <= 1e-15


# Each line crosses from one method, parabola or rewriting to another: (vary, around, the others).
SEAMS = [
    *[("alpha", a, {"beta": b, "z": z}) for a in (0.98, 1.0, 1.02) for b in (1.0, 0.01, 0.7) for z in (-0.5, -5.0, -30.0, 3.0)],
    *[("alpha", a, {"beta": b, "z": z}) for a in (0.5, 1.5) for b in (1.0, 2.0) for z in (-50.0, -1.0, 0.5, 2.0)],
    *[("beta", b, {"alpha": a, "z": z}) for b in (0.02, 0.98, 1.0, 1.02) for a in (0.01, 1.0, 1.005, 1.7) for z in (-0.99, -20.0)],
    *[("z", s**a, {"alpha": a, "beta": 1.3}) for a in (0.1, 0.6, 1.4, 2.0) for s in (0.05, 0.64, 1.17**2)],
    *[("z", -(6.0**a), {"alpha": a, "beta": b}) for a in (0.1, 0.6, 1.0, 1.4, 2.0) for b in (0.4, 1.0, 3.0)],
    *[("z", z, {"alpha": a, "beta": b}) for z in (-1.0, 1.0) for a in (0.9, 1.0, 1.01) for b in (0.01, 0.99, 1.0)],
    *[("z", -((c / math.cos(math.pi / 2 / a)) ** (2 * a)), {"alpha": a, "beta": 0.9}) for a in (1.3, 1.9) for c in (0.8, 1.17)],
]


@pytest.mark.parametrize(("vary", "at", "others"), SEAMS, ids=str)
def test_seams_are_smooth(vary: str, at: float, others: dict[str, float]) -> None:
    """Across a seam each order changes by its slope times the step, to rounding."""
    step = 1e-9 * max(abs(at), 1e-3)
    axis = ("z", "alpha", "beta").index(vary)
    point = [torch.full((2,), {vary: at, **others}[name], dtype=torch.float64) for name in ("z", "alpha", "beta")]
    point[axis] = double(at - step, at + step)
    for order in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)):
        slope_order = [n + (i == axis) for i, n in enumerate(order)]
        y, slope = derivative(*point, *order), derivative(*point, *slope_order)
        jump = y[1] - y[0] - slope.mean() * (point[axis][1] - point[axis][0])
        scale = y.abs().max() + (slope * at).abs().max() * 1e-2
        assert jump.abs() <= 3e-12 * scale, order


@pytest.mark.parametrize(
    ("z", "alpha", "beta"),
    [(-2.5, 0.7, 1.2), (1.3, 0.8, 0.6), (-12.0, 1.6, 1.0), (0.4, 1.9, 2.5), (-40.0, 0.4, 2.0), (0.3, 0.0, 1.5)],
)
def test_gradients(z: float, alpha: float, beta: float) -> None:
    inputs = [double(z, z * 0.9).requires_grad_(), double(max(alpha, 0.01)).requires_grad_(), double(beta).requires_grad_()]
    assert torch.autograd.gradcheck(mittag_leffler_by_contour, inputs, atol=1e-7, rtol=1e-5)
    assert torch.autograd.gradgradcheck(mittag_leffler_by_contour, inputs, atol=1e-6, rtol=1e-5)


def test_third_derivative_is_refused() -> None:
    z = double(0.5).requires_grad_()
    y = mittag_leffler_by_contour(z, 0.8, 1.0)
    for _ in range(2):
        (y,) = torch.autograd.grad(y.sum(), z, create_graph=True)
    with pytest.raises(ValueError, match=r"order \(3, 0, 0\).*add up to 2"):
        torch.autograd.grad(y.sum(), z, create_graph=True)
    with pytest.raises(ValueError, match=r"\(1, 1, 1\)"):
        derivative(z, 0.8, 1.0, 1, 1, 1)


@pytest.mark.parametrize(
    ("shape", "alpha", "beta"),
    [((4, 3), (), ()), ((4, 3), (1,), (3,)), ((4, 3), (4, 1), (3,)), ((), (1,), ()), ((1,), (5,), (1,)), ((0, 3), (3,), ())],
)
def test_broadcasting(shape: tuple[int, ...], alpha: tuple[int, ...], beta: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    z, a, b = (torch.randn(shape) * 3).double(), torch.rand(alpha).double() * 2, torch.rand(beta).double() * 3
    inputs = [t.requires_grad_() for t in (z, a, b)]
    y = mittag_leffler_by_contour(*inputs)
    grads = torch.autograd.grad(y.sum(), inputs)
    flat = [t.reshape(()) if n and t.numel() == 1 else t for n, t in enumerate(inputs)]
    expanded = [t.detach().reshape(-1) for t in torch.broadcast_tensors(*flat)]
    assert y.shape == torch.broadcast_shapes(*(t.shape for t in flat))
    each = [mittag_leffler_by_contour(*(t[i].reshape(1) for t in expanded)) for i in range(y.numel())]
    torch.testing.assert_close(y.reshape(-1), torch.cat([*each, double()]), rtol=1e-13, atol=0.0)
    for g, t, order in zip(grads, inputs, ((1, 0, 0), (0, 1, 0), (0, 0, 1)), strict=True):
        slope = derivative(*flat, *order).detach()
        wanted = slope.sum().reshape(t.shape) if t.numel() == 1 else slope.sum_to_size(t.shape)
        torch.testing.assert_close(g, wanted, rtol=1e-12, atol=1e-13)


def test_dtype_follows_z_and_gradients_follow_their_parameter() -> None:
    z, alpha = torch.randn(5), torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    y = mittag_leffler_by_contour(z, alpha, 1)
    y.sum().backward()
    assert y.dtype == torch.float32
    assert alpha.grad is not None
    assert alpha.grad.dtype == torch.float64


HOSTILE = [0.0, 5e-324, 1e-300, 1e-30, 1e-8, 0.5, 0.999, 1.0, 1.001, 2.0, 10.0, 1e4, 1e6, 1e16, 1e30, 1e100, 1e200, 1e308, math.inf]


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_never_nan(order: tuple[int, int, int], scaled: bool) -> None:
    alphas = [0.0, 5e-324, 1e-20, 1e-9, 1e-3, 0.1, 0.5, 1 - 1e-16, 1.0, 1 + 1e-12, 1.02, 1.021, 1.5, 2 - 1e-12, 2.0]
    betas = [0.0, 1e-300, 1e-9, 0.5, 1.0, 1.5, 2.0, 3.0]
    grid = double(*itertools.chain(*itertools.product([s * v for s in (1, -1) for v in HOSTILE], alphas, betas))).reshape(-1, 3)
    z, a, b = grid.T
    y = mittag_leffler_scaled(z, a, b, [order])[0] if scaled else derivative(z, a, b, *order)
    undefined = (a == 0) & (z >= 1) & (order[1] > 0)
    assert torch.equal(y.isnan(), undefined)


def test_overflow_is_infinite_and_nan_stays() -> None:
    z = double(1e4, math.inf, math.nan, -math.inf)
    assert mittag_leffler_by_contour(z, 0.7, 1.0).tolist()[:2] == [math.inf, math.inf]
    assert mittag_leffler_by_contour(z, 0.7, 1.0)[2].isnan()
    assert abs(mittag_leffler_by_contour(z, 0.7, 1.0)[3]) < 1e-90
    assert mittag_leffler_by_contour(torch.tensor([100.0]), 1.0, 1.0).item() == math.inf  # float32
    assert mittag_leffler_by_contour(torch.tensor([80.0]), 1.0, 1.0).item() == pytest.approx(math.exp(80), rel=1e-7)


def test_zero_alpha_is_the_continuation() -> None:
    z = double(-1e6, -3.0, -0.2, 0.0, 0.7, 0.999, 1.5, 40.0)
    for beta in (0.5, 1.0, 2.5, 3.0):
        exact = 1 / (math.gamma(beta) * (1 - z))
        torch.testing.assert_close(mittag_leffler_by_contour(z, 0.0, beta), exact, rtol=1e-14, atol=0.0)
        near = z < 0.9
        torch.testing.assert_close(mittag_leffler_by_contour(z[near], 1e-12, beta), exact[near], rtol=1e-10, atol=0.0)
    assert mittag_leffler_by_contour(z, 0.0, 0.0).abs().max() == 0
    assert mittag_leffler_by_contour(double(1.0), 0.0, 1.0).item() == math.inf
    assert derivative(z, 0.0, 1.5, 0, 1).isnan().tolist() == (z >= 1).tolist()


def test_pole_of_the_continuation_is_approached_to_full_accuracy() -> None:
    """α E_{α,0}(1) tends to ∫ dx/Γ(x), the Fransén-Robinson constant, with an error of α²/12."""
    for alpha in (1e-100, 1e-50, 1e-20, 1e-12, 1e-8):
        assert (alpha * mittag_leffler_by_contour(double(1.0), alpha, 0.0)).item() == pytest.approx(
            2.8077702420285193652, rel=1e-14
        )


def test_scaled_ratio_saturates_where_values_overflow() -> None:
    x = torch.logspace(-3, 4, 400, dtype=torch.float64).requires_grad_()
    (m, t), (n, u) = (mittag_leffler_scaled(x * x, 2.0, beta) for beta in (2.0, 1.0))
    y = x * m / n * torch.exp(t - u)
    (g,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(y, torch.tanh(x), rtol=1e-13, atol=0.0)
    torch.testing.assert_close(g, 1 / torch.cosh(x.clamp(max=300)) ** 2, rtol=1e-10, atol=1e-10)
    assert mittag_leffler_by_contour(x * x, 2.0, 1.0)[-1] == math.inf


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0, 1.7])
def test_scaled_form_is_the_function(alpha: float) -> None:
    z = double(-30.0, -2.0, -0.1, 0.0, 0.05, 0.6, 1.2, 4.0)
    for order in ORDERS:
        if alpha or not order[1]:
            m, t = mittag_leffler_scaled(z, alpha, 1.4, [order])
            torch.testing.assert_close(m * t.exp(), derivative(z, alpha, 1.4, *order), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.ones(2), 2.5, 1.0), r"alpha = 2.5 is outside \[0, 2\].*alpha.clamp\(0, 2\)"),
        ((torch.ones(2), -0.1, 1.0), r"alpha = -0.1 is outside \[0, 2\]"),
        ((torch.ones(2), 1.0, torch.tensor([1.0, 3.5])), r"beta = 3.5 is outside \[0, 3\].*beta.clamp\(0, 3\)"),
        ((torch.ones(2), math.nan, 1.0), r"alpha = nan is outside \[0, 2\]"),
        ((torch.ones(2), torch.tensor(1), 1.0), r"alpha has dtype torch.int64; make it a number"),
        ((torch.arange(3), 1.0, 1.0), r"z is torch.int64; mittag_leffler takes a real floating-point tensor"),
        ((0.5, 1.0, 1.0), r"z is float"),
    ],
)
def test_errors_name_the_range(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mittag_leffler_by_contour(*arguments)


def test_vmap_and_grad_transforms() -> None:
    z, alpha = torch.randn(4, 6, dtype=torch.float64), torch.linspace(0.5, 2, 4, dtype=torch.float64)
    mapped = torch.func.vmap(lambda x, a: mittag_leffler_by_contour(x, a, 1.0))(z, alpha)
    torch.testing.assert_close(mapped, mittag_leffler_by_contour(z, alpha[:, None], 1.0), rtol=1e-13, atol=0.0)
    slope = torch.func.vmap(torch.func.grad(lambda x: mittag_leffler_by_contour(x, 0.8, 1.0)))(z[0])
    torch.testing.assert_close(slope, derivative(z[0], 0.8, 1.0, 1), rtol=1e-13, atol=0.0)


@pytest.mark.filterwarnings("ignore:.*autograd.function.Function.*should not be instantiated:DeprecationWarning")  # Dynamo's own
def test_traces_without_a_break() -> None:
    traced = torch.compile(mittag_leffler_by_contour, fullgraph=True, backend="eager")
    for alpha, beta in ((0.8, 1.0), (1.6, 0.5), (1.0, 1.0), (0.0, 1.0)):
        inputs = [torch.linspace(-60, 5, 61, dtype=torch.float64), double(alpha), double(beta)]
        y, eager = (f(*(t.requires_grad_() for t in inputs)) for f in (traced, mittag_leffler_by_contour))
        torch.testing.assert_close(y, eager, rtol=1e-13, atol=0.0)
        wanted = inputs if alpha else inputs[::2]  # at α = 0 and z > 1 nan is the slope in α
        torch.testing.assert_close(*(torch.autograd.grad(v.sum(), wanted) for v in (y, eager)), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 1.0), (0.3, 0.5), (0.8, 1.0), (1.0, 1.01), (1.0, 0.0), (1.6, 0.4), (2.0, 3.0)])
def test_numbers_are_as_tensors_of_one_value(alpha: float, beta: float, scaled: bool) -> None:
    """Numbers are computed by NumPy, tensors by torch."""
    size = torch.logspace(-3, 5, 700, dtype=torch.float64)  # two blocks
    z = torch.cat([-size, size])
    for order in ORDERS:
        more = {"orders": [order]} if scaled else dict(zip("ijk", order, strict=True))
        function = functools.partial(mittag_leffler_scaled if scaled else derivative, **more)
        number, each = function(z, alpha, beta), function(z, torch.full_like(z, alpha), torch.full_like(z, beta))
        y, wanted = (number[0], each[0]) if scaled else (number, each)
        torch.testing.assert_close(y, wanted, rtol=1e-9, atol=0.0, equal_nan=True)


def test_result_may_be_changed_in_place() -> None:
    for alpha in (0.8, torch.full((3,), 0.8)):
        z = double(-2.0, 0.5, 1.0).requires_grad_()
        mittag_leffler_by_contour(z, alpha, 1.0).mul_(2).sum().backward()
        torch.testing.assert_close(z.grad, 2 * derivative(z.detach(), alpha, 1.0, 1))


def test_checkpoint_recomputes() -> None:
    z = double(-2.0, 0.5).requires_grad_()
    torch.utils.checkpoint.checkpoint(mittag_leffler_by_contour, z, 0.8, 1.0, use_reentrant=False).sum().backward()
    assert torch.equal(z.grad, derivative(z.detach(), 0.8, 1.0, 1))


def test_tensors_that_are_not_plain_stay_tensors() -> None:
    class Wrapped(Tensor):
        pass

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append(str(function))
            return function(*args, **(kwargs or {}))

    seen: list[str] = []
    z = double(-2.0, 0.5)
    assert type(mittag_leffler_by_contour(z.as_subclass(Wrapped), 0.8, 1.0)) is Wrapped
    with Watch():
        mittag_leffler_by_contour(z, 0.8, 1.0)
    assert "aten.expm1.default" in seen


@pytest.mark.parametrize("value", ["a", None, 1j])
def test_a_parameter_that_is_no_number_is_named(value) -> None:
    with pytest.raises(ValueError, match=r"alpha = .* is no number"):
        mittag_leffler_by_contour(torch.zeros(3), value)
