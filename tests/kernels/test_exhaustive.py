"""Exhaustive tables of 16-bit numbers: bit for bit what the kernel computes, for every family and every number there is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
import torch
from oracle import asked
from passes import families, forced
from torch import Tensor

import actune
from actune.kernels import dispatch
from actune.kernels.cpu import threads
from actune.kernels.cpu.fused import cpu_way
from actune.kernels.tables import exhaustive
from actune.kernels.tables.exhaustive import CHANGING, KEPT, PATTERNS, value_table
from actune.language.expr import Expr

HALF = (torch.bfloat16, torch.float16)
E = actune.parse("a*x*tanh(b*x)")
every_half = pytest.mark.parametrize("dtype", HALF, ids=["bfloat16", "float16"])


@pytest.fixture(autouse=True)
def _whatever_it_costs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tables of any formula, none of them there yet; the number of threads as it was."""
    before = torch.get_num_threads()
    monkeypatch.setattr(exhaustive, "CHEAP", -1)
    dispatch._suiting.cache_clear()
    value_table.cache_clear()
    yield
    dispatch._suiting.cache_clear()
    torch.set_num_threads(before)


def patterns(dtype: torch.dtype, size: int = PATTERNS, seed: int = 0) -> Tensor:
    """Numbers of every bit pattern in any order, again and again up to this size."""
    order = torch.randperm(PATTERNS, generator=torch.Generator().manual_seed(seed))
    return order.to(torch.int32).to(torch.int16).view(dtype).repeat(-(-size // PATTERNS))[:size]


def parameters(dtype: torch.dtype = torch.bfloat16, a: float = 1.25, b: float = 0.75) -> dict[str, Tensor]:
    return {"a": torch.tensor([a], dtype=dtype), "b": torch.tensor([b], dtype=dtype)}


def by_kernel(e: Expr, x: Tensor, p: Mapping[str, Tensor]) -> Tensor:
    way = cpu_way(asked(e, x, p))
    assert way is not None
    return way.values(x, tuple(p.values()))


def are_same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether they agree, nan in its every bit too."""
    return a.dtype == b.dtype and torch.equal(a.contiguous().view(torch.int16), b.contiguous().view(torch.int16))


def tables_filled() -> int:
    return value_table.cache_info().misses


# -- the same bits -------------------------------------------------------------------------------------------------------


@every_half
@pytest.mark.parametrize("name", families())
def test_every_number_of_every_family(name: str, dtype: torch.dtype) -> None:
    f = actune.family(name)
    x, p = patterns(dtype), {n: torch.tensor([v], dtype=dtype) for n, v in f.initial()}
    y = dispatch.activate(f.expr, x, p)
    assert tables_filled() == 1
    assert are_same_bits(y, by_kernel(f.expr, x, p))


@every_half
@pytest.mark.parametrize("size", [KEPT, KEPT + 1, KEPT + 15, KEPT + 16, KEPT + 31, 3 * KEPT + 33])
def test_any_size(size: int, dtype: torch.dtype) -> None:
    """And nothing beside the tensor is written to."""
    x, margin = patterns(dtype, size, seed=1), 64
    wanted = by_kernel(E, x, parameters())
    within, around = slice(margin, margin + size), torch.full((size + 2 * margin,), 7.0, dtype=dtype)
    table = value_table(E, ("a", "b"), dtype, torch.tensor([1.25, 0.75]).numpy().tobytes())
    exhaustive.look_up(table, x, around[within])
    assert are_same_bits(around[within], wanted)
    assert (around[:margin] == 7).all()
    assert (around[margin + size :] == 7).all()


@pytest.mark.parametrize("how", ["interpreted", "compiled"])
def test_filled_by_either_kernel(how: str) -> None:
    x = patterns(torch.bfloat16)
    with forced(how):
        wanted = by_kernel(E, x, parameters())
    assert are_same_bits(dispatch.activate(E, x, parameters()), wanted)


@every_half
def test_any_layout(dtype: torch.dtype) -> None:
    """Channels-last, transposed, with gaps, expanded: the values stay where their elements are."""
    x = patterns(dtype, 8 * 4 * 64 * 64, seed=2)
    image = x.view(8, 4, 64, 64).contiguous(memory_format=torch.channels_last)
    for view in (image, x.view(512, -1).t(), x.view(2, -1)[:, ::1], x.view(-1, 2)[:, 0].repeat(2).view(-1, 2)[:, 1], image[:, :2],
                 x[:1024, None].expand(1024, 128)):  # fmt: skip
        y = dispatch.activate(E, view, parameters(dtype))
        assert are_same_bits(y, by_kernel(E, view.contiguous(), parameters(dtype)))
        assert y.shape == view.shape
    assert dispatch.activate(E, image, parameters(dtype)).is_contiguous(memory_format=torch.channels_last)
    assert tables_filled() == 1


@every_half
def test_gradients_are_those_of_the_kernel(dtype: torch.dtype) -> None:
    x, g = (torch.randn(CHANGING, generator=torch.Generator().manual_seed(seed)).to(dtype) for seed in (3, 4))
    inputs = x.requires_grad_(), *(p.requires_grad_() for p in parameters(dtype).values())
    y = dispatch.activate(E, inputs[0], dict(zip("ab", inputs[1:], strict=True)))
    assert tables_filled() == 1
    way = cpu_way(asked(E, x, dict(zip("ab", inputs[1:], strict=True))))
    assert way is not None
    for got, wanted in zip(torch.autograd.grad(y, inputs, g), way.pullback(x, inputs[1:], g, [True] * 3), strict=True):
        assert wanted is not None
        assert torch.equal(got, wanted)
    (slope,) = torch.autograd.grad(dispatch.activate(E, x, parameters(dtype)).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(slope.sum(), x)
    assert second.isfinite().all()


def test_results_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    x = patterns(torch.float16, 10 * PATTERNS + 77, seed=5)
    wanted, given = by_kernel(E, x, parameters()), []
    submit = threads.ThreadPoolExecutor.submit
    monkeypatch.setattr(threads.ThreadPoolExecutor, "submit", lambda *work: given.append(work) or submit(*work))
    for count, others in ((1, 0), (2, 1), (3, 2), (16, 4)):
        given.clear()
        torch.set_num_threads(count)
        assert are_same_bits(dispatch.activate(E, x, parameters()), wanted)
        assert len(given) == others, "a thread is worth 131,072 elements"


# -- what is kept --------------------------------------------------------------------------------------------------------


def test_a_table_is_kept_until_a_parameter_changes() -> None:
    x, p = patterns(torch.bfloat16, CHANGING), parameters()
    for b, filled in ((0.75, 1), (0.75, 1), (-0.0, 2), (0.0, 3), (0.75, 3), (float("nan"), 4), (0.5, 5)):
        p["b"].data.fill_(b)  # no version counter sees this
        for size in (KEPT, CHANGING):
            assert are_same_bits(dispatch.activate(E, x[:size], p), by_kernel(E, x[:size], p))
        assert tables_filled() == filled
    assert are_same_bits(dispatch.activate(E, x.view(torch.float16), p), by_kernel(E, x.view(torch.float16), p))
    assert tables_filled() == 6


def test_as_a_module_learns() -> None:
    act = actune.Activation("pserf", dtype=torch.bfloat16)
    x = patterns(torch.bfloat16, CHANGING).clamp(-8, 8).nan_to_num()
    step = torch.optim.SGD(act.parameters(), lr=1.0)
    for turn in range(1, 4):
        y = act(x)
        assert tables_filled() == turn
        values = {n: p.value(getattr(act, n).detach()).reshape(1) for n, p in act.family.params.items()}
        assert are_same_bits(y.detach(), by_kernel(act.family.expr, x, values))
        step.zero_grad()
        y.float().mean().backward()
        step.step()


# -- when it serves ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "filled"),
    [("kept", 1), ("learns", 1), ("small", 0), ("learns, small", 0), ("learns, many threads", 0), ("learns, very large", 1),
     ("float32", 0), ("channels", 0), ("cheap", 0), ("subclass", 0)],
)  # fmt: skip
def test_when_a_table_serves(case: str, filled: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, p, e = patterns(torch.bfloat16, KEPT), parameters(), E
    if "learns" in case:
        x, p = patterns(torch.bfloat16, CHANGING), {n: t.requires_grad_() for n, t in p.items()}
    if "small" in case:
        x = x[:-1]
    if case == "learns, many threads":
        torch.set_num_threads(2)
    elif case == "learns, very large":
        torch.set_num_threads(2)
        x = x.repeat(2)
    elif case == "float32":
        x = x.float()
    elif case == "channels":
        x, p["a"] = x.view(4, 8, -1), torch.ones(1, 8, 1, dtype=torch.bfloat16)
    elif case == "cheap":
        monkeypatch.undo()
        e, p = actune.parse("max(x, a*x)"), {"a": p["a"]}
    elif case == "subclass":

        class Marked(Tensor):
            pass

        x = x.as_subclass(Marked)
    y = dispatch.activate(e, x, p).detach().as_subclass(Tensor)
    assert tables_filled() == filled
    if case not in ("subclass", "float32"):
        assert are_same_bits(y, by_kernel(e, x, {n: t.detach() for n, t in p.items()}))


def test_the_families_of_ordinary_cost_have_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    dispatch._suiting.cache_clear()
    for name, wanted in (("relu", 0), ("leaky_relu", 0), ("silu", 1), ("gelu", 1), ("pserf", 1), ("rational", 1)):
        value_table.cache_clear()
        actune.Activation(name, dtype=torch.bfloat16)(patterns(torch.bfloat16, CHANGING))
        assert tables_filled() == wanted, name
