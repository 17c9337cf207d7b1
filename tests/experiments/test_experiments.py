"""Tasks, training and comparison: reproducible, paired, blind to the test part, and honest about chance."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import pickle
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from quadrants import TINY, two_classes
from torch import Tensor, nn

import actune
from actune.experiments import Comparison, Outcome, Part, Row, Split, Task, compare, list_tasks, rank, task, train
from actune.experiments.data.parts import digits
from actune.experiments.models.small import mlp
from actune.experiments.stats import Estimate, estimate, holm, paired_p
from actune.experiments.training import steps

compare_module = sys.modules["actune.experiments.comparison"]
WINNER = "tanh(x) + erf(erf(expm1(x)))"


class Sealed:
    """A split whose test part may not be opened."""

    def __init__(self, split: Split):
        self.train, self.validation = split.train, split.validation

    @property
    def test(self) -> Part:
        raise AssertionError("the test part was touched")


def sealed_classes() -> Sealed:
    return Sealed(two_classes())


class Broken(nn.Module):
    """Gives nan."""

    def forward(self, x: Tensor) -> Tensor:
        return x * math.nan


SEALED = replace(TINY, data=sealed_classes)


def watched(seen: list[nn.Module]) -> Task:
    """The tiny task, keeping each network that it builds."""

    def model(activation):
        seen.append(TINY.model(activation))
        return seen[-1]

    return replace(TINY, model=model)


# -- data, models, tasks -------------------------------------------------------------------------------------------------


def test_the_digits_are_split_without_loss_or_overlap():
    from sklearn.datasets import load_digits

    split = digits()
    parts = (split.train, split.validation, split.test)
    assert [len(p) for p in parts] == [1000, 397, 400]
    rows = Counter((*map(int, x), int(y)) for p in parts for x, y in zip(p.inputs * 16, p.targets, strict=True))
    assert rows == Counter((*map(int, x), int(y)) for x, y in zip(*load_digits(return_X_y=True), strict=True))


def test_no_statistic_of_any_part_enters_the_inputs():
    for part in (digits().train, digits().validation, digits().test):
        scaled = part.inputs * 16
        assert part.inputs.dtype == torch.float32
        assert torch.equal(scaled, scaled.round())
        assert (scaled.min(), scaled.max()) == (0, 16)


def test_the_split_belongs_to_the_task_and_to_no_seed():
    found = []
    for seed in (1, 2):
        np.random.seed(seed)
        torch.manual_seed(seed)
        found.append(digits.__wrapped__())
    assert torch.equal(found[0].test.inputs, found[1].test.inputs)
    assert hashlib.sha256(found[0].test.targets.numpy().astype("<i8").tobytes()).hexdigest()[:16] == "5a0d95f88ac13dcb"


def test_mlp_has_an_activation_after_each_layer_but_the_last():
    widths: list[int] = []

    def activation(width: int) -> nn.Module:
        widths.append(width)
        return nn.Tanh()

    model = mlp(activation, inputs=5, outputs=3, width=7, layers=4)
    assert [type(m) for m in model] == [nn.Linear, nn.Tanh] * 3 + [nn.Linear]
    assert [(m.in_features, m.out_features) for m in model if isinstance(m, nn.Linear)] == [(5, 7), (7, 7), (7, 7), (7, 3)]
    assert widths == [7, 7, 7]


def test_digits_trains_an_eight_layer_network():
    model = task("digits").model(lambda width: nn.ReLU())
    assert sum(isinstance(m, nn.Linear) for m in model.modules()) == 8
    assert model(digits().test.inputs).shape == (400, 10)


def test_tasks_are_found_by_name():
    assert "digits" in list_tasks()
    assert all(task(name).name == name and task(name).summary for name in list_tasks())
    assert task(TINY) is TINY
    assert pickle.loads(pickle.dumps(task("digits"))).name == "digits"
    with pytest.raises(ValueError, match=r"unknown task 'digts'; did you mean 'digits'\?"):
        task("digts")


# -- training ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", [nn.ReLU, nn.RReLU, "swish"])
def test_training_repeats_bit_by_bit_and_leaves_the_global_generator_alone(activation):
    torch.manual_seed(0)
    first = train(TINY, activation, 5, test=True)
    torch.manual_seed(1)
    torch.rand(7)
    before = torch.get_rng_state()
    assert train(TINY, activation, 5, test=True) == first
    assert torch.equal(torch.get_rng_state(), before)
    assert train(TINY, activation, 6).history != first.history


def test_a_report_that_raises_ends_the_training_and_restores_the_generator():
    class Pruned(Exception):
        pass

    reported: list[tuple[int, float]] = []

    def report(epoch: int, loss: float) -> None:
        reported.append((epoch, loss))
        if epoch == 1:
            raise Pruned

    before = torch.get_rng_state()
    with pytest.raises(Pruned):
        train(TINY, nn.Tanh, 0, report=report)
    assert torch.equal(torch.get_rng_state(), before)
    assert reported == list(enumerate(train(TINY, nn.Tanh, 0).history))[:2]


def test_every_activation_meets_the_same_weights_and_batches():
    def start(activation) -> tuple[list[Tensor], list[Tensor]]:
        weights: list[Tensor] = []
        batches: list[Tensor] = []

        def model(factory):
            net = TINY.model(factory)
            weights.extend(p.detach().clone() for m in net if isinstance(m, nn.Linear) for p in m.parameters())
            net.register_forward_pre_hook(lambda module, args: batches.append(args[0].clone()) if module.training else None)
            return net

        train(replace(TINY, model=model), activation, 3)
        return weights, batches

    weights, batches = start(nn.ReLU)
    assert len(batches) == TINY.recipe.epochs * math.ceil(50 / TINY.recipe.batch_size)
    assert not torch.equal(batches[0], batches[4])  # a new order in every epoch
    assert torch.equal(torch.cat(batches[:4]).sort(0).values, two_classes().train.inputs.sort(0).values)  # everything once
    for other in (nn.RReLU, "swish", "tanh(x)"):  # RReLU draws random numbers of its own
        for mine, theirs in zip((weights, batches), start(other), strict=True):
            assert all(map(torch.equal, mine, theirs))


def test_the_test_part_is_opened_only_on_request():
    assert train(SEALED, nn.Tanh, 0).test_accuracy is None
    with pytest.raises(AssertionError, match="touched"):
        train(SEALED, nn.Tanh, 0, test=True)
    tested = train(TINY, nn.Tanh, 0, test=True)
    assert tested.history == train(SEALED, nn.Tanh, 0).history
    assert tested.test_accuracy * 30 == pytest.approx(round(tested.test_accuracy * 30))


def test_fitness_is_the_loss_after_the_last_epoch_and_not_the_best():
    wild = TINY.with_recipe(learning_rate=0.3, epochs=6)
    outcome = train(wild, nn.Tanh, 0)
    assert len(outcome.history) == 6
    assert outcome.validation_loss == outcome.history[-1] > min(outcome.history)


def test_outcome_is_what_the_trained_network_does():
    seen: list[nn.Module] = []
    t = watched(seen)
    outcome = train(t, nn.Tanh, 0, test=True)
    split = two_classes()
    with torch.no_grad():
        scores = [seen[0](p.inputs) for p in (split.validation, split.test)]
    assert outcome.validation_loss == pytest.approx(float(nn.functional.cross_entropy(scores[0], split.validation.targets)))
    assert outcome.validation_accuracy == float((scores[0].argmax(1) == split.validation.targets).double().mean())
    assert outcome.test_accuracy == float((scores[1].argmax(1) == split.test.targets).double().mean())
    assert outcome.seconds > 0


def test_a_network_can_be_looked_at_before_its_first_step_and_after_its_last():
    built: list[nn.Module] = []
    looks: list[list[Tensor]] = []

    def look(model: nn.Module) -> None:
        looks.append([p.detach().clone() for p in model.parameters()])

    t = watched(built)
    outcome = train(t, nn.Tanh, 0, inspect=look)
    assert len(looks) == 2
    train(t, nn.Tanh, 0, inspect=look, report=lambda *_: True)  # one epoch
    assert all(torch.equal(a, b) for a, b in zip(looks[0], looks[2], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(looks[1], looks[3], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(looks[1], built[0].parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(looks[0], looks[1], strict=True))
    assert train(t, nn.Tanh, 0) == outcome  # to look changes nothing


def test_networks_are_evaluated_in_pieces(monkeypatch):
    whole = train(TINY, nn.Tanh, 0, test=True)
    seen: list[nn.Module] = []
    sizes: list[int] = []
    monkeypatch.setattr(steps, "EVALUATED", 7)
    monkeypatch.setattr(nn.Sequential, "forward", counted(nn.Sequential.forward, sizes))
    pieces = train(watched(seen), nn.Tanh, 0, test=True)
    assert pieces.history == pytest.approx(whole.history)
    assert (pieces.test_loss, pieces.test_accuracy) == pytest.approx((whole.test_loss, whole.test_accuracy))
    assert max(sizes) == TINY.recipe.batch_size
    assert sizes[-5:] == [7, 7, 7, 7, 2]


def counted(forward, sizes: list[int]):
    return lambda module, x: (sizes.append(len(x)), forward(module, x))[1]


def test_the_recipe_of_the_task_is_followed():
    assert len(set(train(TINY.with_recipe(learning_rate=0.0), nn.Tanh, 0).history)) == 1
    assert len(train(TINY.with_recipe(epochs=5), nn.Tanh, 0).history) == 5
    longer = train(TINY.with_recipe(epochs=40, learning_rate=0.01), nn.Tanh, 0)
    assert longer.validation_loss < 0.5 < longer.history[0]


@pytest.mark.parametrize("activation", [Broken, "exp(exp(20*x))"])
def test_divergence_is_an_outcome(activation):
    reported: list[float] = []
    outcome = train(TINY, activation, 0, test=True, report=lambda epoch, loss: reported.append(loss))
    assert outcome.diverged
    assert outcome.validation_loss == outcome.history[-1] == math.inf
    assert len(outcome.history) == 1
    assert reported == []
    assert 0 <= outcome.test_accuracy <= 1
    assert not train(TINY, nn.Tanh, 0).diverged


def test_a_formula_trains_like_the_module_of_torch():
    expected = train(TINY, nn.SiLU, 0).history
    for activation in ("silu", "x*sigmoid(x)", actune.family("silu"), actune.Activation("silu"), nn.SiLU()):
        assert train(TINY, activation, 0).history == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("scope", "shape"), [("layer", (1,)), ("channel", (8,)), ("neuron", (8,))])
def test_the_task_decides_the_scope_of_learned_parameters_and_they_learn(scope, shape):
    seen: list[nn.Module] = []
    train(replace(watched(seen), scope=scope), "x*sigmoid(b*x); b=1.5", 0)
    learned = [m.b for m in seen[0] if isinstance(m, actune.Activation)]
    assert len(learned) == 2
    assert all(b.shape == shape and not torch.equal(b, torch.full(shape, 1.5)) for b in learned)


def test_a_given_module_is_copied_with_its_own_scope_and_stays_as_it_was():
    seen: list[nn.Module] = []
    for given in (actune.Activation("swish", beta=2.0), nn.PReLU(init=0.5)):
        before = [p.clone() for p in given.parameters()]
        train(watched(seen), given, 0)
        assert all(map(torch.equal, before, given.parameters()))
        built = [m for m in seen[-1] if type(m) is type(given)]
        assert len(built) == len({id(m) for m in built} - {id(given)}) == 2
        assert [p.shape for p in built[0].parameters()] == [(1,)]


def test_the_course_of_learned_parameters_is_recorded_on_request():
    seen: list[nn.Module] = []
    t = watched(seen)
    outcome = train(t, "softplus(b)*x*sigmoid(c*x); b=0.5, c=1.5", 0, course=True)
    last = {f"{i}.{n}": tuple(v.tolist()) for i, m in enumerate(seen[0]) if i in (1, 3) for n, v in m.values().items()}
    assert {name: values[-1] for name, values in outcome.course.items()} == last
    assert all(len(values) == t.recipe.epochs == len(set(values)) for values in outcome.course.values())
    plain = train(TINY, "softplus(b)*x*sigmoid(c*x); b=0.5, c=1.5", 0)
    assert plain.course is None
    assert plain == replace(outcome, course=None)  # watching changes nothing
    assert hash(plain) == hash(outcome)
    assert train(TINY, nn.PReLU, 0, course=True).course == {}


# -- statistics ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "corrected"),  # from R's p.adjust(p, "holm")
    [
        ([0.01, 0.02, 0.03, 0.04], [0.04, 0.06, 0.06, 0.06]),
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.6, 0.5, 0.001], [1.0, 1.0, 0.003]),
        ([0.9, 0.8], [1.0, 1.0]),
        ([0.02], [0.02]),
        ([], []),
    ],
)
def test_holm(p, corrected):
    assert holm(p) == pytest.approx(corrected)


@pytest.mark.parametrize("differences", [[0.02, 0.01, 0.05], [-0.4, 0.1, 0.02, 0.03, -0.3], [0.1, 0.1001]])
def test_interval_and_p_are_those_of_the_t_test(differences):
    reference = scipy.stats.ttest_1samp(differences, 0)
    interval = reference.confidence_interval(0.95)
    assert paired_p(differences) == pytest.approx(reference.pvalue)
    e = estimate(differences)
    assert (e.mean, e.low, e.high) == pytest.approx((np.mean(differences), interval.low, interval.high))


def test_without_variance_there_is_no_certainty():
    assert paired_p([0.0] * 5) == 1.0
    assert paired_p([0.9 - 0.8, 0.8 - 0.7]) == 0.5  # equal but for rounding
    assert paired_p([0.05] * 10) == 2**-9
    assert math.isnan(paired_p([0.1]))
    assert math.isnan(estimate([0.1]).low)


# -- comparison ----------------------------------------------------------------------------------------------------------


def told(accuracies: dict[str, list[float]], monkeypatch: pytest.MonkeyPatch, losses: dict[str, list[float]] | None = None) -> None:
    """Let `train` answer from a table: activation -> a number for each seed."""

    def answer(what, activation, seed, *, test, device):
        loss = losses[activation][seed] if losses else 0.5
        tested = {"accuracy": accuracies[activation][seed % 1000]} if test else None
        return Outcome(loss, {"accuracy": 0.5}, 0.1, (loss,), loss == math.inf, loss if test else None, tested)

    monkeypatch.setattr(compare_module, "train", answer)


ACCURACIES = {
    "relu": [0.80, 0.82, 0.84, 0.81],
    "tanh": [0.90, 0.91, 0.95, 0.90],
    "silu": [0.80, 0.83, 0.83, 0.81],
    "gelu": [0.70, 0.75, 0.70, 0.71],
}


def test_comparison_is_paired_corrected_and_sorted(monkeypatch):
    told(ACCURACIES, monkeypatch)
    done: list[tuple[int, int]] = []
    c = compare(TINY, ["gelu", "silu", "tanh"], seeds=4, progress=lambda i, n: done.append((i, n)))
    assert [r.name for r in c.rows] == ["tanh", "relu", "silu", "gelu"]
    assert c.seeds == (1000, 1001, 1002, 1003)
    assert done == [(i, 16) for i in range(1, 17)]
    expected = {n: float(scipy.stats.ttest_rel(a, ACCURACIES["relu"]).pvalue) for n, a in ACCURACIES.items() if n != "relu"}
    for r in c.rows:
        assert r.score.mean == pytest.approx(np.mean(ACCURACIES[r.name]))
        if r.name == "relu":
            assert r.difference is None
            assert math.isnan(r.p)
        else:
            assert r.difference.mean == pytest.approx(np.mean(ACCURACIES[r.name]) - np.mean(ACCURACIES["relu"]))
            assert r.p == pytest.approx(expected[r.name])
    corrected = dict(zip(expected, holm_by_definition(list(expected.values())), strict=True))
    assert {r.name: r.p_corrected for r in c.rows if r.difference} == pytest.approx(corrected)
    assert [r.name for r in c.rows if r.better] == ["tanh"]  # gelu differs, but it is worse


def holm_by_definition(p: list[float]) -> list[float]:
    """For each p-value the largest, over those not above it, of itself times the number of those not below it."""
    return [min(1.0, max(r * sum(q >= r for q in p) for r in p if r <= x)) for x in p]


def test_verdict_names_the_best_with_its_gain(monkeypatch):
    told(ACCURACIES, monkeypatch)
    c = compare(TINY, list(ACCURACIES), seeds=4)
    tanh = c.row("tanh")
    assert c.verdict() == (
        "tanh beats relu on tiny: test accuracy 91.5 % against 81.8 %, +9.8 points "
        f"(95 % interval {100 * tanh.difference.low:+.1f} to {100 * tanh.difference.high:+.1f}, "
        f"corrected p = {tanh.p_corrected:.2g}) over 4 seeds. 1 of 3 functions beat it."
    )


def test_verdict_says_plainly_when_nothing_beats_the_baseline(monkeypatch):
    told(ACCURACIES, monkeypatch)
    nothing = "Nothing beats relu on tiny beyond chance. The best of the others, silu:"
    assert compare(TINY, ["silu", "gelu"], seeds=4).verdict().startswith(nothing)
    assert compare(TINY, ["relu", "gelu"], seeds=4, baseline="tanh").verdict().startswith("Nothing beats tanh on tiny beyond")
    assert "stands alone" in compare(TINY, [], seeds=4).verdict()
    assert "One seed shows nothing" in compare(TINY, ["tanh"], seeds=1).verdict()


def test_a_gain_without_significance_is_not_a_win(monkeypatch):
    told(ACCURACIES | {"silu": [0.80, 0.99, 0.84, 0.81]}, monkeypatch)
    assert compare(TINY, ["silu"], seeds=4).verdict().startswith("Nothing beats relu")


def test_only_the_corrected_test_decides():
    gain = Estimate(0.02, 0.01, 0.03)
    row = Row("new", "x", (), Estimate(0.9, 0.8, 1.0), gain, p=0.03, p_corrected=0.06)
    assert not row.better
    assert replace(row, p_corrected=0.04).better
    assert not replace(row, p_corrected=0.04, difference=Estimate(-0.02, -0.03, -0.01)).better
    assert not replace(row, p_corrected=0.04, difference=None).better


@pytest.mark.parametrize("seeds", [1, 3])
def test_json_is_plain_and_complete(seeds):
    c = compare(TINY, {"good": "tanh", "bad": Broken}, seeds=seeds, first_seed=7)
    plain = json.loads(json.dumps(c.to_json(), allow_nan=False))
    assert plain["seeds"] == list(range(7, 7 + seeds))
    assert plain["versions"]["torch"] == importlib.metadata.version("torch")
    assert set(plain["versions"]) == {"actune", "torch", "python"}
    rows = {r["name"]: r for r in plain["functions"]}
    assert set(rows) == {"relu", "good", "bad"}
    assert rows["bad"]["validation_loss"] is None
    assert rows["bad"]["diverged"] == seeds
    assert rows["good"]["formula"] == actune.family("tanh").text
    assert [o["test_scores"]["accuracy"] for o in rows["good"]["outcomes"]] == [
        train(TINY, "tanh", s, test=True).test_accuracy for s in plain["seeds"]
    ]
    assert (rows["good"]["p"] is None) == (seeds == 1)


def test_diverged_networks_count_with_the_accuracy_that_they_have():
    row = compare(TINY, [Broken], seeds=2).row("Broken")
    assert row.diverged == 2
    assert row.validation_loss == math.inf
    share = float((two_classes().test.targets == 0).double().mean())  # argmax of nan is the first class
    assert row.score.mean == pytest.approx(share)


def test_the_same_function_twice_makes_no_difference():
    c = compare(TINY, {"other": nn.ReLU}, seeds=3, baseline=nn.ReLU)
    assert c.row("other").difference.mean == 0
    assert c.row("other").p == 1
    with pytest.raises(ValueError, match="no row is called 'othr'; did you mean 'other'"):
        c.row("othr")
    assert c.verdict().startswith("Nothing beats ReLU")


def test_wrong_arguments_fail_before_the_first_training(monkeypatch):
    monkeypatch.setattr(compare_module, "train", lambda *args, **kwargs: pytest.fail("trained"))
    with pytest.raises(ValueError, match="did you mean 'tanh'"):
        compare(TINY, ["gelu", "tanhh"])
    with pytest.raises(ValueError, match="seeds must be at least 1, got 0"):
        compare(TINY, ["gelu"], seeds=0)
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        compare(TINY, ["gelu"], workers=0)
    with pytest.raises(ValueError, match="two different functions are called 'ELU'"):
        compare(TINY, [nn.ELU(1.0), nn.ELU(2.0)])
    with pytest.raises(ValueError, match="the name 'relu' belongs to the baseline"):
        compare(TINY, {"relu": "tanh"})
    with pytest.raises(ValueError, match="rank needs seeds"):
        rank(TINY, ["gelu"], [])


def test_names_may_repeat_and_the_baseline_may_be_among_them(monkeypatch):
    told(ACCURACIES, monkeypatch)
    assert len(compare(TINY, ["tanh", "relu", "tanh"], seeds=2).rows) == 2
    assert {r.name for r in compare(TINY, "tanh", seeds=2).rows} == {"relu", "tanh"}


def test_workers_change_nothing():
    names = {"learning": "swish", "module": nn.PReLU(), "random": nn.RReLU, "formula": WINNER}
    alone = compare(TINY, names, seeds=2)
    shared = compare(TINY, names, seeds=2, workers=2)
    assert [(r.name, r.outcomes) for r in shared.rows] == [(r.name, r.outcomes) for r in alone.rows]


def test_the_number_of_threads_is_given_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        compare(TINY, ["tanh"], seeds=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_rank_prefers_the_steady_to_the_lucky(monkeypatch):
    losses = {"silu": [0.1, 0.9, 0.9], "tanh": [0.3, 0.3, 0.3], "gelu": [0.01, 0.01, math.inf], "relu": [0.4, 0.4, 0.4]}
    told({}, monkeypatch, losses)
    ranked = rank(SEALED, list(losses), range(3))
    assert [r.activation for r in ranked] == ["tanh", "relu", "silu", "gelu"]
    assert [r.validation_loss for r in ranked] == pytest.approx([0.3, 0.4, 1.9 / 3, math.inf])
    assert [o.validation_loss for o in ranked[2].outcomes] == losses["silu"]


def test_rank_never_opens_the_test_part():
    assert [r.outcomes[0].test_accuracy for r in rank(SEALED, ["tanh"], [0])] == [None]


def test_on_digits_the_choice_matters():
    c = compare("digits", {"winner": WINNER}, seeds=3)
    assert isinstance(c, Comparison)
    assert c.row("relu").score.mean < 0.91 < 0.96 < c.row("winner").score.mean
    assert c.row("relu").validation_loss > 0.3 > 0.2 > c.row("winner").validation_loss
    assert c.row("winner").difference.low > 0
    assert c.verdict().startswith("winner beats relu on digits: ")


def test_nothing_heavy_is_imported_before_it_is_needed():
    heavy = ("scipy", "sklearn", "matplotlib", "optuna", "rich")
    code = f"import sys, actune.experiments; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_comparison_prints_as_its_result(monkeypatch):
    told(ACCURACIES, monkeypatch)
    c = compare(TINY, list(ACCURACIES), seeds=4)
    lines = str(c).splitlines()
    assert lines[0] == "tiny, test accuracy over 4 seeds:"
    assert lines[1] == "tanh: 91.5 %"
    assert "relu: 81.8 % (baseline)" in lines
    assert lines[-1] == c.verdict()
