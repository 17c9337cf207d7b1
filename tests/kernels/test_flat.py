"""The way of dense tensors with parameters of one number each, or of one per channel."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Sequence
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.utils.parametrize
from torch import Tensor, nn
from torch.distributions import constraints

import actune
from actune.catalogue.registry import Param
from actune.kernels import dispatch
from actune.kernels.cpu import flat, tiers
from actune.kernels.cpu.fused import cpu_way
from actune.kernels.request import place_of


def normal(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def gradients(act: nn.Module, x: Tensor, g: Tensor) -> list[Tensor]:
    y = act(x)
    return [y, *torch.autograd.grad(y, [x, *act.parameters()], g)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["silu", "apalu", "sau", "rational"])
def test_the_bits_are_those_of_the_general_way(name, dtype):
    """But for the last rounding of a positive parameter, whose exponential another library computes."""
    act = actune.Activation(name, trainable=True, dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    x, g = normal((7, 31), 0, dtype).requires_grad_(), normal((7, 31), 1, dtype)
    found = gradients(act, x, g)
    dispatch._suiting.cache_clear()
    with mock.patch.object(dispatch, "WAYS", tuple(w for w in dispatch.WAYS if w is not dispatch._by_flat)):
        general = gradients(act, x, g)
    dispatch._suiting.cache_clear()
    for a, b in zip(found, general, strict=True):
        torch.testing.assert_close(a, b, rtol=4 * torch.finfo(a.dtype).eps, atol=1e-6 if dtype != torch.float64 else 1e-14)


LAID = {
    "channels": ((4, 64, 14, 14), torch.contiguous_format),
    "channels last": ((4, 64, 14, 14), torch.channels_last),
    "several groups": ((40, 64, 14, 14), torch.contiguous_format),
    "features": ((64, 100), torch.contiguous_format),
    "short rows": ((6, 3, 20), torch.contiguous_format),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=lambda d: str(d)[6:])
@pytest.mark.parametrize("laid", LAID)
@pytest.mark.parametrize("name", ["apalu", "rational", "zorro_tanh"])
def test_channels_give_what_the_general_way_gives(name, laid, dtype):
    """Both ways give the same bits, but for sums, added in another order; also where a part of the parameters is trained."""
    shape, kept = LAID[laid]
    act = actune.Activation(name, scope="channel", channels=shape[1], trainable=True, dtype=dtype if dtype.itemsize > 2 else None)
    with torch.no_grad():
        for seed, p in enumerate(act.parameters()):
            p.add_(0.1 * normal(p.shape, seed, p.dtype))
    x, g = (normal(shape, seed, dtype).to(memory_format=kept) for seed in (0, 1))
    first, *others = act.parameters()
    with mock.patch.object(flat.FlatNumbers, "pullback", autospec=True, side_effect=flat.FlatNumbers.pullback) as served:
        found = gradients(act, x.requires_grad_(), g)
        first.requires_grad_(False)
        some = torch.autograd.grad(act(x), [x, *others], g)
        assert served.call_count == 2
        first.requires_grad_(True)
        dispatch._suiting.cache_clear()
        with mock.patch.object(dispatch, "WAYS", (dispatch._by_autograd(cpu_way),)):
            general = gradients(act, x, g)
        dispatch._suiting.cache_clear()
        assert served.call_count == 2
    assert [t.stride() for t in found] == [t.stride() for t in general]
    assert all(torch.equal(a, b) for a, b in zip(found[:2], general[:2], strict=True))
    for a, b in zip([*found[2:], *some], [*general[2:], general[1], *general[3:]], strict=True):
        eps = torch.finfo(a.dtype).eps
        torch.testing.assert_close(a, b, rtol=4 * eps, atol=4 * eps * math.prod(shape) / shape[1])


def test_parameters_that_are_stored_otherwise_are_read_too():
    """In another dtype than is computed in, or with gaps."""
    x, each = torch.randn(4, 64, 14, 14), torch.rand(64)
    wanted = x * each.view(64, 1, 1)
    for stored in (each.double(), torch.stack([each, each], 1)[:, 0]):
        act = actune.Activation("x*b; b=1", scope="channel", channels=64)
        act.b.data = stored
        y = act(x.requires_grad_())
        torch.testing.assert_close(y, wanted)
        (slope,) = torch.autograd.grad(y.sum(), act.b)
        torch.testing.assert_close(slope, x.sum((0, 2, 3)).to(stored.dtype), rtol=1e-4, atol=1e-3)


def test_every_change_of_a_channels_parameter_is_seen():
    act, x = actune.Activation("x*b; b=1", scope="channel", channels=3), torch.ones(2, 3, 100, requires_grad=True)
    for value in (1.0, 2.0, -0.0, 0.0, 3.0):
        act.b.data[1] = value
        y = act(x)
        assert y[0, :, 0].tolist() == [1.0, value, 1.0]
        assert torch.autograd.grad(y.sum(), x)[0][1, :, 5].tolist() == [1.0, value, 1.0]
        assert math.copysign(1, y[0, 1, 0].item()) == math.copysign(1, value)


def test_every_change_of_a_parameter_is_seen():
    """Also one that torch does not count, by `data`."""
    act, x = actune.Activation("x*b; b=1"), torch.ones(4)
    with torch.no_grad():
        for value in (1.0, 2.0, -0.0, 0.0, 3.0):
            act.b.data.fill_(value)
            y = act(x)
            assert y.tolist() == [value] * 4
            assert math.copysign(1, y[0].item()) == math.copysign(1, value)


def test_a_parameter_beyond_what_is_kept_has_no_slope():
    """A positive one is kept as its logarithm, which is limited so that it stays finite and above zero."""
    act = actune.Activation("apalu")
    x = torch.tensor([2.0], requires_grad=True)
    for stored, has_slope in ((0.5, True), (200.0, False), (-200.0, False)):
        with torch.no_grad():
            act.a.fill_(stored)
        assert bool(act.values()["a"].isfinite())
        assert bool(gradients(act, x, torch.ones(1))[2] != 0) == has_slope


def test_nan_in_a_parameter_reaches_the_result():
    act = actune.Activation("apalu")
    with torch.no_grad():
        act.a.fill_(math.nan)
    for t in gradients(act, torch.tensor([2.0], requires_grad=True), torch.ones(1))[:3]:
        assert bool(t.isnan().all())


def test_backward_has_the_numbers_of_forward():
    """Also if the parameter was written to in between by `data`, which torch does not count; what it counts is an error."""
    act, x = actune.Activation("x*b; b=2"), torch.ones(4, requires_grad=True)
    y = act(x)
    act.b.data.fill_(5.0)
    assert act(x).tolist() == [5.0] * 4
    assert torch.autograd.grad(y.sum(), x)[0].tolist() == [2.0] * 4
    y = act(x)
    with torch.no_grad():
        act.b.fill_(3.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(y.sum(), x)


@pytest.mark.filterwarnings("ignore:Dynamo")
def test_a_compiled_backward_follows_the_parameters():
    from torch._dynamo import compiled_autograd

    act, x = actune.Activation("x*b; b=2"), torch.ones(4, requires_grad=True)
    act(x).sum().backward()  # has made the kernels
    for value in (2.0, 3.0, 4.0):
        with torch.no_grad():
            act.b.fill_(value)
        x.grad = None
        with compiled_autograd._enable(torch.compile(backend="eager")):
            act(x).sum().backward()
        assert x.grad.tolist() == [value] * 4


@pytest.mark.parametrize("scope", [{}, {"scope": "channel", "channels": 1}])
def test_gradients_of_parameters_own_their_memory(scope):
    act, x = actune.Activation("apalu", **scope), torch.randn(8, 1, requires_grad=True)
    for _ in range(2):
        act(x).sum().backward()
    a, b = (p.grad for p in act.parameters())
    before = b.clone()
    a.add_(1.0)
    assert torch.equal(b, before)
    assert a.untyped_storage().nbytes() == 4


def test_a_parameter_that_is_no_longer_one():
    """A parametrization puts a property in its place."""
    act = actune.Activation("x*b; b=2")
    torch.nn.utils.parametrize.register_parametrization(act, "b", Double())
    assert act(torch.ones(2)).tolist() == [4.0, 4.0]


class Double(nn.Module):
    def forward(self, b: Tensor) -> Tensor:
        return 2 * b


def test_threads_do_not_share_what_was_worked_out_last():
    """Two modules of one family have one way, and each thread its own parameters."""
    acts = [actune.Activation("x*b; b=1", b=b) for b in (2.0, 3.0)]
    wrong: list[float] = []

    def work(act: nn.Module, b: float) -> None:
        x = torch.ones(8, requires_grad=True)
        for _ in range(1000):
            y = act(x)
            wrong.extend(v for t in (y, *torch.autograd.grad(y.sum(), x)) for v in t.tolist() if v != b)

    threads = [threading.Thread(target=work, args=(act, b)) for act, b in zip(acts, (2.0, 3.0), strict=True)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


def test_a_kernel_is_asked_for_until_the_compiled_one_has_taken_over(monkeypatch):
    monkeypatch.setattr(tiers, "WORTH", 100)
    tiers._use.cache_clear()
    dispatch._suiting.cache_clear()
    act, x = actune.Activation("silu"), torch.randn(40)
    with mock.patch.object(tiers, "kernel_for", side_effect=tiers.kernel_for) as asked, torch.no_grad():
        values = [act(x) for _ in range(6)]
    assert asked.call_count == 3
    assert all(torch.equal(y, values[0]) for y in values)
    tiers._use.cache_clear()
    dispatch._suiting.cache_clear()


def test_sums_of_groups_that_are_infinite():
    """Each sign in a group of its own; torch's sum of them is nan, too."""
    act, size = actune.Activation("x*b; b=1"), 300_000
    g = torch.ones(size)
    g[0], g[-1] = math.inf, -math.inf
    slope = gradients(act, torch.ones(size, requires_grad=True), g)[2]
    assert bool(slope.isnan().all())


