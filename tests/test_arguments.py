"""Arguments of another kind: one line that names the argument and what it was given."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
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


NO_TENSORS = {
    "a list": (lambda: [1.0], "the input must be a tensor, got list; convert it with torch.as_tensor(x)"),
    "a number": (lambda: 1.0, "the input must be a tensor, got float; convert it with torch.as_tensor(x)"),
    "an array": (lambda: np.ones(3), "the input must be a tensor, got ndarray; convert it with torch.as_tensor(x)"),
    "whole numbers": (lambda: torch.ones(2, 3).long(), "needs a floating-point tensor, got torch.int64; convert it with .float()"),
    "float8": (lambda: torch.ones(2, 3).to(torch.float8_e4m3fn), "torch.float8_e4m3fn is a format for storing"),
    "sparse": (lambda: torch.eye(3).to_sparse(), "got layout torch.sparse_coo; convert it with .to_dense()"),
    "sparse rows": (
        lambda: torch.eye(3).to_sparse_csr(),
        "got layout torch.sparse_csr; convert it with .to_dense()",
    ),
    "nested": (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "need layout=torch.jagged, got torch.strided"),
}
FORMS: list[dict[str, Any]] = [{"formula": "relu"}, {"formula": "apalu"}, {"formula": "swish", "scope": "channel", "channels": 3}]


@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype:UserWarning")
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning")
@pytest.mark.parametrize("options", FORMS, ids=["plain", "layer", "channel"])
@pytest.mark.parametrize("kind", NO_TENSORS)
def test_inputs_that_are_no_ordinary_tensors_get_one_line_that_says_what_to_pass(kind: str, options: dict[str, Any]) -> None:
    made, message = NO_TENSORS[kind]
    with pytest.raises(TypeError, match=re.escape(message)) as refused:
        actune.Activation(**options)(made())
    assert "\n" not in str(refused.value)


def test_a_sparse_argument_of_the_mittag_leffler_function_gets_one_line() -> None:
    with pytest.raises(TypeError, match=r"got layout torch\.sparse_coo; convert it with \.to_dense"):
        actune.mittag_leffler(torch.eye(3).to_sparse(), 0.5)


@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype:UserWarning")
def test_jagged_tensors_are_computed() -> None:
    x = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)
    assert torch.equal(actune.Activation("silu")(x).values(), torch.nn.functional.silu(torch.ones(5)))
