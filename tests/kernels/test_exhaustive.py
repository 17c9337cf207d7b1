"""Exhaustive tables of 16-bit numbers: bit for bit what the kernel computes, for every family and every number there is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from oracle import asked
from passes import families, forced, same
from torch import Tensor

import actune
from actune.kernels import dispatch
from actune.kernels.cpu import threads
from actune.kernels.cpu.fused import cpu_way
from actune.kernels.tables import exhaustive, indexed
from actune.kernels.tables.exhaustive import SLOPE_TABLES, SMALLEST, VALUE_TABLES, Tables, ordinary
from actune.language.expr import Expr

HALF = (torch.bfloat16, torch.float16)
NUMBERS = 2**16
E = actune.parse("a*x*tanh(b*x)")
LARGE = 4 * NUMBERS  # for which a table of one set of parameters pays at once
IMAGES = (48, 16, 16, 16)  # for which tables of all channels do
every_half = pytest.mark.parametrize("dtype", HALF, ids=["bfloat16", "float16"])


@pytest.fixture(autouse=True)
def _whatever_it_costs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tables of any formula that take the time of nothing, none of them there yet; the number of threads as it was."""
    before = torch.get_num_threads()
    monkeypatch.setattr(exhaustive, "CHEAP", -1)
    torch.set_num_threads(1)
    dispatch._suiting.cache_clear()
    VALUE_TABLES.restart()
    SLOPE_TABLES.restart()
    yield
    dispatch._suiting.cache_clear()
    torch.set_num_threads(before)


