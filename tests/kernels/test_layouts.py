"""Kernels on every layout of memory, for parameters of every scope: the same bits as element by element, and the sums."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from oracle import asked
from passes import DTYPES, EXTENTS, KERNELS, E, forced, passes, same, strip
from torch import Tensor

import actune
from actune.kernels import dispatch, operators
from actune.kernels.cpu import fused
from actune.kernels.cpu.lanes import LANES
from actune.kernels.cpu.strips import LENGTH, cut, run_strips
from actune.kernels.layout import layout_of

every_kernel = pytest.mark.parametrize("how", KERNELS)
U = 2.0**-24


def normal(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def parameters(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    return {"a": normal(shape, 1).to(dtype), "b": (normal(shape, 2) + 1).to(dtype)}


def element_by_element(x: Tensor, p: dict[str, Tensor], g: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """[y, dx], the exact sums, and how far off sums in float32 may be, if each element has its own parameters."""
    each = {n: (t if t.numel() > 1 else t.reshape(())).float().expand(x.shape).reshape(1, -1) for n, t in p.items()}
    y, dx, *slopes = passes("interpreted", E, x.reshape(1, -1), each, g.reshape(1, -1))
    wide = [s.double().reshape(x.shape) for s in slopes]
    sums = [added(s, t) for s, t in zip(wide, p.values(), strict=True)]
    bounds = [(LENGTH + 2) * U * added(s.abs(), t) for s, t in zip(wide, p.values(), strict=True)]
    return [y.view(x.shape), dx.view(x.shape)], sums, bounds


def added(slopes: Tensor, p: Tensor) -> Tensor:
    return slopes.sum().reshape(p.shape) if p.numel() == 1 else slopes.sum_to_size(p.shape)


def judge(found: list[Tensor], x: Tensor, p: dict[str, Tensor], g: Tensor) -> None:
    elements, sums, bounds = element_by_element(x, p, g)
    assert same(found[:2], elements)
    for got, wanted, bound, t in zip(found[2:], sums, bounds, p.values(), strict=True):
        assert got.shape == t.shape
        assert got.dtype == t.dtype
        assert ((got.double() - wanted).abs() <= bound + 0.51 * torch.finfo(t.dtype).eps * wanted.abs()).all()


SHAPES = [
    (), (1,), (15,), (16,), (17,), (4095,), (4096,), (4097,), (65535,), (65537,), (5, 3), (1, 7), (7, 1), (2, 17), (64, 17),
    (33, 16), (3, 100), (2, 1000), (1000, 3), (1, 4113), (40000, 2), (3, 17, 5), (4, 3, 16), (2, 1, 33), (3, 4096, 1), (2, 3, 4099),
    (4, 16, 3, 3), (2, 3, 31, 33), (5, 100, 1, 2), (2, 3, 4, 5, 6), (1, 17, 1, 2, 1), (4, 1, 6, 1, 5), (300, 3, 17, 5),
    (9, 3, 68), (17, 2, 95), (9, 2, 14, 14), (16, 3, 64), (3, 2, 2050),
]  # fmt: skip


def scopes(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The shapes of parameters: one for all, one for each element of a run of dimensions."""
    yield (1,)
    for first, last in itertools.combinations(range(len(shape) + 1), 2):
        yield tuple(n if first <= d < last else 1 for d, n in enumerate(shape))


@every_kernel
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_shape_and_scope(shape: tuple[int, ...], how: str) -> None:
    """Layer, channel in any dimension, neuron, and whatever lies between."""
    x, g = normal(shape, 3) * 2, normal(shape, 4)
    for own in dict.fromkeys(scopes(shape)):
        p = parameters(own)
        judge(passes(how, E, x, p, g), x, p, g)


@every_kernel
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])
@pytest.mark.parametrize("other", DTYPES, ids=lambda d: str(d)[6:])
def test_parameters_of_another_dtype(dtype: torch.dtype, other: torch.dtype, how: str) -> None:
    """The result has the dtype of x, the gradient of a parameter its own; both are computed in that of x, half in float32."""
    x, g = normal((6, 37, 5), 5, dtype), normal((6, 37, 5), 6, dtype)
    for shape in ((1,), (1, 37, 1), (1, 37, 5)):
        p = parameters(shape, other)
        y, dx, *slopes = passes(how, E, x, p, g)
        wanted, wide_dx, *wide = passes("operators", E, x.double(), {n: t.double() for n, t in p.items()}, g.double())
        assert y.dtype == dx.dtype == dtype
        eps = max(torch.finfo(dtype).eps, 2.0**-52 if other == dtype == torch.float64 else 2.0**-23)
        assert torch.allclose(y.double(), wanted, rtol=8 * eps, atol=8 * eps)
        assert torch.allclose(dx.double(), wide_dx, rtol=20 * eps, atol=20 * eps)
        for got, exact, t in zip(slopes, wide, p.values(), strict=True):
            assert got.dtype == t.dtype
            assert torch.allclose(got.double(), exact, rtol=torch.finfo(other).eps + 1e-5, atol=1e-4)


FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(1, 3),
    "transposed batch": lambda x: x.transpose(0, 1),
    "every other": lambda x: x[:, :, ::2],
    "a part": lambda x: x[1:, 2:9, 1:, 3:],
    "expanded": lambda x: x[:, :1].expand(6, 4, -1, -1),
    "repeated batch": lambda x: x[:1].expand(3, -1, -1, -1),
    "flipped": lambda x: x.flip(2),
    "off by one": lambda x: x.reshape(-1)[1:-285].view(-1, 11, 2, 13),
}


@every_kernel
@pytest.mark.parametrize("form", FORMS)
def test_any_layout(form: str, how: str) -> None:
    """What is laid out densely keeps its layout, in value and gradient."""
    x = FORMS[form](normal((6, 13, 10, 11), 7))
    g = normal((2, *x.shape), 8).transpose(-1, -2).contiguous().transpose(-1, -2)[1]
    for own in ((1,), *(tuple(n if d == k else 1 for k, n in enumerate(x.shape)) for d in range(4))):
        p = parameters(own)
        found = passes(how, E, x, p, g)
        judge(found, x, p, g)
        assert found[0].stride() == found[1].stride() == torch.empty_like(x).stride()


@every_kernel
def test_channels_last_in_three_dimensions(how: str) -> None:
    x = normal((2, 17, 3, 4, 5), 9).contiguous(memory_format=torch.channels_last_3d)
    for own in ((1,), (1, 17, 1, 1, 1), (1, 17, 3, 4, 5), (1, 1, 3, 4, 5)):
        p = parameters(own)
        found = passes(how, E, x, p, normal(x.shape, 10))
        judge(found, x, p, normal(x.shape, 10))
        assert found[0].is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("shape", [(1, 3, 1), (4, 3, 1), (1, 3, 5)])
def test_parameters_are_read_anew_when_they_have_changed(shape: tuple[int, ...]) -> None:
    """What was worked out for a call serves the next one only with the same bits, which 0 and -0 do not share."""
    e, x, g = actune.parse("abs(x)*where(x > 0, a, 1/b)"), normal((4, 3, 5), 0), normal((4, 3, 5), 3)
    p = parameters(shape)
    way = fused.cpu_way(asked(e, x, p))
    assert way is not None
    for change in (lambda t: t, lambda t: t.data.mul_(2), lambda t: t.fill_(0.0), lambda t: t.fill_(-0.0)):
        for t in p.values():
            change(t)
        values = list(p.values())
        found = [way.values(x, values), *way.pullback(x, values, g, [True] * 3)]
        assert same(found[:2], passes("operators", e, x, p, g)[:2])
        negative = [torch._neg_view(-t) for t in values]  # the same numbers, whose memory has the other sign
        assert same([way.values(x, negative)], found[:1])


def test_parameters_that_form_no_run_in_memory_are_left_to_the_formula() -> None:
    """In (channels, height), channels last has the width between them."""
    x = normal((2, 3, 4, 5), 11).contiguous(memory_format=torch.channels_last)
    p = parameters((1, 3, 4, 1))
    assert fused.cpu_way(asked(E, x, p)) is None
    assert torch.equal(dispatch.activate(E, x, p), operators.activate_in_torch(E, x, p))


@every_kernel
@pytest.mark.parametrize("form", ["one number", "rows", "columns", "transposed", "a part", "channels last"])
def test_any_layout_of_the_gradient(form: str, how: str) -> None:
    x = normal((6, 16, 5, 7), 12)
    g = {
        "one number": lambda: torch.tensor(1.5).expand(x.shape),
        "rows": lambda: normal((7,), 13).expand(x.shape),
        "columns": lambda: normal((16, 1, 1), 13).expand(x.shape),
        "transposed": lambda: normal((7, 5, 16, 6), 13).permute(3, 2, 1, 0),
        "a part": lambda: normal((12, 17, 5, 8), 13)[::2, 1:, :, :7],
        "channels last": lambda: normal(x.shape, 13).contiguous(memory_format=torch.channels_last),
    }[form]()
    for own in ((1,), (1, 16, 1, 1), (1, 16, 5, 7), (1, 1, 1, 7)):
        p = parameters(own)
        judge(passes(how, E, x, p, g), x, p, g)


