"""Backward writes over the gradient that comes in where nobody else has it, and never where somebody may."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from actune import Activation
from actune.kernels import autograd
from actune.kernels.spare import WORTH_SPARING, spare_memory

SHAPE = (WORTH_SPARING // 64, 64)
ACTS = {"swish": Activation("swish"), "mish": Activation("mish"), "channels": Activation("swish", scope="neuron", channels=64)}


@pytest.fixture
def seen() -> Iterator[list[bool]]:
    """Whether memory was spare, for each backward of ours."""
    found: list[bool] = []

    def watched(grads: tuple[Tensor, ...], x: Tensor) -> Tensor | None:
        spare = spare_memory(grads, x)
        found.append(spare is not None)
        return spare

    # One more frame refers to the tuple only, so that nothing changes in the counts.
    with mock.patch.object(autograd, "spare_memory", watched):
        yield found


def numbers(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def x() -> Tensor:
    return numbers(0).requires_grad_()


def plain(x: Tensor) -> Tensor:
    return torch.nn.functional.silu(x)


@pytest.mark.parametrize("name", list(ACTS))
def test_it_is_used_between_layers_and_gradients_stay_what_they_are(name: str, x: Tensor, seen: list[bool]) -> None:
    act, g = ACTS[name], numbers(1)
    inputs = [x, *act.parameters()]

    def gradients() -> list[Tensor]:
        return list(torch.autograd.grad(act(act(x * 2) * 3) * 2, inputs, g))

    found = gradients()
    assert seen == [True, True]
    with mock.patch.object(autograd, "spare_memory", return_value=None):
        wanted = gradients()
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_in_other_dtypes(dtype: torch.dtype, x: Tensor, seen: list[bool]) -> None:
    act, g, x = Activation("silu"), numbers(1).to(dtype), x.detach().to(dtype).requires_grad_()
    (found,) = torch.autograd.grad(act(x * 2) * 2, x, g)
    with mock.patch.object(autograd, "spare_memory", return_value=None):
        (wanted,) = torch.autograd.grad(act(x * 2) * 2, x, g)
    assert seen == [True]
    assert torch.equal(found, wanted)


# -- where somebody has it -------------------------------------------------------------------------------------------------

Held = Callable[[Activation, Tensor, Tensor], Any]


def by_user(act: Activation, x: Tensor, g: Tensor) -> Any:
    torch.autograd.grad(act(x * 2), x, g)
    return [g]


def by_argument(act: Activation, x: Tensor, g: Tensor) -> Any:
    torch.autograd.grad(act(x * 2), x, g.clone())


def by_engine(act: Activation, x: Tensor, g: Tensor) -> Any:
    act(x * 2).backward(g.clone(), retain_graph=True)


def by_hook(act: Activation, x: Tensor, g: Tensor) -> Any:
    y, kept = act(x * 2), []
    y.register_hook(lambda g: kept.append(g))
    torch.autograd.grad(y * 2, x, g)
    return kept


def by_hook_as_a_view(act: Activation, x: Tensor, g: Tensor) -> Any:
    y, kept = act(x * 2), []
    y.register_hook(lambda g: kept.append(g.detach()[3:]))
    torch.autograd.grad(y * 2, x, g)
    return kept


def by_hook_as_an_array(act: Activation, x: Tensor, g: Tensor) -> Any:
    y, kept = act(x * 2), []
    y.register_hook(lambda g: kept.append(g.numpy()))
    torch.autograd.grad(y * 2, x, g)
    return [torch.from_numpy(kept[0])]


def by_hook_as_dlpack(act: Activation, x: Tensor, g: Tensor) -> Any:
    y, kept = act(x * 2), []
    y.register_hook(lambda g: kept.append(torch.utils.dlpack.to_dlpack(g)))
    torch.autograd.grad(y * 2, x, g)
    return [torch.utils.dlpack.from_dlpack(kept[0])]


def by_hook_as_storage(act: Activation, x: Tensor, g: Tensor) -> Any:
    y, kept = act(x * 2), []
    y.register_hook(lambda g: kept.append(g.untyped_storage()))
    torch.autograd.grad(y * 2, x, g)
    return [torch.empty(0).set_(kept[0], 0, SHAPE)]


def by_weak_reference(act: Activation, x: Tensor, g: Tensor) -> Any:
    y, kept = act(x * 2), []
    y.register_hook(lambda g: kept.append(weakref.ref(g)))
    torch.autograd.grad(y * 2, x, g)


def by_prehook_of_the_node(act: Activation, x: Tensor, g: Tensor) -> Any:
    y, kept = act(x * 2), []
    y.grad_fn.register_prehook(lambda gs: kept.extend(gs))
    torch.autograd.grad(y * 2, x, g)
    return kept


def by_hook_of_the_node(act: Activation, x: Tensor, g: Tensor) -> Any:
    y, kept = act(x * 2), []
    y.grad_fn.register_hook(lambda _, gs: kept.extend(gs))
    torch.autograd.grad(y * 2, x, g)
    return kept


def by_hook_of_the_module(act: Activation, x: Tensor, g: Tensor) -> Any:
    kept: list[Tensor] = []
    handle = act.register_full_backward_hook(lambda _, __, gs: kept.extend(gs))
    torch.autograd.grad(act(x * 2) * 2, x, g)
    handle.remove()
    return kept


def by_capture(act: Activation, x: Tensor, g: Tensor) -> Any:
    y = act(x * 2)
    return [torch.autograd.grad(y * 2, [y, x], g)[0]]


def by_another_branch(act: Activation, x: Tensor, g: Tensor) -> Any:
    """The sum gives one gradient to both, and autograd comes to ours first."""
    a = x * 2
    other = a * 1
    torch.autograd.grad((other + act(a)) * 2, x, g)


class Cached(torch.autograd.Function):
    """Gives a gradient back that something else has."""

    box: Any = None

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        found: Tensor = Cached.box()
        return found


def given_by(make: Callable[[Tensor], tuple[Callable[[], Tensor], Any]]) -> Held:
    def run(act: Activation, x: Tensor, g: Tensor) -> Any:
        Cached.box, kept = make((2 * g).clone())
        torch.autograd.grad(Cached.apply(act(x * 2)), x, g)
        return kept

    return run


def _array(g: Tensor) -> tuple[Callable[[], Tensor], Any]:
    array = g.numpy().copy()
    return lambda: torch.from_numpy(array), [torch.from_numpy(array)]


def _alone_in_an_array(g: Tensor) -> tuple[Callable[[], Tensor], Any]:
    """No tensor but the gradient is over this memory."""
    array = g.numpy().copy()
    return lambda: torch.from_numpy(array), array


def _part(g: Tensor) -> tuple[Callable[[], Tensor], Any]:
    """More memory hangs on it than it needs."""
    return lambda: torch.empty(0).set_(torch.cat([g, g]).untyped_storage(), 0, SHAPE), None


def _same(g: Tensor) -> tuple[Callable[[], Tensor], Any]:
    return lambda: g, [g]


def _shared(g: Tensor) -> tuple[Callable[[], Tensor], Any]:
    box = [g.clone().share_memory_()]
    return lambda: box.pop(), None


def _expanded(g: Tensor) -> tuple[Callable[[], Tensor], Any]:
    return lambda: torch.ones(1).expand(SHAPE), None


def _turned(g: Tensor) -> tuple[Callable[[], Tensor], Any]:
    return lambda: torch.empty_strided(SHAPE, (1, SHAPE[0])).fill_(1), None


def _of_a_subclass(g: Tensor) -> tuple[Callable[[], Tensor], Any]:
    return lambda: nn.Parameter(torch.ones(SHAPE), requires_grad=False), None


HELD: dict[str, Held] = {f.__name__: f for f in (
    by_user, by_argument, by_engine, by_hook, by_hook_as_a_view, by_hook_as_an_array, by_hook_as_dlpack, by_hook_as_storage,
    by_weak_reference, by_prehook_of_the_node, by_hook_of_the_node, by_hook_of_the_module, by_capture, by_another_branch,
)}  # fmt: skip
HELD |= {f"a gradient {f.__name__.strip('_')}": given_by(f) for f in (_array, _alone_in_an_array, _part, _same, _shared, _expanded,
                                                                     _turned, _of_a_subclass)}  # fmt: skip


@pytest.mark.parametrize("case", list(HELD))
def test_where_somebody_has_it_it_stays(case: str, x: Tensor, seen: list[bool]) -> None:
    g = numbers(1)
    kept = HELD[case](Activation("silu"), x, g)
    assert seen == [False]
    assert torch.equal(g, numbers(1))
    for t in kept if isinstance(kept, list) else ():
        if isinstance(t, Tensor):
            wanted = (1 if case == "by_user" else 2) * numbers(1)
            assert torch.equal(t, wanted[3:] if case == "by_hook_as_a_view" else wanted)


def test_nobody_looks_at_small_tensors(x: Tensor, seen: list[bool]) -> None:
    torch.autograd.grad(Activation("silu")(x[1:] * 2) * 2, x, numbers(1)[1:])
    assert seen == []


def test_leaves_that_take_the_gradient_keep_theirs(x: Tensor, seen: list[bool]) -> None:
    """The sum gives one gradient to the leaf, which may keep it, and to us."""
    act, g = Activation("silu"), numbers(1)
    for order in (0, 1):
        leaf = numbers(2).requires_grad_()
        y = act(x * 2)
        ((y + leaf if order else leaf + y) * 2).backward(g)
        assert torch.equal(leaf.grad, 2 * g)  # type: ignore[arg-type]
    y = act(x * 2)
    y.retain_grad()
    (y * 2).backward(g)
    assert torch.equal(y.grad, 2 * g)  # type: ignore[arg-type]


def test_a_sum_of_two_branches_is_right(x: Tensor, seen: list[bool]) -> None:
    act, g = Activation("silu"), numbers(1)
    for mix in (lambda a, f: a * 1 + f(a), lambda a, f: f(a) + a * 1, lambda a, f: f(a) + f(a * 2), lambda a, f: f(a).chunk(2)[0]):
        found, wanted = (torch.autograd.grad(y, x, g[: len(y)].clone()) for y in (mix(x * 2, act) * 3, mix(x * 2, plain) * 3))
        torch.testing.assert_close(found, wanted)


def test_graphs_that_are_kept_give_the_same_again(x: Tensor, seen: list[bool]) -> None:
    act, g = Activation("silu"), numbers(1)
    z = act(x * 2) * 3
    first, second = (torch.autograd.grad(z, x, g, retain_graph=True)[0] for _ in range(2))
    assert seen == [True, True]
    assert torch.equal(first, second)
    slope = torch.autograd.grad(z, x, g, create_graph=True)[0]
    torch.testing.assert_close(slope, first)


def test_in_a_thread_and_with_checkpoints(x: Tensor, seen: list[bool]) -> None:
    act, g, found = Activation("silu"), numbers(1), []
    wanted = torch.autograd.grad(plain(x * 2) * 3, x, g)[0]
    thread = threading.Thread(target=lambda: found.append(torch.autograd.grad(act(x * 2) * 3, x, g)[0]))
    thread.start()
    thread.join()
    for reentrant in (False, True):
        y = torch.utils.checkpoint.checkpoint(lambda t: act(t * 2) * 3, x, use_reentrant=reentrant)
        x.grad = None
        y.backward(g)
        found.append(x.grad)
    assert seen == [True, True, True]
    for t in found:
        torch.testing.assert_close(t, wanted)


def test_no_memory_is_spare_where_the_counts_say_nothing(x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    from actune.kernels import spare

    spare._nobody.cache_clear()
    monkeypatch.setattr(spare, "_holders", lambda _: (1, 0, 1, 1, 0, 1))
    assert spare._nobody() is None
    assert spare.spare_memory((numbers(1),), x) is None
    monkeypatch.undo()
    spare._nobody.cache_clear()
    assert spare._nobody() is not None
