"""Vitvitskyi et al., "Mining generalizable activation functions" (arXiv:2602.05688): a search of others, and our opponents."""

from __future__ import annotations

from functools import partial

from ...experiments.data.synthetic import OUTPUTS, VARIABLES, feynman, harmonic, polynomial
from ...experiments.models.small import mlp
from ...experiments.recipe import Recipe
from ...experiments.tasks import Task
from ..claims import Better, Claim
from ..declaration import Experiment, FunctionChoice, Paper, Scale
from ..procedures import train_once

__all__ = ["MINING"]

_FUNCTIONS: dict[str, FunctionChoice] = {name: name for name in ("relu", "gelu", "gelu_sine", "gelu_sinc", "gmtu")}


def _tasks(epochs: int) -> dict[str, Task]:
    """Three kinds of functions that are drawn for each seed, trained inside a range and judged outside it."""
    kinds = {"polynomial": (polynomial, 2), "harmonic": (harmonic, 1), "feynman": (feynman, VARIABLES)}
    return {
        name: Task(
            f"beyond-{name}",
            f"{name} outside the trained range",
            data,
            partial(mlp, inputs=inputs, outputs=OUTPUTS, width=64, layers=4),
            Recipe(epochs),
            loss="mse",
            measures=("loss", "RMSE"),
            drawn=True,
        )
        for name, (data, inputs) in kinds.items()
    }


MINING = Paper(
    "mining",
    "Mining generalizable activation functions",
    "2602.05688",
    (
        Experiment(
            "out-of-range",
            "Loss outside the training range, the mean over polynomials, harmonics and Feynman's equations",
            _FUNCTIONS,
            "relu",
            {
                "smoke": Scale({"harmonic": _tasks(2)["harmonic"]}, seeds=1),
                "laptop": Scale(_tasks(200), seeds=10),
                "full": Scale(_tasks(2000), seeds=50),
            },
            (
                Claim(
                    "GELUSine continues functions better than ReLU and GELU",
                    "a review of the paper",
                    "M",
                    Better("gelu_sine", ("relu", "gelu")),
                    published={"relu": 93.1, "gelu": 78.8, "gelu_sine": 54.7},
                ),
                Claim(
                    "GELU-Sinc-Perturbation continues functions better than ReLU and GELU",
                    "a review of the paper",
                    "M",
                    Better("gelu_sinc", ("relu", "gelu")),
                    published={"relu": 93.1, "gelu": 78.8, "gelu_sinc": 68.7},
                ),
                Claim(
                    "GELUSine is better than GELU-Sinc-Perturbation",
                    "a review of the paper",
                    "M",
                    Better("gelu_sine", ("gelu_sinc",)),
                    published={"gelu_sinc": 68.7, "gelu_sine": 54.7},
                ),
            ),
            train_once,
        ),
    ),
)
