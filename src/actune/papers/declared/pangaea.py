"""Bingham and Miikkulainen, "Discovering parametric activation functions" (arXiv:2006.03179)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from ...experiments.data.drawn import drawn_images
from ...experiments.data.images import cifar10, cifar100
from ...experiments.data.parts import shortened
from ...experiments.models.all_cnn import all_cnn_c
from ...experiments.models.resnet import resnet_v1, resnet_v2, wide_resnet
from ...experiments.models.small import all_convolutional
from ...experiments.recipe import Recipe
from ...experiments.tasks import Task
from ..claims import Better, Claim
from ..declaration import Experiment, FunctionChoice, Paper, Scale, Variant
from ..procedures import search_and_train, train_once
from ..recipes import LAPTOP_IMAGES, LONG_SGD, SMOKE_RECIPE

__all__ = ["PANGAEA"]

# The functions that the paper reports, each for the network on which it was found; two more were found to be general.
_REPORTED: dict[str, FunctionChoice] = {
    name: f"pangaea_{name}" for name in ("gated_asinh", "line_log_sigmoid", "softplus_elu", "min_log_sigmoid", "selu_swish")
}
_FUNCTIONS: dict[str, FunctionChoice] = {"relu": "relu", "silu": "silu", **_REPORTED}

# 200 epochs, as the evaluation of the paper; rates as the networks' own papers have them.
_FULL = replace(LONG_SGD, schedule="steps", schedule_options={"at": (0.3, 0.6, 0.8), "factor": 0.2})

_NETWORKS: dict[str, Any] = {
    "wrn-10-4": wide_resnet,
    "resnet-v1-56": resnet_v1,
    "resnet-v2-56": resnet_v2,
    "all-cnn-c": all_cnn_c,
}
_SMALL: dict[str, Any] = {
    "wrn-10-4": partial(wide_resnet, widening=1),
    "resnet-v1-56": partial(resnet_v1, depth=14, width=8),
    "resnet-v2-56": partial(resnet_v2, depth=11, width=8),
    "all-cnn-c": partial(all_cnn_c, width=24, normalised=True, dropout=(0.0, 0.0)),
}


def _networks(data: str, classes: int) -> dict[str, Scale]:
    """The four networks of the paper on a data set; at laptop scale narrower and shallower, on some of the images."""
    source = {"cifar10": cifar10, "cifar100": cifar100}[data]
    some = partial(shortened, source, 5_000, 1_000)
    drawn = partial(drawn_images, classes=classes)
    scales = {}
    for scale, models, images, recipe, seeds in (
        ("smoke", _SMALL, drawn, SMOKE_RECIPE, 1),
        ("laptop", _SMALL, some, LAPTOP_IMAGES, 3),
        ("full", _NETWORKS, source, _FULL, 10),
    ):
        tasks = {
            name: Task(f"{scale}-{name}-{data}", f"{data} by {name}", images, partial(model, classes=classes), recipe)
            for name, model in models.items()
        }
        scales[scale] = Scale(tasks, seeds=seeds)
    return scales


def _special(network: str, function: str, own: float, relu: float, formula: str) -> Claim:
    return Claim(
        f"{formula} on {network}, on which it was found, is better than ReLU",
        "CIFAR-100",
        "M",
        Better(function, ("relu",), by=round(own - relu, 2)),
        part=network,
        published={function: own, "relu": relu},
    )


_SEARCHED = Task(
    "search-cifar10",
    "5,000 images of CIFAR-10 by a small All-CNN",
    partial(shortened, cifar10, 5_000, 1_000),
    partial(all_convolutional, widths=(16, 32), outputs=10),
    Recipe(epochs=4),
)
_SEARCHED_DRAWN = Task(
    "search-drawn",
    "drawn images by a small All-CNN",
    drawn_images,
    partial(all_convolutional, widths=(8, 8), outputs=10),
    SMOKE_RECIPE,
)
_METHODS = {"pangaea, as published": "pangaea", "our search": "better"}


_SCOPES: dict[str, FunctionChoice] = {
    "for each channel": Variant("pangaea_gated_asinh", scope="channel"),
    "for each layer": Variant("pangaea_gated_asinh", scope="layer"),
    "fixed": Variant("pangaea_gated_asinh", learns=()),
    "relu": "relu",
}
_SCOPE_SCALES = {
    scale: Scale({"": next(iter(found.parts.values()))}, seeds=found.seeds) for scale, found in _networks("cifar100", 100).items()
}

PANGAEA = Paper(
    "pangaea",
    "Discovering parametric activation functions",
    "2006.03179",
    (
        Experiment(
            "search",
            "The search as published and ours, their winners trained again on fresh seeds",
            {"relu": "relu", **{name: name for name in _METHODS}},
            "relu",
            {
                "smoke": Scale({"": _SEARCHED_DRAWN}, seeds=1, arguments={"trials": 4}),
                "laptop": Scale({"": _SEARCHED}, arguments={"trials": 30}),
                "full": Scale(
                    {
                        "": Task(
                            "search-wrn-cifar100",
                            "CIFAR-100 by WRN-10-4",
                            cifar100,
                            partial(wide_resnet, classes=100),
                            replace(_FULL, epochs=100),
                        )
                    },
                    arguments={"trials": 1000},
                ),
            },
            (
                Claim(
                    "The search finds a function that is better than ReLU",
                    "abstract",
                    "P",
                    Better("pangaea, as published", ("relu",)),
                ),
                Claim(
                    "Our search finds one that is better than ReLU",
                    "our check of the search",
                    "M",
                    Better("our search", ("relu",)),
                    check=True,
                ),
            ),
            partial(search_and_train, methods=_METHODS),
        ),
        Experiment(
            "networks-cifar100",
            "The reported functions on the four networks, CIFAR-100",
            _FUNCTIONS,
            "relu",
            _networks("cifar100", 100),
            (
                _special("wrn-10-4", "gated_asinh", 73.2, 71.5, "logσ(αx)·β·arcsinh(x)"),
                _special("resnet-v1-56", "line_log_sigmoid", 71.0, 69.6, "αx − β·logσ(γx)"),
                _special("resnet-v2-56", "softplus_elu", 77.1, 75.7, "Softplus(ELU(x))"),
                Claim(
                    "On its own network a specialised function is better than one found for another",
                    "section 5",
                    "P",
                    Better("gated_asinh", ("line_log_sigmoid", "softplus_elu")),
                    part="wrn-10-4",
                ),
                Claim(
                    "A function can be general: the best ones beat ReLU over all four networks",
                    "section 5",
                    "P",
                    Better("line_log_sigmoid", ("relu",)),
                ),
            ),
            train_once,
        ),
        Experiment(
            "networks-cifar10",
            "The reported functions on the four networks, CIFAR-10",
            _FUNCTIONS,
            "relu",
            _networks("cifar10", 10),
            (
                Claim(
                    "Functions that were found for CIFAR-100 transfer to CIFAR-10",
                    "section 5",
                    "M",
                    Better("line_log_sigmoid", ("relu",)),
                ),
            ),
            train_once,
        ),
        Experiment(
            "parameters",
            "Parameters for each channel, for each layer, and fixed; how they move over the training",
            _SCOPES,
            "relu",
            _SCOPE_SCALES,
            (
                Claim("Parameters that learn are better than fixed ones", "section 5", "P", Better("for each channel", ("fixed",))),
                Claim(
                    "Parameters for each channel are better than for each layer",
                    "section 5",
                    "M",
                    Better("for each channel", ("for each layer",)),
                ),
            ),
            partial(train_once, course=True),
            plots=("functions", "course"),
        ),
    ),
)