def leaked(x: Tensor) -> Tensor:
    """A tensor that a function transform has left behind."""
    kept: list[Tensor] = []

    def f(t: Tensor) -> Tensor:
        kept.append(t)
        return t.sum()

    torch.func.grad(f)(x)
    return kept[0]


@pytest.mark.parametrize("trains", [False, True])
def test_tensors_without_memory_of_their_own_go_to_operators(trains):
    x = torch.randn(5)
    act = actune.Activation("apalu", trainable=trains)
    for strange in (leaked(x), torch.complex(x, -x).conj().imag, torch._efficientzerotensor(5)):
        assert place_of(strange, ()) == ""
        torch.testing.assert_close(act(strange), act(strange.clone()))


def test_a_small_tensor_takes_few_steps():
    """What a call takes is told by the functions that it calls; a clock would tell more of the machine."""
    counts = {}
    for name in ("silu", "apalu"):
        act, x = actune.Activation(name), torch.randn(64, 16)
        with torch.no_grad():
            act(x)
            counts[name] = calls_of(act, x)
    assert counts["silu"] <= 31
    assert counts["apalu"] <= 36


def calls_of(act: nn.Module, x: Tensor) -> int:
    seen: Sequence[str] = []

    def note(frame: Any, event: str, argument: Any) -> None:
        if event in ("call", "c_call"):
            seen.append(event)  # type: ignore[attr-defined]

    sys.setprofile(note)
    try:
        act(x)
    finally:
        sys.setprofile(None)
    return len(seen)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("constraint", [constraints.real, constraints.positive])
def test_arrays_and_numbers_are_mapped_as_tensors_are(constraint, dtype):
    """Also beyond the limits of what is kept."""
    p = Param(1.0, constraint)
    stored = torch.tensor([0.0, -0.0, 0.7, -3.0, 80.0, 200.0, -200.0, 1e4, -1e4, math.inf, -math.inf, math.nan], dtype=dtype)
    value = p.value(stored)
    wanted = torch.stack([value, p.slope(stored, value)]).double()
    arrays = torch.stack([torch.from_numpy(np.asarray(a, np.float64)) for a in p.array_map()(stored.numpy())])
    numbers = torch.tensor([p.number_map(dtype)(n) for n in stored.tolist()], dtype=torch.float64).T
    for found in (arrays, numbers):  # a limit is rounded to the dtype here and not there; its exponential is off by so much more
        torch.testing.assert_close(
            found, wanted, rtol=abs(math.log(torch.finfo(dtype).max)) * torch.finfo(dtype).eps, atol=0, equal_nan=True
        )
