"""The Fisher information at initialisation against its definition, and what a study does with it."""

from __future__ import annotations

import dataclasses
import json
import pickle
import random
from functools import partial

import numpy as np
import optuna
import pytest
import torch
from torch import nn

from actune.catalogue.registry import resolve
from actune.discovery import Fisher, Settings, replay, search, suggest_activation
from actune.discovery.proposers import fisher
from actune.discovery.study.seeds import training_seed
from actune.experiments.data.parts import Part, Split
from actune.experiments.losses import LOSSES
from actune.experiments.models.small import all_convolutional, causal, mlp, strided
from actune.experiments.recipe import Recipe
from actune.experiments.tasks import TASKS, Task, task
from actune.experiments.training.loop import train

KEY = "activation:activation"
TINY = dataclasses.replace(
    task("digits"), name="tiny", recipe=Recipe(epochs=1), model=partial(mlp, inputs=64, outputs=10, layers=2)
)
FEW = Settings((("surrogate", 0.8), ("random", 0.2)), start=4, batch=6, shortlist=3)


# -- against the definition ------------------------------------------------------------------------------------------------


def blocks(model, inputs, classes):
    """The eigenvalues of each layer's Fisher information, in expectation over labels: Jᵀ M J, M that of the outputs."""
    found = {}
    for name, layer in model.named_modules():
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            continue
        own = {f"{name}.{k}".lstrip("."): v.detach() for k, v in layer.named_parameters()}
        total = 0.0
        for x in inputs:
            run = lambda p, x=x: torch.func.functional_call(model, p, (x[None],)).flatten()  # noqa: E731
            jacobian = torch.func.jacrev(run)(own)
            j = torch.cat([d.flatten(1).detach() for d in jacobian.values()], -1)
            metric = torch.eye(len(j))
            if classes:
                p = run(own).detach().softmax(-1)
                metric = p.diag() - torch.outer(p, p)
            total = total + j.T @ metric @ j / len(inputs)
        found[name] = np.sort(torch.linalg.eigvalsh(total.double()).numpy())[::-1]
    return found


def places(*layers):
    """A network of these whose outputs are numbers, all in a row."""
    return nn.Sequential(*layers, nn.Flatten())


# What Kronecker factors say exactly: one input with labels drawn again and again; or linear networks of one layer at a time.
EXACT = {
    "classes": ("cross_entropy", lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), (1, 4)),
    "classes, no bias": (
        "cross_entropy",
        lambda: nn.Sequential(nn.Linear(4, 3, bias=False), nn.Softplus(), nn.Linear(3, 4)),
        (1, 4),
    ),
    "a convolution with one place": (
        "cross_entropy",
        lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(3, 4)),
        (1, 2, 3, 3),
    ),
    "numbers": ("mse", lambda: nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3)), (7, 4)),
    "a sequence": ("mse", lambda: places(nn.Linear(4, 2)), (7, 5, 4)),
    "convolution": ("mse", lambda: places(nn.Conv2d(2, 3, 3, bias=False)), (5, 2, 5, 5)),
    "stride and padding": ("mse", lambda: places(nn.Conv2d(2, 2, 3, stride=2, padding=1)), (5, 2, 5, 5)),
    "dilation": ("mse", lambda: places(nn.Conv2d(1, 2, (2, 3), dilation=(1, 2), padding=(0, 1))), (5, 1, 6, 6)),
    "around": ("mse", lambda: places(nn.Conv2d(1, 2, 3, padding="same", padding_mode="circular")), (5, 1, 4, 4)),
    "groups": ("mse", lambda: places(nn.Conv2d(4, 6, 2, groups=2)), (5, 4, 3, 3)),
}


