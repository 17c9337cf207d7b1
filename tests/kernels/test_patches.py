"""Tables from patches: as accurate as tables made one by one, the same bits whatever came before, and none where they fail."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import actune
from actune.kernels import dispatch, operators
from actune.kernels.cpu import llvm
from actune.kernels.tables import patches, special, whole
from actune.kernels.tables.patches import TableSample, make_patch
from actune.kernels.tables.polynomials import TableTarget, points, trials
from actune.kernels.tables.precision import PLAIN, SINGLE, Precision
from actune.special.function import mittag_leffler_by_contour, mittag_leffler_derivatives

U = 2.0**-24
STARTS = [(0.8, 1.0), (0.5, 1.0), (0.3, 0.6), (1.0, 1.0), (1.5, 1.2), (0.65, 2.4), (0.2, 1.0), (1.9, 0.3)]


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each table that was made: whether it came from a patch."""
    made: list[bool] = []
    for module in (special, whole):
        module._patch_of.cache_clear()
    special._table_kernels.cache_clear()
    whole.table_kernels.cache_clear()
    at, make = patches.Patch.at, patches.make_patch

    def spy(self: patches.Patch, *place: Any) -> Any:
        made.append(True)
        return at(self, *place)

    def without_spy(*box: Any) -> Any:
        """A patch is tried when it is made: that is no table that serves."""
        before = len(made)
        found = make(*box)
        del made[before:]
        return found

    monkeypatch.setattr(patches.Patch, "at", spy)
    for module in (special, whole):
        monkeypatch.setattr(module, "make_patch", without_spy)
    return made


def single(*values: float) -> list[Tensor]:
    return [torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in values]


@pytest.mark.parametrize("precision", [SINGLE, PLAIN], ids=["registers", "rows"])
@pytest.mark.parametrize(("alpha", "beta"), STARTS)
def test_e_has_patches(alpha: float, beta: float, precision: Precision) -> None:
    """Else every step would make its tables one by one."""
    found = special._patch_around((alpha, beta), (0, 1), precision, (*special.VALUE, *special.SLOPES))
    assert found is not None


@pytest.mark.parametrize(("alpha", "beta"), STARTS)
def test_a_walk_of_e(alpha: float, beta: float) -> None:
    """Values and slopes at the bars of tables, at places that are no nodes."""
    rng = np.random.default_rng(int(100 * alpha))
    z = torch.randn(4096, generator=torch.Generator().manual_seed(1)) * 3
    g = torch.randn(4096, generator=torch.Generator().manual_seed(2))
    for _ in range(6):
        a, b = (v + rng.uniform(-0.04, 0.04) for v in (alpha, beta))
        near = mittag_leffler_by_contour(z.double(), a, b).abs() < 1e4  # beyond the slopes in parameters grow and overflow
        for part in (near, ~near):
            x, p = torch.where(part, z, -1.0).requires_grad_(), single(a, b)
            wide, y = x.detach().double(), actune.mittag_leffler(x, *p)
            true = mittag_leffler_by_contour(wide, a, b)
            slope, second, *others = mittag_leffler_derivatives(wide, a, b, ((1, 0, 0), (2, 0, 0), (0, 1, 0), (0, 0, 1)))
            fine = true.abs() < 1e30
            assert ((y - true).abs() <= 3e-7 * torch.maximum(true.abs(), (wide * slope).abs()))[fine].all(), (a, b)
            got = torch.autograd.grad(y, [x, *p], g)
            excused = (slope.abs() + (wide * second).abs()).clamp(min=1)
            assert ((got[0] - g * slope).abs() <= 3e-7 * g.abs() * excused)[fine].all(), (a, b)
            for one, other in zip(got[1:], others if part is near else (), strict=part is near):
                assert abs(one.item() - (g * other).sum().item()) <= 1e-6 * (g * other).abs().sum().item(), (a, b)


LEARN = [
    ("ml_tanh", ("beta2",)),
    ("ml_mish", ("beta2",)),
    ("ml_swish", ("beta1", "beta2")),
    ("ml_gelu", ("beta2",)),
    ("ml_erf", ("beta1",)),
]


@pytest.mark.parametrize(("name", "learn"), LEARN, ids=[name for name, _ in LEARN])
def test_a_walk_of_a_formula(name: str, learn: tuple[str, ...], patched: list[bool]) -> None:
    f, rng = actune.family(name), np.random.default_rng(5)
    z = torch.randn(3000, generator=torch.Generator().manual_seed(3)) * 3
    g = torch.randn(3000, generator=torch.Generator().manual_seed(4))
    for step in range(5):
        values = {n: v + (rng.uniform(0, 0.3) if n in learn else 0.0) for n, v in f.initial()}
        x = z.clone().requires_grad_()
        p = {n: torch.tensor([v], requires_grad=n in learn) for n, v in values.items()}
        y = dispatch.activate(f.expr, x, p)
        got = torch.autograd.grad(y, [x, *(p[n] for n in learn)], g)
        each = {n: torch.full_like(z, t.item(), dtype=torch.float64).requires_grad_(n in learn) for n, t in p.items()}
        wide = z.double().requires_grad_()
        true = operators.activate_in_torch(f.expr, wide, each)
        first = torch.autograd.grad(true.sum(), [wide, *(each[n] for n in learn)], create_graph=True)
        excused = true.abs() + (wide * first[0]).abs()
        assert ((y - true).abs() <= 4 * U * excused + 1e-37).all(), values
        (second,) = torch.autograd.grad(first[0].sum(), wide)
        excused = (first[0].abs() + (wide * second).abs()).clamp(min=1)
        assert ((got[0] - g * first[0]).abs() <= 4 * U * g.abs() * excused).all(), values
        for one, s in zip(got[1:], first[1:], strict=True):
            assert abs(one.item() - (g * s).sum().item()) <= 1e-5 * (g * s).abs().sum().item() + 1e-6, values
        assert len(patched) > step