def test_sum_of_the_result() -> None:
    """The gradient that arrives is one number, expanded."""
    x, a, b = normal((3, 70000), 14).requires_grad_(), torch.tensor([0.5], requires_grad=True), torch.ones(1, requires_grad=True)
    dispatch.activate(E, x, {"a": a, "b": b}).sum().backward()
    judge([dispatch.activate(E, x, {"a": a, "b": b}).detach(), x.grad, a.grad, b.grad], x.detach(),
          {"a": a.detach(), "b": b.detach()}, torch.ones_like(x))  # fmt: skip


@every_kernel
@pytest.mark.parametrize("swap", [False, True])
def test_one_value_beside_one_for_each_channel(how: str, swap: bool) -> None:
    x, g = normal((6, 17, 9), 15), normal((6, 17, 9), 16)
    for each in ((1, 17, 1), (1, 17, 9), (6, 1, 1)):
        for one in ((1,), (), (1, 1, 1)):
            shapes = (each, one) if swap else (one, each)
            p = dict(zip("ab", (parameters(s)[n] for n, s in zip("ab", shapes, strict=True)), strict=True))
            judge(passes(how, E, x, p, g), x, p, g)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 4)])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])
def test_empty(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.empty(shape, dtype=dtype, requires_grad=True)
    for own in ((1,), *(tuple(n if d == k else 1 for k, n in enumerate(shape)) for d in range(len(shape)))):
        p = {n: t.requires_grad_() for n, t in parameters(own).items()}
        y = dispatch.activate(E, x, p)
        grads = torch.autograd.grad(y.sum(), [x, *p.values()])
        assert y.shape == shape
        assert y.dtype == dtype
        assert [g.shape for g in grads] == [x.shape, *(t.shape for t in p.values())]
        assert all((g == 0).all() for g in grads[1:])


# -- what requires a gradient -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("needs", list(itertools.product((False, True), repeat=3)), ids=str)
@pytest.mark.parametrize("own", [(1,), (1, 5), (7, 5)])
def test_some_inputs_require_gradients(needs: tuple[bool, ...], own: tuple[int, ...]) -> None:
    """Only those get one, and it is the same as with all, but for rounding: other slopes share other parts."""
    x, g = normal((7, 5), 17), normal((7, 5), 18)
    p = parameters(own)
    inputs = [t.clone().requires_grad_(n) for t, n in zip((x, *p.values()), needs, strict=True)]
    y = dispatch.activate(E, inputs[0], dict(zip("ab", inputs[1:], strict=True)))
    assert y.requires_grad == any(needs)
    _, *slopes = passes("interpreted", E, x, p, g)
    if any(needs):
        y.backward(g)
    for t, slope, need in zip(inputs, slopes, needs, strict=True):
        if need:
            torch.testing.assert_close(t.grad, slope, rtol=2e-6, atol=2e-6)
        else:
            assert t.grad is None


def test_no_gradient_is_recorded_where_none_is_wanted() -> None:
    x, p = normal((9, 5), 19).requires_grad_(), {n: t.requires_grad_() for n, t in parameters((1, 5)).items()}
    for context in (torch.no_grad(), torch.inference_mode()):
        with context, forced("interpreted") as used:
            y = dispatch.activate(E, x, p)
        assert used.call_count == 1
        assert not y.requires_grad
        assert same([y.clone()], [dispatch.activate(E, x, p).detach()])


def derivatives(function: Callable[..., Tensor], x: Tensor, p: dict[str, Tensor]) -> list[Tensor]:
    """All second derivatives of the sum of all first ones, and the third in x."""
    inputs = [t.double().requires_grad_() for t in (x, *p.values())]
    y = function(E, inputs[0], dict(zip(p, inputs[1:], strict=True)))
    first = torch.autograd.grad(y.sin().sum(), inputs, create_graph=True)
    second = torch.autograd.grad(sum(t.square().sum() for t in first), inputs, create_graph=True)
    return [*first, *second, *torch.autograd.grad(second[0].sum(), inputs)]


@pytest.mark.parametrize("own", [(1,), (1, 5), (7, 5)])
def test_derivatives_of_derivatives(own: tuple[int, ...]) -> None:
    x, p = normal((7, 5), 20), parameters(own)
    pairs = zip(derivatives(dispatch.activate, x, p), derivatives(operators.activate_in_torch, x, p), strict=True)
    assert all(torch.allclose(a, b, rtol=1e-11, atol=1e-11) for a, b in pairs)


@pytest.mark.parametrize("own", [(1,), (1, 5)])
def test_gradcheck(own: tuple[int, ...]) -> None:
    inputs = [t.double().requires_grad_() for t in (normal((4, 5), 21), *parameters(own).values())]

    def call(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return dispatch.activate(E, x, {"a": a, "b": b})

    with forced("interpreted") as used:
        assert torch.autograd.gradcheck(call, inputs)
        assert torch.autograd.gradgradcheck(call, inputs)
    assert used.call_count > 50


def test_batches_of_gradients_and_functional_transforms() -> None:
    x, p = normal((7, 5), 22), parameters((1, 5))
    leaf = x.clone().requires_grad_()
    y = dispatch.activate(E, leaf, p)
    g = normal((3, 7, 5), 23)
    (got,) = torch.autograd.grad(y, leaf, g, is_grads_batched=True, retain_graph=True)
    each = torch.stack([torch.autograd.grad(y, leaf, one, retain_graph=True)[0] for one in g])
    assert torch.allclose(got, each, rtol=1e-5, atol=1e-6)

    def total(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return dispatch.activate(E, x, {"a": a, "b": b}).sum()

    slopes = torch.func.grad(total, argnums=(0, 1, 2))(x, *p.values())
    wanted = passes("interpreted", E, x, p, torch.ones_like(x))[1:]
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-5) for a, b in zip(slopes, wanted, strict=True))
    tangents = [normal(t.shape, 24) for t in (x, *p.values())]
    _, along = torch.func.jvp(total, (x, *p.values()), tuple(tangents))
    assert torch.allclose(along, sum((s * t).sum() for s, t in zip(slopes, tangents, strict=True)), rtol=1e-4)
    rows = torch.func.vmap(lambda r: dispatch.activate(E, r, {n: t[0] for n, t in p.items()}))(x)
    assert torch.allclose(rows, y.detach(), rtol=1e-5, atol=1e-6)
    assert torch.autograd.functional.hessian(lambda x: total(x, *p.values()), x).isfinite().all()


def test_the_result_may_be_changed_in_place_but_not_the_input() -> None:
    x, p = normal((7, 5), 25).requires_grad_(), parameters((1, 5))
    y = dispatch.activate(E, x, p)
    wanted = torch.autograd.grad(dispatch.activate(E, x, p).sum(), x)[0]
    y.mul_(2).add_(1)
    assert torch.allclose(torch.autograd.grad(y.sum(), x)[0], 2 * wanted)
    inner = x * 1
    y = dispatch.activate(E, inner, p)
    inner.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])