@pytest.fixture(params=["gathers", "loads"])
def _either_look_up(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The look-up as it is on processors with quick gathers, and on others."""
    monkeypatch.setattr(indexed, "has_quick_gathers", lambda: request.param == "gathers")
    indexed._look_up.cache_clear()
    yield
    indexed._look_up.cache_clear()


either_look_up = pytest.mark.usefixtures("_either_look_up")


def every_number(dtype: torch.dtype, size: int = NUMBERS, seed: int = 0) -> Tensor:
    """Numbers of every bit pattern in any order, again and again up to this size."""
    order = torch.randperm(NUMBERS, generator=torch.Generator().manual_seed(seed))
    return order.to(torch.int32).to(torch.int16).view(dtype).repeat(-(-size // NUMBERS))[:size]


def normal(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> Tensor:
    return (2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))).to(dtype)


def parameters(dtype: torch.dtype = torch.bfloat16, a: float = 1.25, b: float = 0.75) -> dict[str, Tensor]:
    return {"a": torch.tensor([a], dtype=dtype), "b": torch.tensor([b], dtype=dtype)}


def per_channel(channels: int, dtype: torch.dtype = torch.bfloat16, seed: int = 7) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {name: (torch.rand(1, channels, 1, 1, generator=draw) + 0.5).to(dtype) for name in "ab"}


def by_kernel(e: Expr, x: Tensor, p: Mapping[str, Tensor]) -> Tensor:
    way = cpu_way(asked(e, x, p))
    assert way is not None
    return way.values(x, tuple(p.values()))


def are_same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether they agree, nan in its every bit too."""
    return a.dtype == b.dtype and torch.equal(a.contiguous().view(torch.int16), b.contiguous().view(torch.int16))


# -- the same bits -------------------------------------------------------------------------------------------------------


@every_half
@pytest.mark.parametrize("name", families())
def test_every_number_of_every_family(name: str, dtype: torch.dtype) -> None:
    f = actune.family(name)
    x, p = every_number(dtype, LARGE), {n: torch.tensor([v], dtype=dtype) for n, v in f.initial()}
    y = dispatch.activate(f.expr, x, p)
    assert VALUE_TABLES.filled == 1
    assert are_same_bits(y, by_kernel(f.expr, x, p))


@pytest.mark.parametrize("name", [n for n in families() if actune.family(n).params])
def test_every_number_in_channels(name: str) -> None:
    """Each channel has parameters of its own, and meets every number."""
    f, channels = actune.family(name), 5
    x = every_number(torch.bfloat16, 3 * channels * NUMBERS).view(3, NUMBERS // 256, 256, channels).movedim(-1, 1).contiguous()
    p = {n: (v + torch.rand(1, channels, 1, 1, generator=torch.Generator().manual_seed(1)) / 8).bfloat16() for n, v in f.initial()}
    y = dispatch.activate(f.expr, x, p)
    assert VALUE_TABLES.filled == 1
    assert are_same_bits(y, by_kernel(f.expr, x, p))


@either_look_up
@every_half
@pytest.mark.parametrize("size", [LARGE, *(LARGE + more for more in (1, 3, 4, 15, 31, 32, 33, 4095, 4096, 70_001))])
def test_any_size(size: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing beside the tensor is written to."""
    x, margin, seen = every_number(dtype, size, seed=1), 64, []
    look_up = Tables.look_up

    def guarded(tables: Tables, elements: Tensor, y: Tensor, *rest: Any) -> int:
        around = torch.full((size + 2 * margin,), 7.0, dtype=dtype)
        missed = look_up(tables, elements, around[margin : margin + size], *rest)
        seen.append(bool((around[:margin] == 7).all() and (around[margin + size :] == 7).all()))
        y.copy_(around[margin : margin + size])
        return missed

    monkeypatch.setattr(Tables, "look_up", guarded)
    assert are_same_bits(dispatch.activate(E, x, parameters()), by_kernel(E, x, parameters()))
    assert seen == [True]


@either_look_up
@pytest.mark.parametrize("channels", [2, 15, 16, 17, 40])
@pytest.mark.parametrize("inner", [(8, 8), (1, 65), (7, 11), (14, 14), (3, 42)])
def test_any_rows(inner: tuple[int, int], channels: int) -> None:
    """Channels that do not fill a block, images that do not fill a unit, rows that end anywhere."""
    for outer in (1, 7, 8, 9):
        images = outer + -(-8 * NUMBERS * -(-channels // 16) // (channels * inner[0] * inner[1]))
        x, p = normal((images, channels, *inner), torch.bfloat16), per_channel(channels)
        x.view(-1)[:: 1 + 997 * outer] = 0  # left to the kernel
        before = VALUE_TABLES.filled
        assert are_same_bits(dispatch.activate(E, x, p), by_kernel(E, x, p))
        assert VALUE_TABLES.filled <= before + 1
    assert VALUE_TABLES.filled == 1


@pytest.mark.parametrize("share", [0.0, 1e-3, 0.1, 1.0])
@pytest.mark.parametrize("other", [0.0, -0.0, 2.0**-13, 1e-6, 16.0, -16.0, float("inf"), float("nan")])
def test_numbers_without_an_entry(other: float, share: float) -> None:
    """They are the kernel's, and where there are many the next calls are, too."""
    x, p = normal(IMAGES, torch.bfloat16), per_channel(IMAGES[1])
    x[torch.rand(IMAGES, generator=torch.Generator().manual_seed(3)) < share] = other
    wanted = by_kernel(E, x, p)
    (function,) = dispatch._suiting(*asked(E, x, p))[:1]
    for _ in range(exhaustive._REST + 3):
        assert are_same_bits(dispatch.activate(E, x, p), wanted)
    assert function.args[0].rests == (0 if share < 0.01 else exhaustive._REST - 1)


@pytest.mark.parametrize("how", ["interpreted", "compiled"])
def test_filled_by_either_kernel(how: str) -> None:
    x = every_number(torch.bfloat16, LARGE)
    wanted = by_kernel(E, x, parameters())
    with forced(how) as used:
        assert are_same_bits(dispatch.activate(E, x, parameters()), wanted)
    assert used.called
    assert VALUE_TABLES.filled == 1


@every_half
def test_any_layout(dtype: torch.dtype) -> None:
    """Channels-last, transposed, with gaps, expanded: the values stay where their elements are."""
    x = every_number(dtype, 8 * 4 * 128 * 128, seed=2)
    image = x.view(8, 4, 128, 128).contiguous(memory_format=torch.channels_last)
    for view in (image, x.view(512, -1).t(), x.view(-1, 2)[:, 1], image[:, :2], x[:4096, None].expand(4096, 64)):
        y = dispatch.activate(E, view, parameters(dtype))
        assert are_same_bits(y, by_kernel(E, view.contiguous(), parameters(dtype)))
        assert y.shape == view.shape
    assert dispatch.activate(E, image, parameters(dtype)).is_contiguous(memory_format=torch.channels_last)
    assert VALUE_TABLES.filled == 1


def test_layouts_of_channels() -> None:
    """Parameters along the second of three dimensions in memory, which is the first of the tensor."""
    p = {name: t.view(16, 1, 1) for name, t in per_channel(16).items()}
    x = normal((100, 16, 200), torch.bfloat16).movedim(1, 0)
    assert are_same_bits(dispatch.activate(E, x, p), by_kernel(E, x.contiguous(), p))
    assert VALUE_TABLES.filled == 1
    two = {name: t.view(1, 4, 4, 1) for name, t in p.items()}
    y = normal((50, 4, 4, 400), torch.bfloat16).transpose(1, 2)  # in memory the second of the two is the first
    for view in (y, y.contiguous()):
        assert are_same_bits(dispatch.activate(E, view, two), by_kernel(E, y.contiguous(), two))


# -- gradients -----------------------------------------------------------------------------------------------------------


def gradients(e: Expr, x: Tensor, p: Mapping[str, Tensor], g: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Those by way of tables, and those of the kernel."""
    inputs = [t.detach().clone().requires_grad_() for t in (x, *p.values())]
    named = dict(zip(p, inputs[1:], strict=True))
    way = cpu_way(asked(e, inputs[0], named))
    assert way is not None
    with np.errstate(invalid="ignore"):  # the sums of infinities
        wanted = way.pullback(inputs[0], inputs[1:], g, [True] * len(inputs))
    return list(torch.autograd.grad(dispatch.activate(e, inputs[0], named), inputs, g)), [t for t in wanted if t is not None]


@every_half
@pytest.mark.parametrize("name", families())
def test_gradients_at_every_number_of_every_family(name: str, dtype: torch.dtype) -> None:
    f = actune.family(name)
    x, g = every_number(dtype, 2 * LARGE + 31), normal((2 * LARGE + 31,), dtype)
    p = {n: torch.tensor([v], dtype=dtype) for n, v in f.initial()}
    for _ in range(2):
        assert same(*gradients(f.expr, x, p, g))
    assert SLOPE_TABLES.filled == 1


def test_sums_of_slopes_are_those_of_the_kernel() -> None:
    """Gradients of parameters are numbers, which the nan of any x would hide; in float32 they show every bit."""
    x, g = normal((LARGE + 5,), torch.bfloat16, 3), normal((LARGE + 5,), torch.bfloat16, 4)
    p = {n: t.float() for n, t in parameters().items()}
    for b in (0.75, 0.75, 0.25):
        p["b"].fill_(b)
        got, wanted = gradients(E, x, p, g)
        assert same(got, wanted)
        assert torch.stack(got[1:]).abs().min() > 1
    assert SLOPE_TABLES.filled == 2
    g[7], g[9] = float("inf"), float("nan")
    assert same(*gradients(E, x, p, g))
    image = x[: 2**18].view(16, 4, 64, 64).contiguous(memory_format=torch.channels_last)
    assert same(*gradients(E, image, p, g[: 2**18].view(16, 64, 64, 4).movedim(3, 1)))
    assert same(*gradients(E, x, p, torch.ones((), dtype=x.dtype).expand(x.shape)))
    assert SLOPE_TABLES.filled == 2


def test_gradients_do_not_depend_on_the_number_of_threads() -> None:
    x, g, p = normal((LARGE + 5,), torch.bfloat16, 3), normal((LARGE + 5,), torch.bfloat16, 4), parameters(torch.float64)
    found = []
    for count in (1, 2, 3, 8):
        torch.set_num_threads(count)
        found.append(gradients(E, x, p, g)[0])
    assert all(same(one, found[0]) for one in found)
    assert SLOPE_TABLES.filled == 1


def test_slopes_in_one_parameter_are_not_those_in_another() -> None:
    x, g, p = normal((LARGE,), torch.bfloat16, 3), normal((LARGE,), torch.bfloat16, 4), parameters()
    (_, a, b), _ = gradients(E, x, p, g)
    for name, wanted in (("b", b), ("a", a)):
        one = {n: t.clone().requires_grad_(n == name) for n, t in p.items()}
        dispatch.activate(E, x, one).backward(g)
        assert torch.equal(one[name].grad, wanted)
    assert SLOPE_TABLES.filled == 3


@pytest.mark.parametrize("case", ["only x", "only a", "twice", "many parameters", "channels"])
def test_which_slopes_are_looked_up(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, p = normal((LARGE,), torch.bfloat16).requires_grad_(), parameters()
    if case == "many parameters":  # each of which would be a gather
        monkeypatch.setattr(exhaustive, "CHEAP", 20)
        e = actune.family("rational").expr
        p = {n: torch.tensor([v]).bfloat16().requires_grad_() for n, v in actune.family("rational").initial()}
        for _ in range(2):
            dispatch.activate(e, x, p).sum().backward()
        assert SLOPE_TABLES.filled == 0
    elif case == "channels":
        x = normal(IMAGES, torch.bfloat16).requires_grad_()
        dispatch.activate(E, x, per_channel(IMAGES[1])).sum().backward()
        assert (VALUE_TABLES.filled, SLOPE_TABLES.filled) == (1, 0)
    elif case == "twice":
        (slope,) = torch.autograd.grad(dispatch.activate(E, x, p).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(slope.sum(), x)
        assert second.isfinite().all()
        assert second.abs().max() > 0.1
    else:
        p["a"].requires_grad_(case == "only a")
        x.requires_grad_(case == "only x")
        dispatch.activate(E, x, p).sum().backward()
        assert (x.grad is not None) == (case == "only x")
        assert (p["a"].grad is not None) == (case == "only a")
        assert SLOPE_TABLES.filled == 1


# -- layouts and threads -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["one", "channels"])
def test_results_do_not_depend_on_the_number_of_threads(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, p = normal((38, 20, 30, 30), torch.bfloat16), per_channel(20)
    if kind == "one":
        x, p = x.view(-1), parameters()
    wanted, given = by_kernel(E, x, p), []
    submit = threads.ThreadPoolExecutor.submit
    monkeypatch.setattr(threads.ThreadPoolExecutor, "submit", lambda *work: given.append(work) or submit(*work))
    dispatch.activate(E, x, p)
    for count, others in ((1, 0), (2, 1), (3, 2), (16, 4)):
        given.clear()
        torch.set_num_threads(count)
        assert are_same_bits(dispatch.activate(E, x, p), wanted)
        assert len(given) == others, "a thread is worth 131,072 elements"
    assert VALUE_TABLES.filled == 1


# -- what is kept --------------------------------------------------------------------------------------------------------


def test_a_table_is_kept_until_a_parameter_changes() -> None:
    x, p = every_number(torch.bfloat16, LARGE), parameters()
    for b, filled in ((0.75, 1), (0.75, 1), (-0.0, 2), (0.0, 3), (0.75, 3), (float("nan"), 4), (0.5, 5)):
        p["b"].data.fill_(b)  # no version counter sees this
        for size in (SMALLEST, LARGE):
            assert are_same_bits(dispatch.activate(E, x[:size], p), by_kernel(E, x[:size], p))
        assert VALUE_TABLES.filled == filled
    assert are_same_bits(dispatch.activate(E, x.view(torch.float16), p), by_kernel(E, x.view(torch.float16), p))
    assert VALUE_TABLES.filled == 6
    wide = {n: t.float() for n, t in p.items()}
    assert are_same_bits(dispatch.activate(E, x, wide), by_kernel(E, x, wide))
    assert VALUE_TABLES.filled == 7


def test_tables_of_channels_are_kept_until_a_parameter_changes() -> None:
    x, p = normal(IMAGES, torch.bfloat16), per_channel(IMAGES[1])
    for value, filled in ((1.0, 1), (1.0, 1), (0.5, 2), (1.0, 2)):
        p["a"].data[0, 9] = value
        assert are_same_bits(dispatch.activate(E, x, p), by_kernel(E, x, p))
        assert VALUE_TABLES.filled == filled


def test_as_a_module_learns() -> None:
    act = actune.Activation("pserf", dtype=torch.bfloat16)
    x = every_number(torch.bfloat16, LARGE).clamp(-8, 8).nan_to_num()
    step = torch.optim.SGD(act.parameters(), lr=1.0)
    for turn in range(1, 4):
        y = act(x)
        assert VALUE_TABLES.filled == turn
        values = {n: p.value(getattr(act, n).detach()).reshape(1) for n, p in act.family.params.items()}
        assert are_same_bits(y.detach(), by_kernel(act.family.expr, x, values))
        step.zero_grad()
        y.float().mean().backward()
        step.step()


def test_where_it_does_not_pay_at_once_a_table_is_filled_when_the_parameters_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exhaustive, "CHEAP", 20)
    x, cost = every_number(torch.bfloat16, LARGE), "b*exp(x) + tanh(a*x)"
    for small, threads_, filled in ((False, 1, 1), (True, 1, 0), (False, 16, 0)):
        VALUE_TABLES.restart()
        torch.set_num_threads(threads_)
        e, z, p = actune.parse(cost), x[:SMALLEST] if small else x, parameters()
        wanted = by_kernel(e, z, p)
        for times in range(3):
            assert are_same_bits(dispatch.activate(e, z, p), wanted)
            assert VALUE_TABLES.filled == (filled if times == 0 else 1)
        for b in range(5):
            p["b"].data.fill_(b)
            dispatch.activate(e, z, p)
        assert VALUE_TABLES.filled == 1 + 5 * filled


def test_the_memory_of_tables_is_bounded() -> None:
    x, p = every_number(torch.bfloat16, LARGE), parameters()
    most = VALUE_TABLES.most
    try:
        VALUE_TABLES.most = 3 * 2 * NUMBERS
        for k in range(8):
            p["a"].data.fill_(k)
            assert are_same_bits(dispatch.activate(E, x, p), by_kernel(E, x, p))
            assert VALUE_TABLES.bytes == min(k + 1, 3) * 2 * NUMBERS
        for k, filled in ((7, 8), (6, 8), (0, 9)):
            p["a"].data.fill_(k)
            dispatch.activate(E, x, p)
            assert VALUE_TABLES.filled == filled
    finally:
        VALUE_TABLES.most = most


# -- when they serve -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["small", "float32", "short rows", "channels last", "few images", "subclass", "each element"])
def test_kernels_serve_everything_else(case: str) -> None:
    x, p = normal(IMAGES, torch.bfloat16), per_channel(IMAGES[1])
    if case == "small":
        x, p = x.view(-1)[: SMALLEST - 1], parameters()
    elif case == "float32":
        x, p = x.float().view(-1), parameters()
    elif case == "short rows":
        x = x.view(-1, 16, 8, 1)
    elif case == "channels last":
        x = x.contiguous(memory_format=torch.channels_last)
    elif case == "few images":
        x = x[:15]
    elif case == "each element":
        x, p = x.view(-1), {name: torch.ones(x.numel(), dtype=x.dtype) for name in "ab"}
    else:

        class Marked(Tensor):
            pass

        x, p = x.view(-1).as_subclass(Marked), parameters()
    for _ in range(2):
        y = dispatch.activate(E, x, p)
    assert VALUE_TABLES.filled == 0
    assert (y.as_subclass(Tensor).float() - (p["a"] * x * torch.tanh(p["b"] * x)).as_subclass(Tensor).float()).abs().max() < 0.3


def test_the_families_of_ordinary_cost_have_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for name, wanted in (("relu", 0), ("leaky_relu", 0), ("silu", 1), ("gelu", 1), ("pserf", 1), ("rational", 0)):
        VALUE_TABLES.restart()
        act = actune.Activation(name, dtype=torch.bfloat16)
        for _ in range(2):
            act(every_number(torch.bfloat16, LARGE))
        assert VALUE_TABLES.filled == wanted, name


@every_half
def test_what_has_entries(dtype: torch.dtype) -> None:
    """Sizes from 2^-12 to below 16; a table has as many entries of each sign as can stand side by side."""
    x = every_number(dtype)
    patterns = ordinary(dtype)
    listed = exhaustive._arguments(dtype, patterns, patterns.sides(1))
    inside = (x.abs() >= 2.0**-12) & (x.abs() < 16)
    assert set(listed.reshape(-1).tolist()) == set(x[inside].tolist())
    for a, b in itertools.pairwise((1, patterns.sides(1) // 2, patterns.sides(1) // 2 + 1)):
        assert patterns.sides(b) == patterns.sides(a) * (1 if b <= patterns.sides(1) // 2 else 2)
