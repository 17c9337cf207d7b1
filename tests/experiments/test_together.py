"""Networks side by side train as alone: every formula, each without influence on the others, with nothing left behind."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from actune import Activation
from actune.catalogue.registry import FAMILIES
from actune.experiments import Part, Recipe, Split, Task, compare, rank, task, train
from actune.experiments.models.small import mlp
from actune.experiments.training.networks import activation_factory
from actune.experiments.training.stack import Stack, function_of
from actune.experiments.training.together import is_stackable, train_together
from actune.kernels.cpu import tiers
from actune.kernels.cpu.bound import row_layout
from actune.kernels.cpu.fused import slopes

together_module = sys.modules["actune.experiments.training.together"]
DIVERGING = "1e30*exp(80*x)"


def two_classes() -> Split:
    """Points in the plane, labelled by the sign of the product of their coordinates."""
    x = torch.from_numpy(np.random.RandomState(0).uniform(-1, 1, (100, 2))).float()
    y = (x.prod(1) > 0).long()
    return Split(Part(x[:50], y[:50]), Part(x[50:70], y[50:70]), Part(x[70:], y[70:]))


# A width that is no multiple of a vector, and a last batch of two.
TINY = Task(
    "tiny", "four quadrants", two_classes, partial(mlp, inputs=2, outputs=2, width=12, layers=4), Recipe(epochs=3, batch_size=16)
)
LEARNING = ("sau", "apalu", "swish", "x*sigmoid(b*x); b=1", "rational")  # constraints, several parameters, vectors
SERVED = sorted(name for name in FAMILIES if is_stackable(TINY, name))


def near(found, alone, tolerance: float = 1e-4) -> None:
    """Two outcomes agree but for rounding."""
    assert found.history == pytest.approx(alone.history, rel=tolerance)
    assert found.diverged == alone.diverged
    assert found.validation_accuracy == alone.validation_accuracy
    assert (found.test_accuracy, found.course is None) == (alone.test_accuracy, alone.course is None)
    assert found.test_loss == (alone.test_loss and pytest.approx(alone.test_loss, rel=tolerance))


# -- as alone ------------------------------------------------------------------------------------------------------------


def test_all_families_but_mittag_leffler_functions_train_side_by_side():
    assert [name for name in sorted(set(FAMILIES) - set(SERVED)) if "mittag_leffler" not in str(FAMILIES[name].expr.expand())] == []
    assert len(SERVED) > 60


def test_each_family_trains_in_one_stack_as_alone():
    found = train_together(TINY, SERVED, [3] * len(SERVED), test=True)
    for name, outcome in zip(SERVED, found, strict=True):
        near(outcome, train(TINY, name, 3, test=True))


@pytest.mark.parametrize("name", LEARNING)
def test_several_seeds_train_as_alone_and_so_do_their_parameters(name):
    seeds = [5, 2**31 + 1, 0]
    for outcome, seed in zip(train_together(TINY, [name] * 3, seeds, course=True), seeds, strict=True):
        alone = train(TINY, name, seed, course=True)
        near(outcome, alone)
        assert outcome.course.keys() == alone.course.keys()
        for key, after in alone.course.items():
            assert np.allclose(outcome.course[key], after, rtol=1e-4, atol=1e-6), key
        moved = [key for key, after in outcome.course.items() if after[0] != after[-1]]
        assert moved, "no parameter has learned"


@pytest.mark.parametrize(("name", "activation"), [("digits", "swish"), ("ood-harmonic", "gelu_sine"), ("ood-feynman", "prelu")])
def test_tasks_that_ship_agree_after_an_epoch(name, activation):
    t = task(name).with_recipe(epochs=1)
    for outcome, seed in zip(train_together(t, [activation] * 3, [0, 1, 2], test=True), range(3), strict=True):
        near(outcome, train(t, activation, seed, test=True))


def test_initial_weights_are_those_of_train_in_every_bit(monkeypatch):
    begun: list[nn.Module] = []

    class Watched(Stack):
        def __init__(self, models, recipe):
            super().__init__(models, recipe)
            begun.extend(self.restore(i) for i in range(len(models)))

    monkeypatch.setattr(together_module, "Stack", Watched)
    train_together(TINY.with_recipe(epochs=1, learning_rate=0.0), ["sau", "relu"], [4, 4])
    for name, model in zip(("sau", "relu"), begun, strict=True):
        torch.manual_seed(4)
        torch.randperm(50)
        wanted = TINY.model(activation_factory(name, "channel")).state_dict()
        assert wanted.keys() == model.state_dict().keys()
        assert all(torch.equal(p, wanted[key]) for key, p in model.state_dict().items())


def test_what_is_not_trained_stays():
    fixed = Activation("swish", beta=1.5, scope="channel", channels=1, trainable=False)
    (outcome,) = train_together(TINY, [fixed], [0], course=True)
    assert outcome.course["1.beta"] == ((1.5,) * 12,) * 3
    near(outcome, train(TINY, fixed, 0, course=True))


def test_some_parameters_learn_and_others_do_not():
    mixed = Activation("a*tanh(b*x)", a=1.2, b=0.7, scope="channel", channels=1, trainable={"a": False})
    (outcome,) = train_together(TINY, [mixed], [0], course=True)
    assert outcome.course["3.a"] == pytest.approx(np.full((3, 12), 1.2))
    assert outcome.course["3.b"][0] != outcome.course["3.b"][-1]
    near(outcome, train(TINY, mixed, 0, course=True))


# -- in comparisons ------------------------------------------------------------------------------------------------------


def test_a_comparison_gives_what_one_by_one_gives_with_any_number_of_workers():
    names, told = ["sau", "swish", "mittag_leffler(-abs(x), 0.8, 1)"], []
    alone = compare(TINY, names, seeds=3)
    found = compare(TINY, names, seeds=3, together=5, progress=lambda done, total: told.append((done, total)))
    assert told == [(5, 12), (10, 12), (12, 12)]
    for row in alone.rows:
        for a, b in zip(found.row(row.name).outcomes, row.outcomes, strict=True):
            near(a, b)
    assert compare(TINY, names, seeds=3, together=5, workers=2) == found


def test_leaders_are_ranked_side_by_side():
    names = ["relu", "tanh", "sau"]
    alone, found = rank(TINY, names, [0, 1]), rank(TINY, names, [0, 1], together=8)
    assert [r.activation for r in found] == [r.activation for r in alone]
    assert [r.validation_loss for r in found] == pytest.approx([r.validation_loss for r in alone], rel=1e-4)


def test_together_is_checked():
    with pytest.raises(ValueError, match="together must be at least 1, got 0"):
        compare(TINY, ["relu"], together=0)
    with pytest.raises(ValueError, match="together=2 is for the CPU; leave it out, or device='cuda'"):
        rank(TINY, ["relu"], together=2, device="cuda")


# -- what does not fit ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("t", "activation"),
    [
        (TINY, nn.ReLU),
        (TINY, nn.Tanh()),
        (TINY, "mittag_leffler(-abs(x), 0.8, 1)"),
        (replace(TINY, scope="layer"), "swish"),
        (replace(TINY, model=lambda activation: mlp(activation, inputs=2, outputs=2, width=8)), "relu"),
        (replace(TINY, model=partial(mlp, inputs=2, outputs=2, layers=1)), "relu"),
    ],
)
def test_what_does_not_fit_is_trained_by_train(t, activation):
    assert not is_stackable(t, activation)
    near_ones = train_together(t, ["gelu", activation], [1, 2], test=True)
    assert near_ones[1] == train(t, activation, 2, test=True)
    near(near_ones[0], train(t, "gelu", 1, test=True))


def test_a_seed_for_each_activation():
    with pytest.raises(ValueError, match="2 activations and 1 seeds; give a seed for each activation"):
        train_together(TINY, ["relu", "gelu"], [0])
    assert train_together(TINY, [], []) == []


# -- nobody disturbs the others ------------------------------------------------------------------------------------------


def test_one_that_diverges_ends_and_the_others_go_on_as_without_it():
    calm = train_together(TINY, ["sau", "relu", "swish"], [0, 1, 2], test=True)
    found = train_together(TINY, ["sau", DIVERGING, "swish"], [0, 1, 2], test=True)
    assert found[1].diverged
    assert found[1].history == (math.inf,)
    near(found[1], train(TINY, DIVERGING, 1, test=True))
    for i in (0, 2):
        near(found[i], calm[i], tolerance=1e-6)


def test_nan_stays_in_its_network():
    def after(broken: bool) -> list[nn.Sequential]:
        models = []
        for seed, name in enumerate(("apalu", "swish", "relu")):
            torch.manual_seed(seed)
            models.append(TINY.model(activation_factory(name, "channel")))
        if broken:
            nn.init.constant_(models[1][0].weight, math.nan)
        stack, rng = Stack(models, Recipe(learning_rate=1e-2)), torch.Generator().manual_seed(0)
        for _ in range(3):
            x = torch.randn(3, 16, 2, generator=rng)
            stack.step(x, (x.prod(-1) > 0).long(), together_module.LOSSES["cross_entropy"], 1e-2)
        return [stack.restore(i) for i in range(3)]

    for i, (a, b) in enumerate(zip(after(False), after(True), strict=True)):
        same = [torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True)]
        assert all(same) if i != 1 else not any(same)


def test_a_report_may_end_its_training_and_no_other():
    told = []

    def report(i: int, epoch: int, loss: float) -> bool:
        told.append((i, epoch, loss))
        return (i, epoch) == (1, 0)

    whole = train_together(TINY, ["relu", "sau", nn.Tanh], [0, 1, 2])
    found = train_together(TINY, ["relu", "sau", nn.Tanh], [0, 1, 2], report=report, test=True)
    assert [len(o.history) for o in found] == [3, 1, 3]
    assert not found[1].diverged
    assert found[1].test_loss is not None
    assert found[1].history == whole[1].history[:1]
    near(replace(found[0], test_loss=None, test_scores=None), whole[0], 1e-6)
    assert sorted(told) == [(i, e, o.history[e]) for i, o in enumerate(found) for e in range(len(o.history))]


def test_moments_go_on_where_some_are_left_behind():
    """With fewer rows of parameters, too: the widest formula is the one that ends."""
    names = ["swish", "rational", "sau"]
    t = TINY.with_recipe(epochs=6)
    found = train_together(t, names, [0, 1, 2], report=lambda i, epoch, _: (i, epoch) == (1, 2), course=True)
    for i in (0, 2):
        alone = train(t, names[i], i, course=True)
        near(found[i], alone)
        assert all(np.allclose(found[i].course[key], after, rtol=1e-4, atol=1e-6) for key, after in alone.course.items())


def test_a_report_of_train_ends_its_training():
    assert len(train(TINY, "relu", 0, report=lambda epoch, loss: epoch == 1).history) == 2


def test_a_report_that_raises_ends_all_and_the_generator_keeps_its_state():
    def report(i: int, epoch: int, loss: float) -> None:
        raise KeyError(i)

    before = torch.get_rng_state()
    with pytest.raises(KeyError):
        train_together(TINY, ["relu", "gelu"], [0, 1], report=report)
    assert torch.equal(torch.get_rng_state(), before)


# -- the same bits -------------------------------------------------------------------------------------------------------


def test_the_same_call_gives_the_same_bits_and_leaves_the_generator_alone():
    torch.manual_seed(0)
    first = train_together(TINY, LEARNING, range(5), test=True, course=True)
    torch.rand(7)
    before = torch.get_rng_state()
    assert train_together(TINY, LEARNING, range(5), test=True, course=True) == first
    assert torch.equal(torch.get_rng_state(), before)
    assert all(o.seconds > 0 for o in first)


def test_compiled_kernels_take_over_without_a_difference(monkeypatch):
    names = [f"a*{f}(b*x + {c}); a=1, b=0.5" for f, c in (("tanh", 0.123), ("sigmoid", 0.321))]  # not used before
    interpreted = train_together(TINY, names, [0, 1])
    monkeypatch.setattr(tiers, "WORTH", 3000)  # which both directions have had before the last epoch
    tiers._use.cache_clear()
    assert train_together(TINY, names, [0, 1]) == interpreted
    e = function_of(Activation(names[0], scope="channel", channels=12)).formula.e
    for exprs, backward in (((e,), False), (slopes(e, ("a", "b")), True)):
        assert tiers._use(exprs, ("a", "b"), torch.float32, True, backward).compiled is not None


@pytest.mark.parametrize("name", ["relu", *LEARNING])
@pytest.mark.parametrize("shape", [(64, 64), (16, 12), (5, 7), (3, 1), (1, 40)])
def test_a_formula_on_fixed_memory_has_the_bits_of_the_module(name, shape):
    torch.manual_seed(0)
    act = Activation(name, scope="channel", channels=shape[1])
    function = function_of(act)
    f = function.formula
    x, g = torch.randn(shape, requires_grad=True), torch.randn(shape)
    y = act(x)
    y.backward(g)
    at, distance = row_layout(*shape)
    numbers, sums = torch.ones(len(f.names), distance), torch.zeros(len(f.names), distance, dtype=torch.float64)

    def own(rows: torch.Tensor) -> torch.Tensor:
        return rows[:, : at.channels].view(-1, at.repeats, at.own)

    for parameter, _, rows in function.rows:
        own(numbers[rows]).copy_(act.values()[parameter].detach().reshape(-1, 1, shape[1]))
    ours, gx, ways = torch.empty(shape), torch.empty(shape), f.ways(shape[1], 0, 0)
    f.values(ways, x.detach(), ours, numbers)()
    f.pullback(ways, x.detach(), g, gx, numbers, sums)()
    assert torch.equal(ours, y.detach())
    assert torch.equal(gx, x.grad)
    for parameter, p, rows in function.rows:
        stored = getattr(act, parameter)
        if stored.requires_grad:
            found = own(sums[rows]).sum(1) * p.slope(stored.detach(), p.value(stored.detach())).reshape(-1, shape[1])
            assert torch.allclose(found.float(), stored.grad.reshape(-1, shape[1]), rtol=1e-5, atol=1e-6)
        else:
            assert not own(sums[rows]).any()
