"""Biswas et al., "SAU: smooth activation function using convolution with approximate identities" (arXiv:2109.13210)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import nn

from ...experiments.data.drawn import drawn_images
from ...experiments.data.images import cifar10, cifar100
from ...experiments.data.parts import shortened
from ...experiments.models.lenet import lenet5
from ...experiments.models.resnet import resnet_v1, resnet_v2
from ...experiments.models.shufflenet import shufflenet_v2
from ...experiments.recipe import Recipe
from ...experiments.tasks import Task
from ..claims import Better, Claim, Equivalent, Within
from ..declaration import Experiment, FunctionChoice, Paper, Scale, Variant
from ..procedures import train_once
from ..recipes import LAPTOP_IMAGES, LONG_SGD, SMOKE_RECIPE

__all__ = ["SAU"]

_FUNCTIONS: dict[str, FunctionChoice] = {name: name for name in ("relu", "leaky_relu", "sau", "smu", "smu1")}
_SMOOTH: dict[str, FunctionChoice] = {
    "leaky_relu, slope 0.15": Variant("leaky_relu", initial=(("negative_slope", 0.15),)),
    **{f"sau, n = {n}": Variant("sau", learns=(), initial=(("n", float(n)),)) for n in (1, 4, 20, 20_000)},
    "relu": "relu",
}

# ReLU, seed 2000, in 7 epochs: 14.5 % by batches of 64 with crops and flips, 19.3 % by batches of 32 with flips.
_LAPTOP = replace(LAPTOP_IMAGES, epochs=8, batch_size=32, augmentation="flip")

_SHUFFLENET = {
    "smoke": Scale(
        {
            "": Task(
                "shufflenet-drawn",
                "drawn images by ShuffleNet V2 0.5×",
                partial(drawn_images, classes=100),
                partial(shufflenet_v2, size=0.5, classes=100),
                SMOKE_RECIPE,
            )
        },
        seeds=1,
    ),
    "laptop": Scale(
        {
            "": Task(
                "shufflenet-cifar100",
                "9,000 images of CIFAR-100 by ShuffleNet V2 0.5×",
                partial(shortened, cifar100, 9_000, 1_000),
                partial(shufflenet_v2, size=0.5, classes=100),
                _LAPTOP,
                measures=("accuracy", "top-5 accuracy"),
            )
        }
    ),
    "full": Scale(
        {
            "": Task(
                "shufflenet-2-cifar100",
                "CIFAR-100 by ShuffleNet V2 2.0×",
                cifar100,
                partial(shufflenet_v2, size=2.0, classes=100),
                LONG_SGD,
                measures=("accuracy", "top-5 accuracy"),
            )
        }
    ),
}


def _resnet(name: str, what: str, model: Callable[..., nn.Module], depth: int, small: int) -> Experiment:
    """A ResNet of CIFAR's form beside one of ImageNet's form in the paper; too large for a laptop."""
    gain = {"preactresnet-50": 2.95, "resnet-50": 2.50}[name]
    drawn, few = partial(drawn_images, classes=100), partial(model, depth=small, width=4, classes=100)
    return Experiment(
        f"{name}-cifar100",
        f"{what} of {depth} layers in CIFAR's form, where the paper has 50 in ImageNet's, on CIFAR-100",
        _FUNCTIONS,
        "relu",
        {
            "smoke": Scale({"": Task(f"{name}-drawn", f"drawn images by {what}", drawn, few, SMOKE_RECIPE)}, seeds=1),
            "full": Scale({"": Task(name, f"CIFAR-100 by {what}", cifar100, partial(model, depth=depth, classes=100), LONG_SGD)}),
        },
        (
            Claim(
                f"SAU gains {gain:.2f} points with {what} on CIFAR-100", "journal version", "P", Better("sau", ("relu",), by=gain)
            ),
        ),
        train_once,
    )


_SMOOTHNESS = {
    "smoke": Scale(
        {"": Task("smoothness-drawn", "drawn images by LeNet-5", drawn_images, partial(lenet5, colours=3, side=32), SMOKE_RECIPE)},
        seeds=1,
    ),
    "laptop": Scale(
        {
            "": Task(
                "smoothness-cifar10",
                "20,000 images of CIFAR-10 by LeNet-5",
                partial(shortened, cifar10, 20_000, 2_000),
                partial(lenet5, colours=3, side=32),
                Recipe(epochs=10, learning_rate=2e-3, schedule="one cycle", augmentation="flip"),
            )
        },
        seeds=5,
    ),
}

SAU = Paper(
    "sau",
    "SAU: smooth activation function using convolution with approximate identities",
    "2109.13210",
    (
        Experiment(
            "shufflenet-cifar100",
            "ShuffleNet V2 on CIFAR-100",
            _FUNCTIONS,
            "relu",
            _SHUFFLENET,
            (
                Claim(
                    "SAU in place of ReLU gains 5.12 points with ShuffleNet V2 (2.0×) on CIFAR-100",
                    "abstract",
                    "P",
                    Better("sau", ("relu",), by=5.12),
                ),
                Claim("SAU gains 5.63 points there", "journal version", "P", Better("sau", ("relu",), by=5.63)),
                Claim("SMU is better than ReLU there", "arXiv:2111.04682", "M", Better("smu", ("relu",))),
                Claim("SMU-1 is better than ReLU there", "arXiv:2111.04682", "M", Better("smu1", ("relu",))),
                Claim(
                    "ShuffleNet V2 0.5× with ReLU learns 20 % of CIFAR-100 from 10,000 images",
                    "our check of the training",
                    "M",
                    Within("relu", least=20),
                    check=True,
                ),
            ),
            train_once,
        ),
        _resnet("preactresnet-50", "a pre-activation ResNet", resnet_v2, depth=47, small=11),
        _resnet("resnet-50", "a ResNet", resnet_v1, depth=50, small=8),
        Experiment(
            "smoothness",
            "From a smooth unit to Leaky ReLU: LeNet-5 on CIFAR-10",
            _SMOOTH,
            "leaky_relu, slope 0.15",
            _SMOOTHNESS,
            (
                Claim(
                    "At the paper's n = 20000 SAU trains as Leaky ReLU does",
                    "differs by at most 1.7e-5",
                    "R",
                    Equivalent("sau, n = 20000", "leaky_relu, slope 0.15", within=1.0),
                ),
                Claim(
                    "Smoothing helps: a small n is better than Leaky ReLU",
                    "section 1",
                    "P",
                    Better("sau, n = 4", ("leaky_relu, slope 0.15",)),
                ),
            ),
            train_once,
        ),
    ),
)
