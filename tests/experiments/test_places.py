"""Functions by place: a network says what each activation is for, and gets what was chosen for that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from quadrants import TINY
from torch import Tensor, nn

import actune
from actune.experiments import Recipe, Task, compare, rank, train, train_together
from actune.experiments.models.factory import ActivationFactory
from actune.experiments.models.small import all_convolutional, causal, mlp, strided
from actune.experiments.training.networks import network_builder
from actune.experiments.training.together import is_stackable


class Gated(nn.Module):
    """A layer that is gated by another one, and a hidden one after it."""

    def __init__(self, activation: ActivationFactory, width: int = 6):
        super().__init__()
        self.value, self.control = nn.Linear(2, width), nn.Linear(2, width)
        self.cell, self.gate = activation(width, place="cell"), activation(width, place="gate")
        self.below, self.hidden, self.out = nn.Linear(width, width), activation(width), nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.hidden(self.below(self.cell(self.value(x)) * self.gate(self.control(x)))))


GATED = Task("gated", "four quadrants", TINY.data, Gated, Recipe(epochs=3, batch_size=16))
FIXED = replace(GATED, fixed={"gate": "sigmoid"})


def functions(t: Task, choice) -> dict[str, str]:
    model = network_builder(t, choice)()
    return {place: str(getattr(model, place).family) for place in ("cell", "gate", "hidden")}


@pytest.mark.parametrize(
    ("t", "choice", "found"),
    [
        (GATED, "tanh", "tanh tanh tanh"),
        (GATED, {"gate": "sigmoid", "default": "tanh"}, "tanh sigmoid tanh"),
        (GATED, {"gate": "sigmoid", "cell": "tanh", "hidden": "relu"}, "tanh sigmoid relu"),
        (FIXED, "tanh", "tanh sigmoid tanh"),
        (FIXED, {"gate": "hardsigmoid", "default": "tanh"}, "tanh hardsigmoid tanh"),  # what is said comes before the task
        (FIXED, {"cell": "relu", "hidden": "tanh"}, "relu sigmoid tanh"),
    ],
)
def test_each_place_has_its_function(t, choice, found):
    assert list(functions(t, choice).values()) == found.split()


@pytest.mark.parametrize(
    ("model", "places"),
    [
        (lambda a: mlp(a, inputs=2, outputs=2), {"hidden"}),
        (lambda a: strided(a, side=8, widths=(4,), outputs=2), {"hidden"}),
        (lambda a: all_convolutional(a, widths=(4,), outputs=2), {"hidden"}),
        (lambda a: causal(a, symbols=9, width=4), {"hidden"}),
        (Gated, {"cell", "gate", "hidden"}),
    ],
)
def test_the_networks_that_ship_have_hidden_places(model, places):
    t = replace(GATED, model=model)
    network_builder(t, dict.fromkeys(places, "relu"))()  # all have one, and no other is asked for
    with pytest.raises(ValueError, match=r"has no place 'gates?t'.* \(it has .*hidden\)"):
        network_builder(t, {"gatest": "relu", "default": "relu"})()


def test_a_network_with_functions_by_place_is_the_one_written_by_hand():
    torch.manual_seed(0)
    model = network_builder(GATED, {"gate": "sigmoid", "cell": "tanh", "default": "relu"})()
    x = torch.randn(5, 2)
    inside = model.below(torch.tanh(model.value(x)) * torch.sigmoid(model.control(x)))
    torch.testing.assert_close(model(x), model.out(torch.relu(inside)))


def test_a_training_takes_functions_by_place():
    choice = {"gate": "sigmoid", "default": "swish"}
    outcome = train(GATED, choice, 0, course=True, test=True)
    assert {name.partition(".")[0] for name in outcome.course} == {"cell", "hidden"}
    assert outcome == train(GATED, {"cell": "swish", "hidden": "swish", "gate": nn.Sigmoid}, 0, course=True, test=True)
    assert outcome == train(FIXED, "swish", 0, course=True, test=True)
    assert outcome.history != train(GATED, "swish", 0).history
    assert train_together(GATED, [choice, "swish"], [0, 0], course=True, test=True)[0] == outcome


def test_perceptrons_are_stacked_with_functions_by_place_too():
    assert is_stackable(TINY, {"hidden": "swish"})
    assert is_stackable(TINY, {"default": "swish"})
    assert is_stackable(replace(TINY, fixed={"hidden": "swish"}), "relu")
    a, b = train_together(TINY, [{"hidden": "swish"}, "swish"], [1, 1])
    assert a == b
    assert not is_stackable(TINY, {"gate": "relu"})
    with pytest.raises(ValueError, match="no function for the place 'hidden'"):
        train_together(TINY, [{"gate": "relu"}], [0])


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"gat": "sigmoid", "default": "tanh"}, r"'gated' has no place 'gat'; did you mean 'gate'\? \(it has cell, gate, hidden\)"),
        (
            {"gate": "sigmoid", "cell": "tanh"},
            r"no function for the place 'hidden' in the network of the task 'gated'; name one, or",
        ),
        ({"gate": "sigmod", "default": "tanh"}, "did you mean 'sigmoid'"),
        ({}, "no function for the place 'cell'"),
    ],
)
def test_wrong_places_are_refused_in_one_line_before_any_training(choice, message):
    for refused in (lambda: train(GATED, choice, 0), lambda: compare(GATED, ["relu", choice]), lambda: rank(GATED, [choice], [0])):
        with pytest.raises(ValueError, match=message) as caught:
            refused()
        assert "\n" not in str(caught.value)


def test_a_comparison_names_functions_by_place():
    choice = {"gate": "sigmoid", "default": "tanh"}
    c = compare(GATED, ["tanh", choice], seeds=2)
    row = c.row("gate: sigmoid, default: tanh")
    assert row.formula == f"gate: {actune.family('sigmoid').text}, default: {actune.family('tanh').text}"
    assert row.outcomes[0] == train(GATED, choice, 1000, test=True)
    assert json.loads(json.dumps(c.to_json()))["baseline"] == "relu"
    named = compare(GATED, {"gates": choice}, seeds=2, baseline={"gate": "sigmoid", "default": "relu"})
    assert {r.name for r in named.rows} == {"gates", "gate: sigmoid, default: relu"}
    assert named.row("gates").outcomes == row.outcomes


def test_a_choice_may_be_any_mapping():
    class Frozen(Mapping):
        def __getitem__(self, place):
            return {"default": "tanh"}[place]

        def __iter__(self):
            return iter(("default",))

        def __len__(self):
            return 1

    assert train(GATED, Frozen(), 0) == train(GATED, "tanh", 0)


def test_a_search_keeps_fixed_places():
    study = actune.search(FIXED, trials=3, seed=1)
    trial = next(t for t in study.trials if t.values)
    f = trial.user_attrs["activation:activation"]
    from actune.discovery.study.seeds import training_seed

    assert trial.value == train(FIXED, f, training_seed(study)).validation_loss
    assert trial.value != train(GATED, f, training_seed(study)).validation_loss