@pytest.mark.parametrize("own", [(1,), (1, 1000)])
def test_nothing_is_kept_but_the_input(dtype: torch.dtype, own: tuple[int, ...]) -> None:
    kept: list[Tensor] = []
    x, p = normal((300, 1000), 26, dtype).requires_grad_(), {n: t.requires_grad_() for n, t in parameters(own).items()}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        y = dispatch.activate(E, x, p)
    assert sum(t.untyped_storage().nbytes() for t in kept) == x.numel() * x.element_size() + sum(t.numel() * 4 for t in p.values())
    assert y.untyped_storage().nbytes() == x.numel() * x.element_size()
    assert {t.data_ptr() for t in kept} == {t.data_ptr() for t in (x, *p.values())}


# -- nothing beside the tensors is touched --------------------------------------------------------------------------------


@every_kernel
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])
def test_nothing_is_written_beside_the_result_and_nothing_beside_the_input_counts(how: str, dtype: torch.dtype) -> None:
    """With nan around x and the gradient, and beyond the parameters that are used."""
    margin = 64
    for outer, channels, inner in EXTENTS:
        size = outer * channels * inner
        at = cut(*layout_of((outer, channels, inner), None, ((1, channels, 1),)).extents)
        assert at is not None

        def inside(t: Tensor, size: int = size) -> Tensor:
            return t[margin : margin + size]

        def around(seed: int, size: int = size) -> Tensor:
            t = torch.full((size + 2 * margin,), math.nan, dtype=dtype)
            t[margin : margin + size] = normal((size,), seed, dtype)
            return t

        x, g = around(30), around(31)
        kind = np.float64 if dtype == torch.float64 else np.float32
        p = np.full((2, math.ceil(at.channels / LANES) * LANES if at.columns else at.channels), np.nan, kind)
        p[:, : at.channels] = np.tile(np.repeat(normal((2, channels), 32).numpy().astype(kind), at.spread, 1), at.repeats)
        for backward in (False, True):
            y = torch.full_like(x, 7.0)
            sums = run_strips(
                strip(how, dtype, at.columns, backward), at, p, inside(x), inside(y), inside(g) if backward else None, 2 * backward
            )
            assert (y[:margin] == 7).all()
            assert (y[margin + size :] == 7).all()
            assert inside(y).isfinite().all()
            assert np.isfinite(sums).all()
            assert sums.shape == (2 * backward, channels)


def test_nothing_beside_the_tensors_is_read() -> None:
    """Where memory ends, at either side, a read beyond it is the end of the process."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, Path(__file__).with_name("guarded.py")], capture_output=True, text=True, timeout=120, env=env
    )
    assert (run.returncode, run.stdout.split()) == (0, ["end", "start"]), run.stderr[-2000:]
