"""A small paper of our own, whose runs take no time: what the tests of reproducing and of evidence carry out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from actune.experiments.data.parts import Part, Split
from actune.experiments.models.small import mlp
from actune.experiments.recipe import Recipe
from actune.experiments.tasks import Task
from actune.papers.claims import Better, Claim, Within
from actune.papers.declaration import Experiment, FunctionChoice, Paper, Scale


def split() -> Split:
    parts = (Part(torch.zeros(4, 2), torch.zeros(4, 1)) for _ in range(3))
    return Split(*parts)


def network(activation: Any) -> torch.nn.Module:
    return mlp(activation, inputs=2, outputs=1, width=2, layers=2)


def absent() -> Split:
    raise FileNotFoundError("ACTUNE_DATA is not set")


def measured(task: Task, choice: FunctionChoice, seed: int, device: str, place: Any, *, gain: float = 1.0) -> dict[str, Any]:
    """The loss that a training would give: gelu has a smaller one, and tanh gives none."""
    if choice == "tanh":
        raise ArithmeticError("tanh is broken")
    return {"scores": {"loss": seed % 100 / 100 + (1.0 if choice == "relu" else 1 - gain), "seconds": 0.1}}


def part(name: str, data: Any = split) -> Task:
    return Task(f"little-{name}", name, data, network, Recipe(1), loss="mse", measures=("loss",))


BETTER = Claim("gelu is better", "abstract", "P", Better("gelu", ("relu",), by=1.0))
ON_A = Claim("gelu has a small loss on a", "Table 1", "P", Within("gelu", most=0.5), part="a")
TWO_PARTS = {"a": part("a"), "b": part("b")}


def scales(parts: Mapping[str, Task], seeds: int = 2) -> dict[str, Scale]:
    """These parts at two scales, of which the larger one decides."""
    return {"smoke": Scale(parts, seeds=1), "laptop": Scale(parts, seeds=seeds)}


def experiment(name: str = "one", **changes: Any) -> Experiment:
    """Two functions on two parts: 4 smoke runs, 8 of the laptop."""
    given: dict[str, Any] = {
        "functions": {"relu": "relu", "gelu": "gelu"},
        "baseline": "relu",
        "scales": {"smoke": Scale(TWO_PARTS, seeds=1), "laptop": Scale(TWO_PARTS, seeds=2), "full": Scale(TWO_PARTS, seeds=3)},
        "claims": (BETTER, ON_A),
        "procedure": measured,
    }
    return Experiment(name, "what is compared", **given | changes)


def paper(*experiments: Experiment) -> Paper:
    return Paper("little", "A little paper", "0000.00000", experiments or (experiment(),))