def bits(function: Callable[..., Tensor], values: tuple[float, ...]) -> list[bytes]:
    x, p = torch.linspace(-7, 7, 5000).requires_grad_(), single(*values)
    y = function(x, p)
    return [y.detach().numpy().tobytes(), *(t.numpy().tobytes() for t in torch.autograd.grad(y.sum(), [x, *p]))]


@pytest.mark.parametrize("of", ["E", "formula"])
def test_results_depend_on_the_parameters_and_not_on_the_past(of: str, patched: list[bool]) -> None:
    """So that a training gives the same again, in another process or as the second of this one."""
    e = actune.family("ml_tanh").expr
    fixed = {n: torch.tensor([v]) for n, v in actune.family("ml_tanh").initial()}

    def function(x: Tensor, p: Any) -> Tensor:
        return actune.mittag_leffler(x, *p) if of == "E" else dispatch.activate(e, x, {**fixed, "beta2": p[0]})

    values = (0.81, 1.03) if of == "E" else (1.21,)
    first = bits(function, values)
    for step in range(40):
        bits(function, tuple(v + step / 200 for v in values))
    special._table_kernels.cache_clear()
    whole.table_kernels.cache_clear()
    assert bits(function, values) == first
    assert patched


def sample_of(function: Callable[..., Any], precision: Any) -> Callable[[tuple[float, ...]], TableSample]:
    def sample(place: tuple[float, ...]) -> TableSample:
        values, tried = (function(at, *place)[None] for at in (points(precision), trials(precision)))
        at_zero = function(np.array([[0.0, -0.0]]), *place)
        return TableSample((TableTarget(values, at_zero, precision, tried=tried),), np.array([[place[0], 1.0]]))

    return sample


def test_a_patch_gives_what_its_function_gives_between_the_nodes() -> None:
    sample = sample_of(lambda x, a, b: np.tanh(a * x) * (1 + b * b), PLAIN)
    patch = make_patch(sample, (0.9, 0.5), (1.0, 0.75), 5)
    assert patch is not None
    for a, b in ((0.93, 0.71), (0.9, 0.5), (0.987, 0.6)):
        (table,), more = patch.at((a, b)), patch.more_at((a, b))
        x = torch.linspace(-7.9, 7.9, 1001)
        y = torch.empty_like(x)
        assert len(table.table().values(x, y)) == 0
        true = torch.tanh(a * x.double()) * (1 + b * b)
        assert ((y - true).abs() <= 4 * U * true.abs() + 1e-12).all()
        assert more[0].tolist() == pytest.approx([a, 1.0], abs=1e-14)


@pytest.mark.parametrize(
    ("function", "degree"),
    [
        (lambda x, a: np.tanh(a * x), 1),  # too low a degree
        (lambda x, a: np.tanh(x) * (1 + abs(a - 0.953)), 8),  # a corner in the parameter
        (lambda x, a: np.tanh(x) * (1 + 1e-5 * math.copysign(1, a - 0.951)), 8),  # a jump, of little more than rounding
        (lambda x, a: np.abs(x - a) * np.tanh(x), 8),  # a corner in x that moves with the parameter
    ],
)  # fmt: skip
def test_no_patch_where_it_is_not_as_accurate_as_a_table(function: Callable[..., Any], degree: int) -> None:
    assert make_patch(sample_of(function, PLAIN), (0.9,), (1.0,), degree) is None


@pytest.mark.parametrize(
    ("text", "value", "served"),
    [
        ("mittag_leffler(x, 0.8, b)", 1.2, True),
        ("mittag_leffler(x, 0.8, b)", 3.0, True),  # the end of where it is defined: half a box
        ("mittag_leffler(x, 0.8, max(b, 1.01))", 1.02, False),
        ("mittag_leffler(x, 0.8, max(b, 1.01))", 1.2, True),
        ("mittag_leffler(x, 0.8, where(b > 1.2, b, 1.2))", 1.21, False),
        ("mittag_leffler(max(x, b), 0.8, 1.0)", 1.0, False),
    ],
)
def test_where_a_parameter_decides_there_is_no_patch(text: str, value: float, served: bool, patched: list[bool]) -> None:
    e, x, p = actune.parse(text), torch.linspace(-3, 3, 2000), torch.tensor([value], requires_grad=True)
    y = dispatch.activate(e, x, {"b": p})
    y.sum().backward()
    assert bool(patched) == (served and llvm.works(torch.float32))
    wide = torch.tensor([value], dtype=torch.float64, requires_grad=True)
    true = operators.activate_in_torch(e, x.double(), {"b": wide})
    true.sum().backward()
    assert torch.allclose(y.double(), true, rtol=2e-6)
    assert p.grad is not None
    assert wide.grad is not None
    assert torch.allclose(p.grad.double(), wide.grad, rtol=1e-5)


def test_a_step_costs_no_pass_of_the_contour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else training a shape takes several times as long as training beside one that is fixed."""
    x, p = torch.randn(5000).clamp(-7, 7), single(0.8, 1.1)
    actune.mittag_leffler(x, *p)
    passes: list[float] = []
    monkeypatch.setattr(special, "numpy_derivatives", lambda *a: passes.append(a[1]))
    for _ in range(3):
        with torch.no_grad():
            p[1] += 1e-3
        actune.mittag_leffler(x, *p)
    assert passes == []
