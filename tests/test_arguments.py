"""Arguments of another kind: one line that names the argument and what it was given."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
import torch

import actune
from actune import discovery

WRONG = [
    (discovery.best, "study must be an Optuna study"),
    (discovery.leaders, "study must be an Optuna study"),
    (discovery.front, "study must be an Optuna study"),
    (discovery.replay, "study must be an Optuna study"),
    (lambda value: discovery.prove(value, "digits"), "study must be an Optuna study"),
    (lambda value: discovery.confirm(value, "digits"), "study must be an Optuna study"),
    (lambda value: discovery.leaders(optuna.create_study(), value), "n must be a number of functions, from 0 on"),
    (actune.suggest_activation, "trial must be the Optuna trial that your objective is called with"),
    (discovery.function_cost, "an activation must be a name, a formula or a Family"),
    (discovery.screen, "an activation must be a name, a formula or a Family"),
    (actune.resolve, "an activation must be a name, a formula or a Family"),
    (actune.Param, "an initial value must be a number or a tuple of numbers"),
    (lambda value: actune.resolve("swish", beta=value), "an initial value must be a number or a tuple of numbers"),
    (lambda value: actune.compare(value, ["relu"]), "a task must be a Task or the name of one"),
    (lambda value: actune.compare("digits", value), "names must be a list of functions"),
    (lambda value: actune.compare("digits", [value]), "an activation must be a name, a formula or a Family"),
    (lambda value: actune.search(value, trials=1), "task must be the name of a task, a Task or an objective"),
    (lambda value: actune.save(value, "relu"), "path must be the name of a file"),
    (actune.load, "path must be the name of a file"),
    (lambda value: actune.swap(value, "gelu"), "model must be a torch.nn.Module"),
    (lambda value: actune.parameter_groups(value, 0.1), "model must be a torch.nn.Module"),
    (lambda value: actune.restore(torch.nn.ReLU(), value), "report must be what swap returned"),
]


@pytest.mark.parametrize("value", [None, {1, 2}])
@pytest.mark.parametrize(("call", "message"), WRONG)
def test_what_is_of_another_kind_is_refused_in_one_line(call: Any, message: str, value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=f"^{message}.*, got ") as refused:
        call(value)
    assert "\n" not in str(refused.value)