@pytest.mark.parametrize("case", EXACT)
def test_the_spectrum_is_that_of_the_fisher_information(case):
    loss, build, shape = EXACT[case]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model, inputs = build(), torch.randn(shape) + 0.3
        found = fisher.kfac(model, inputs.repeat(20_000 // len(inputs), *[1] * (len(shape) - 1)), LOSSES[loss])
    expected = blocks(model, inputs, LOSSES[loss].classes)
    assert [layer.name for layer in found] == list(expected)
    for layer in found:
        own, true = np.sort(layer.eigenvalues())[::-1], expected[layer.name]
        size = min(len(own), len(true))
        assert own[:size] == pytest.approx(true[:size], rel=0.1, abs=0.01 * true[0])
        assert own.sum() == pytest.approx(true.sum(), rel=0.03)
        assert true[size:] == pytest.approx(0, abs=1e-5 * true[0])


@pytest.mark.parametrize("count", [3, 40])
def test_inputs_are_counted_with_a_one_for_the_bias(count):
    """Also with fewer inputs than the layer is wide, where the smaller of two products has the spectrum."""
    x = torch.randn(count, 10, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng():
        (layer,) = fisher.kfac(nn.Linear(10, 2), x, LOSSES["mse"])
    a = np.concatenate([x.numpy().astype(float), np.ones((count, 1))], 1)
    assert layer.inputs.shape == (1, min(count, 11))
    assert layer.inputs[0] == pytest.approx(np.sort(np.linalg.eigvalsh(a.T @ a / count))[::-1][: min(count, 11)], abs=1e-5)


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.predicts])
def test_what_a_loss_predicts_is_what_it_is_the_likelihood_of(name):
    loss, generator = LOSSES[name], torch.Generator().manual_seed(0)
    outputs = torch.randn(6, 5, generator=generator).requires_grad_()
    targets = torch.tensor([0, 1, 2, 3, 4, 0]) if loss.classes else torch.randn(6, 5, generator=generator)
    (one,) = torch.autograd.grad(loss.function(outputs, targets), outputs)
    (other,) = torch.autograd.grad(-loss.predicts(outputs).log_prob(targets).sum(), outputs)
    assert float(torch.cosine_similarity(one.flatten(), other.flatten(), 0)) == pytest.approx(1)


# -- of a task -------------------------------------------------------------------------------------------------------------


def drawn(shape, symbols=None, outputs=None):
    """Random data of a shape, split as those of a task."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(symbols or 256, (48, *shape), generator=generator, dtype=torch.long if symbols else torch.uint8)
    part = Part(inputs, inputs if symbols else torch.randint(outputs, (48,), generator=generator))
    return Split(part, part, part)


NETWORKS = {
    "digits": (task("digits"), 8),
    "ood-harmonic": (task("ood-harmonic"), 4),
    "strided": (Task("grey", "", partial(drawn, (1, 16, 16), outputs=4),
                     partial(strided, side=16, widths=(4, 5), outputs=4, hidden=6), recipe=Recipe(epochs=1)), 4),
    "all_convolutional": (Task("colour", "", partial(drawn, (3, 8, 8), outputs=4),
                               partial(all_convolutional, widths=(4,), outputs=4), recipe=Recipe(epochs=1)), 3),
    "causal": (Task("text", "", partial(drawn, (12,), symbols=9), partial(causal, symbols=9, width=8, distances=(1, 2)),
                    Recipe(epochs=1), loss="next_character"), 3),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_network_is_told_in_a_few_numbers(name):
    where, layers = NETWORKS[name]
    state = torch.get_rng_state()
    found = Fisher(where)(resolve("a*tanh(b*x); a=1, b=1"))
    assert torch.equal(state, torch.get_rng_state())
    assert len(found) == 6 * layers
    assert np.isfinite(found).all()
    quantiles = np.array(found).reshape(-1, 3)
    assert (np.diff(quantiles, axis=1) >= 0).all()
    assert Fisher(where)(resolve("x")) != found
    assert Fisher(where, seed=1)(resolve("a*tanh(b*x); a=1, b=1")) != found


def test_a_probe_is_a_value():
    """Equal, and computed once, wherever it is and whoever draws meanwhile."""
    f, one = resolve("x*sigmoid(x)"), Fisher(task("digits"), 3, 16)
    found = one(f)
    fisher._probe_numbers.cache_clear()
    torch.rand(7)
    with torch.no_grad():
        assert one(f) == found
    assert Fisher(task("digits"), 3, 16)(resolve("x*sigmoid(x)")) == found
    assert (fisher._probe_numbers.cache_info().misses, fisher._probe_numbers.cache_info().hits) == (1, 1)
    assert pickle.loads(pickle.dumps(one))(f) == found
    assert Fisher(task("digits"), 3, 17)(f) != found


def test_a_training_is_the_same_after_a_probe():
    before = train(TINY, "a*sin(x) + x; a=1", 0)
    Fisher(TINY)(resolve("a*sin(x) + x; a=1"))
    assert train(TINY, "a*sin(x) + x; a=1", 0) == before


def test_what_explodes_is_none_and_what_is_dead_is_not():
    probe = Fisher(task("digits"))
    assert probe(resolve("exp(exp(x)) + x^3")) is None
    dead = probe(resolve("relu(x - 1e3)"))
    assert np.isfinite(dead).all()
    assert min(dead) == pytest.approx(-np.arcsinh(60), abs=1e-3)


def test_a_network_without_layers_is_refused():
    flat = dataclasses.replace(TINY, name="flat", model=lambda activation: nn.Sequential(activation(64)))
    with pytest.raises(ValueError, match="the task 'flat' has no Linear or Conv2d layer to probe"):
        Fisher(flat)(resolve("tanh"))


# -- in a study ------------------------------------------------------------------------------------------------------------


def origins(study):
    return [t.user_attrs[f"{KEY}:origin"] for t in study.trials]


def test_a_search_records_what_it_probed_of_every_candidate_and_replays(monkeypatch):
    study = optuna.create_study()
    study.enqueue_trial({}, user_attrs={KEY: "tanh(x)"})
    search(TINY, trials=14, study=study, method="fisher", settings=FEW)
    probe = Fisher(TINY, training_seed(study))
    for t, origin in zip(study.trials, origins(study), strict=True):
        found = probe(resolve(t.user_attrs[KEY]))
        assert origin["probed"] == (None if found is None else list(found))
        assert len(json.dumps(origin["probed"])) < 1000
    assert {o.get("proposer") for o in origins(study)} == {None, "surrogate", "random"}
    assert replay(study) == replay(study, probe=probe) == {}
    other = replay(study, probe=lambda f: [-v for v in probe(f) or [0.0] * 12])
    assert set(other) <= {f"{n}:activation" for n, o in enumerate(origins(study)) if o.get("proposer") == "surrogate"}
    assert other
    monkeypatch.setitem(TASKS, "tiny", TINY)  # a task that ships is probed again
    fisher._probe_numbers.cache_clear()
    assert replay(study) == {}
    assert fisher._probe_numbers.cache_info().misses > 0


def test_replay_reads_again_what_needs_a_probe_that_it_has_not():
    study = search(TINY, trials=12, method="fisher", settings=FEW, seed=1)
    late = next(n for n, o in enumerate(origins(study)) if n >= 4 and o["proposer"] == "surrogate")
    study._storage._studies[study._study_id].trials[late].user_attrs[KEY] = "cos(7*x)"
    assert set(replay(study)) >= {f"{late}:activation"}
    assert replay(study)[f"{late}:activation"] == "'cos(7*x)' is not what 'surrogate' proposed"


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"method": "fisher", "without": ("fisher",)},
        {"method": "fisher", "without": ("surrogate",)},
        {"method": "fisher", "settings": Settings(shortlist=0)},
    ],
)
def test_nobody_is_probed_where_that_is_of_no_use(how, monkeypatch):
    monkeypatch.setattr(Fisher, "__call__", lambda *args: pytest.fail("probed"))
    monkeypatch.setitem(TASKS, "tiny", TINY)
    study = search(TINY, trials=14, **how)
    assert not any("probed" in o for o in origins(study))
    assert replay(study) == {}


def test_a_users_own_probe_joins_an_objective():
    asked = []

    def slope_at_zero(f):
        asked.append(f.text)
        return [float(f.expr.size())]

    study = optuna.create_study()
    study.optimize(lambda t: float(suggest_activation(t, settings=FEW, probe=slope_at_zero).expr.size()), n_trials=16)
    assert [o["probed"] for o in origins(study)] == [[float(resolve(t.user_attrs[KEY]).expr.size())] for t in study.trials]
    assert replay(study) == replay(study, probe=slope_at_zero) == {}
    study.optimize(lambda t: float(bool(suggest_activation(t, settings=FEW))), n_trials=3)
    assert not any("probed" in o for o in origins(study)[16:])
    assert replay(study) == {}


def test_a_probe_keeps_the_draws_of_the_others():
    """What is not the surrogate's is the same with a probe and without."""
    found = []
    for probe in (None, Fisher(TINY)):
        study = optuna.create_study()
        rng = random.Random(0)
        study.optimize(lambda t, p=probe, r=rng: suggest_activation(t, settings=FEW, probe=p) and r.random(), n_trials=5)
        found.append([t.user_attrs[KEY] for t in study.trials])
    assert found[0][:4] == found[1][:4]


def test_networks_that_work_in_place_have_the_same_spectra():
    linear = [nn.Linear(5, 4), nn.Linear(4, 3)]
    inputs, loss = torch.randn(16, 5), LOSSES["mse"]
    found = []
    for inplace in (False, True):
        torch.manual_seed(3)
        found.append(fisher.kfac(nn.Sequential(linear[0], nn.ReLU(inplace=inplace), linear[1]), inputs, loss))
    for a, b in zip(*found, strict=True):
        for x, y in zip((a.inputs, a.outputs), (b.inputs, b.outputs), strict=True):
            assert np.array_equal(x, y)
