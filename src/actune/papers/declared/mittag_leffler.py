"""Mostafanejad, "Unification of popular artificial neural network activation functions" (arXiv:2302.11007)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import nn

from ...experiments.data.drawn import drawn_images
from ...experiments.data.images import cifar10, idx_images
from ...experiments.data.parts import shortened
from ...experiments.models.lenet import lenet5
from ...experiments.recipe import Recipe
from ...experiments.tasks import Task
from ..claims import Better, Claim, Equivalent, NotWorse, Within
from ..declaration import Experiment, FunctionChoice, Paper, Scale, Variant
from ..procedures import race, train_once
from ..recipes import SMOKE_RECIPE

__all__ = ["UNIFICATION"]

_BUILT_IN: dict[str, FunctionChoice] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "swish": nn.SiLU,
    "mish": nn.Mish,
    "softsign": nn.Softsign,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "elu": nn.ELU,
}
_GATED: dict[str, FunctionChoice] = {f"gated {name}": Variant(f"ml_{name}", learns=()) for name in _BUILT_IN}
# α moves only in the form of tanh: with α1 = 0, as in those of sigmoid and its kind, it is a boundary and no limit.
_ADAPTIVE: dict[str, FunctionChoice] = {
    "adaptive tanh": Variant("ml_tanh", learns=("beta2",)),
    "adaptive tanh, α too": Variant("ml_tanh", learns=("alpha2", "beta2")),
    "adaptive mish": Variant("ml_mish", learns=("beta2",)),
    "adaptive swish": Variant("ml_swish", learns=("beta2",)),
}
_BEGINNINGS: dict[str, FunctionChoice] = {name: _BUILT_IN[name] for name in ("tanh", "mish", "swish")}


def _member(name: str) -> str:
    """The built-in function that a gated or an adaptive one begins as."""
    return name.split(",")[0].split()[-1]


_LAPTOP = Recipe(epochs=4, batch_size=64, learning_rate=3e-3, schedule="one cycle")
_FULL = Recipe(epochs=50, batch_size=128, learning_rate=1e-3)
_MNIST = Task(
    "lenet5-mnist",
    "all digits of MNIST by LeNet-5",
    partial(idx_images, "mnist", images=60_000),
    lenet5,
    _LAPTOP,
    measures=("accuracy", "macro F1"),
    scope="layer",
)
_CIFAR10 = Task(
    "lenet5-cifar10",
    "all of CIFAR-10 by LeNet-5",
    cifar10,
    partial(lenet5, colours=3, side=32),
    Recipe(epochs=12, batch_size=64, learning_rate=3e-3, schedule="one cycle", augmentation="flip"),
    measures=("accuracy", "macro F1"),
    scope="layer",
)
_GREY = Task(
    "lenet5-drawn",
    "drawn images by LeNet-5",
    partial(drawn_images, 1, 28),
    lenet5,
    SMOKE_RECIPE,
    measures=("accuracy", "macro F1"),
    scope="layer",
)
_COLOUR = Task(
    "lenet5-drawn-colour",
    "drawn images by LeNet-5",
    drawn_images,
    partial(lenet5, colours=3, side=32),
    SMOKE_RECIPE,
    measures=("accuracy", "macro F1"),
    scope="layer",
)


def _scales(smoke: Task, real: Task) -> dict[str, Scale]:
    return {
        "smoke": Scale({"": smoke}, seeds=1),
        "laptop": Scale({"": real}),
        "full": Scale({"": replace(real, recipe=_FULL)}, seeds=5),
    }


# Where α learns too, tables are made anew at each step, which then takes three to six times as long.
_ADAPTIVE_SCALES = {
    "smoke": Scale({"mnist": _GREY, "cifar10": _COLOUR}, seeds=1),
    "laptop": Scale(
        {
            "mnist": replace(
                _MNIST,
                name="lenet5-mnist-short",
                summary="12,000 digits of MNIST by LeNet-5",
                data=partial(idx_images, "mnist", images=12_000),
            ),
            "cifar10": replace(
                _CIFAR10.with_recipe(epochs=5),
                name="lenet5-cifar10-short",
                summary="12,000 images of CIFAR-10 by LeNet-5",
                data=partial(shortened, cifar10, 12_000, 1_000),
            ),
        }
    ),
    "full": Scale({"mnist": replace(_MNIST, recipe=_FULL), "cifar10": replace(_CIFAR10, recipe=_FULL)}, seeds=5),
}


_AGREE = tuple(
    Claim(
        f"The gated form of {name} is as accurate as the built-in one",
        "section 4, MNIST",
        "P",
        Equivalent(f"gated {name}", name, within=0.3),
    )
    for name in _BUILT_IN
)

UNIFICATION = Paper(
    "mittag-leffler",
    "Unification of popular artificial neural network activation functions",
    "2302.11007",
    (
        Experiment(
            "lenet5-mnist",
            "LeNet-5 on MNIST with gated and built-in functions",
            _BUILT_IN | _GATED,
            "relu",
            _scales(_GREY, _MNIST),
            (
                *_AGREE,
                Claim("LeNet-5 with ReLU reaches 98.8 %", "our check of the training", "M", Within("relu", least=98.8), check=True),
            ),
            train_once,
        ),
        Experiment(
            "lenet5-cifar10",
            "LeNet-5 on CIFAR-10 with gated and built-in functions",
            {name: (_BUILT_IN | _GATED)[name] for name in ("relu", "swish", "mish", "tanh", "gated swish", "gated mish")},
            "relu",
            _scales(_COLOUR, _CIFAR10),
            (
                Claim("Swish gains about 1.2 points over ReLU", "section 4, CIFAR-10", "P", Better("swish", ("relu",), by=1.2)),
                Claim("Mish gains about 1.2 points over ReLU", "section 4, CIFAR-10", "P", Better("mish", ("relu",), by=1.2)),
                Claim(
                    "Gated Swish is as accurate as the built-in one",
                    "section 4, CIFAR-10",
                    "P",
                    Equivalent("gated swish", "swish", within=1.0),
                ),
                Claim(
                    "Gated Mish is as accurate as the built-in one",
                    "section 4, CIFAR-10",
                    "P",
                    Equivalent("gated mish", "mish", within=1.0),
                ),
                Claim("LeNet-5 with ReLU reaches 62 %", "our check of the training", "M", Within("relu", least=62), check=True),
            ),
            train_once,
        ),
        Experiment(
            "adaptive",
            "LeNet-5 on MNIST and CIFAR-10 with functions whose shape learns, beside those they begin as",
            _BEGINNINGS | _ADAPTIVE,
            "tanh",
            _ADAPTIVE_SCALES,
            tuple(
                Claim(
                    f"{name[0].upper() + name[1:]} is no worse than the function that it begins as",
                    "our check",
                    "M",
                    NotWorse(name, (_member(name),), within=0.5),
                    check=True,
                )
                for name in _ADAPTIVE
            ),
            partial(train_once, course=True),
            plots=("functions", "course"),
        ),
        Experiment(
            "training-time",
            "Time of a step of LeNet-5, gated or adaptive over built-in, in turns",
            _GATED | _ADAPTIVE,
            "gated relu",
            {
                name: replace(scale, arguments={"turns": 2 if name == "smoke" else 40})
                for name, scale in _scales(_GREY, _MNIST).items()
            },
            (
                Claim(
                    "Training with gated Mish takes 1.67 times as long",
                    "section 4, 40.73 s against 24.38 s",
                    "P",
                    Within("gated mish", least=1.5, most=1.84),
                    measure="time ratio",
                    published={"gated mish": 1.67},
                ),
                Claim(
                    "Training with gated softsign takes about as long",
                    "section 4",
                    "P",
                    Within("gated softsign", least=0.85, most=1.15),
                    measure="time ratio",
                    published={"gated softsign": 1.0},
                ),
            ),
            partial(race, pairs={str(choice): _BUILT_IN[_member(name)] for name, choice in (_GATED | _ADAPTIVE).items()}),
        ),
    ),
)
