"""Roodschild et al., "Zorro: a flexible and differentiable parametric family of activation functions" (arXiv:2409.19239)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType

from ...experiments.data.drawn import drawn_images, drawn_text, drawn_windows
from ...experiments.data.images import cifar10, emnist, idx_images
from ...experiments.data.parts import Split, digits, shortened
from ...experiments.data.sequences import series, text
from ...experiments.models.lenet import lenet5
from ...experiments.models.recurrent import lstm_classifier, lstm_forecaster
from ...experiments.models.small import image_mlp, mlp
from ...experiments.models.transformer import character_transformer, vit
from ...experiments.recipe import Recipe
from ...experiments.tasks import Task
from ..claims import Better, Claim, NotWorse, Within
from ..declaration import Experiment, FunctionChoice, Paper, Scale
from ..procedures import train_and_look_inside, train_once
from ..recipes import SMOKE_RECIPE

__all__ = ["ZORRO"]

_STANDARD: dict[str, FunctionChoice] = {name: name for name in ("relu", "gelu", "silu", "dgelu", "tanh")}
_FORMS: dict[str, FunctionChoice] = {
    f"zorro_{name}": f"zorro_{name}" for name in ("symmetric", "asymmetric", "sigmoid", "tanh", "sloped")
}
_PRESETS: dict[str, FunctionChoice] = {f"zorro_{name}": f"zorro_{name}" for name in ("gelu", "silu", "dgelu", "dsilu")}
_FUNCTIONS = _STANDARD | _FORMS | _PRESETS

_ONE_CYCLE = Recipe(epochs=5, batch_size=64, learning_rate=2e-3, schedule="one cycle")


_Data = Callable[..., Split]
_WHOLE: dict[str, _Data] = {name: partial(idx_images, name, images=60_000) for name in ("mnist", "fashion-mnist")}
_WHOLE["cifar10"] = cifar10


def _scales(
    smoke: Mapping[str, Task],
    laptop: Mapping[str, Task],
    epochs: int,
    seeds: int = 3,
    whole: Mapping[str, _Data] = MappingProxyType({}),
) -> dict[str, Scale]:
    """Three scales of which full trains the laptop's tasks for longer, and on the whole data of those parts that have some here."""
    full = {part: replace(t.with_recipe(epochs=epochs), data=whole.get(part, t.data)) for part, t in laptop.items()}
    return {"smoke": Scale(smoke, seeds=1), "laptop": Scale(laptop, seeds=seeds), "full": Scale(full, seeds=5)}


# -- fully connected -----------------------------------------------------------------------------------------------------

_DENSE = {
    name: Task(
        f"dense-{name}", f"{name} by two hidden layers of 256", partial(idx_images, name, images=24_000), image_mlp, _ONE_CYCLE
    )
    for name in ("mnist", "fashion-mnist")
}
_DENSE_DRAWN = Task("dense-drawn", "drawn images by two hidden layers", partial(drawn_images, 1, 28), image_mlp, SMOKE_RECIPE)

_DEEP = {
    str(layers): Task(
        f"deep-{layers}",
        f"digits by {layers} layers of 64 without normalisation",
        digits,
        partial(mlp, inputs=64, outputs=10, width=64, layers=layers),
        Recipe(epochs=20),
    )
    for layers in (10, 20, 30)
}
_DEEP_SHORT = {part: t.with_recipe(epochs=1, batch_size=256) for part, t in _DEEP.items() if part == "10"}

# -- convolutions and transformers ----------------------------------------------------------------------------------------

_GREY, _COLOUR = lenet5, partial(lenet5, colours=3, side=32)
_CONVOLUTIONAL = {
    "fashion-mnist": Task(
        "lenet5-fashion-mnist",
        "Fashion-MNIST by LeNet-5 without normalisation",
        partial(idx_images, "fashion-mnist", images=24_000),
        _GREY,
        _ONE_CYCLE,
    ),
    "cifar10": Task(
        "lenet5-cifar10-plain",
        "CIFAR-10 by LeNet-5 without normalisation",
        partial(shortened, cifar10, 20_000, 2_000),
        _COLOUR,
        replace(_ONE_CYCLE, epochs=6),
    ),
}
_CONVOLUTIONAL_DRAWN = {
    "fashion-mnist": Task("lenet5-drawn-grey", "drawn images by LeNet-5", partial(drawn_images, 1, 28), _GREY, SMOKE_RECIPE),
}
_EMNIST = {"balanced": Task("lenet5-emnist", "EMNIST, balanced, by LeNet-5", emnist, partial(lenet5, classes=47), _ONE_CYCLE)}
_EMNIST_DRAWN = {
    "balanced": Task(
        "lenet5-emnist-drawn",
        "drawn images by LeNet-5",
        partial(drawn_images, 1, 28, 47),
        partial(lenet5, classes=47),
        SMOKE_RECIPE,
    )
}

_SMALL_VIT = partial(vit, width=64, depth=4, heads=4, patch=8)
_IMAGES = {
    "": Task(
        "vit-cifar10",
        "CIFAR-10 by a small vision transformer",
        partial(shortened, cifar10, 20_000, 2_000),
        _SMALL_VIT,
        replace(_ONE_CYCLE, epochs=6, augmentation="crop and flip"),
    )
}
_IMAGES_DRAWN = {"": Task("vit-drawn", "drawn images by a small vision transformer", drawn_images, _SMALL_VIT, SMOKE_RECIPE)}

_SMALL_GPT = partial(character_transformer, symbols=128, length=64, width=128, depth=3, heads=4)
_CHARACTERS = {
    "": Task(
        "characters",
        "Tiny Shakespeare by a transformer of three layers",
        text,
        _SMALL_GPT,
        Recipe(epochs=4, batch_size=32, learning_rate=4e-3, schedule="one cycle", weight_decay=0.01, optimizer="adamw", clip=1.0),
        loss="next_character",
        measures=("nats per character",),
    )
}
_CHARACTERS_DRAWN = {
    "": Task(
        "characters-drawn",
        "drawn text by a small transformer",
        drawn_text,
        _SMALL_GPT,
        SMOKE_RECIPE,
        loss="next_character",
        measures=("nats per character",),
    )
}

# -- recurrent -----------------------------------------------------------------------------------------------------------

_CELLS: dict[str, FunctionChoice] = {
    "sigmoid and tanh": {"gate": "sigmoid", "default": "tanh"},
    "zorro gates": {"gate": "zorro_sigmoid", "default": "tanh"},
    "zorro gates and cell": {"gate": "zorro_sigmoid", "default": "zorro_tanh"},
    "zorro dsilu gates": {"gate": "zorro_dsilu", "default": "zorro_tanh"},
}
_FORECASTS = {
    name: Task(
        f"lstm-{name}",
        f"{name}: the next value by an LSTM of 32",
        data,
        partial(lstm_forecaster, width=32),
        Recipe(epochs=epochs, batch_size=128, learning_rate=5e-3),
        loss="mse",
        measures=("loss", "RMSE"),
        scope="layer",
    )
    for name, data, epochs in (
        ("airline", partial(series, "airline-passengers", 1, window=12, logarithm=True), 100),
        ("sunspots", partial(series, "monthly-sunspots", 1), 12),
        ("temperatures", partial(series, "daily-min-temperatures", 1), 12),
    )
}
_FORECAST_DRAWN = {
    "airline": Task(
        "lstm-drawn",
        "drawn waves by an LSTM",
        drawn_windows,
        partial(lstm_forecaster, width=8),
        SMOKE_RECIPE,
        loss="mse",
        measures=("loss", "RMSE"),
        scope="layer",
    )
}
_ROWS = {
    "": Task(
        "lstm-rows",
        "MNIST, row by row, by an LSTM of 64",
        partial(idx_images, "mnist"),
        partial(lstm_classifier, width=64),
        replace(_ONE_CYCLE, epochs=4, batch_size=128, learning_rate=4e-3),
        scope="layer",
    )
}
_ROWS_DRAWN = {
    "": Task(
        "lstm-rows-drawn",
        "drawn images row by row",
        partial(drawn_images, 1, 28),
        partial(lstm_classifier, width=8),
        SMOKE_RECIPE,
        scope="layer",
    )
}

_STEADY = ("zorro_asymmetric", "zorro_gelu", "zorro_silu")

ZORRO = Paper(
    "zorro",
    "Zorro: a flexible and differentiable parametric family of activation functions that extends ReLU and GELU",
    "2409.19239",
    (
        Experiment(
            "fully-connected",
            "Two hidden layers without normalisation",
            _FUNCTIONS,
            "relu",
            _scales({"mnist": _DENSE_DRAWN}, _DENSE, epochs=50, whole=_WHOLE),
            (
                Claim(
                    "Zorro's asymmetric form replaces ReLU and GELU in dense networks without loss",
                    "section 4",
                    "P",
                    NotWorse("zorro_asymmetric", ("relu", "gelu"), within=0.5),
                ),
                Claim(
                    "Zorro's symmetric form trains dense networks as well as ReLU",
                    "section 4",
                    "P",
                    NotWorse("zorro_symmetric", ("relu",), within=0.5),
                ),
            ),
            train_once,
        ),
        Experiment(
            "depth",
            "10, 20 and 30 layers without normalisation: dead units, and gradients over the layers",
            _FUNCTIONS,
            "relu",
            _scales(_DEEP_SHORT, _DEEP, epochs=100, seeds=5),
            (
                Claim(
                    "Zorro has no dead neurons: with the asymmetric form at 30 layers",
                    "abstract",
                    "P",
                    Within("zorro_asymmetric", most=1.0),
                    measure="dead units",
                    part="30",
                ),
                Claim(
                    "Zorro has no dead neurons: with the symmetric form at 30 layers",
                    "abstract",
                    "P",
                    Within("zorro_symmetric", most=1.0),
                    measure="dead units",
                    part="30",
                ),
                Claim(
                    "No gradient explodes with Zorro's tanh over 30 layers",
                    "abstract",
                    "P",
                    Within("zorro_tanh", most=1.0),
                    measure="gradient growth",
                    part="30",
                ),
                Claim(
                    "No gradient explodes with Zorro's asymmetric form over 30 layers",
                    "abstract",
                    "P",
                    Within("zorro_asymmetric", most=1.0),
                    measure="gradient growth",
                    part="30",
                ),
                Claim(
                    "Zorro needs no normalisation: 30 layers train better than with ReLU",
                    "abstract",
                    "P",
                    Better("zorro_tanh", ("relu",)),
                    part="30",
                ),
            ),
            train_and_look_inside,
            plots=("functions", "depth"),
        ),
        Experiment(
            "convolutional",
            "LeNet-5 without normalisation",
            _FUNCTIONS,
            "relu",
            _scales(_CONVOLUTIONAL_DRAWN, _CONVOLUTIONAL, epochs=50, whole=_WHOLE),
            (
                Claim(
                    "Zorro is more accurate than ReLU, GELU and Swish in convolutional networks",
                    "abstract",
                    "P",
                    Better("zorro_silu", ("relu", "gelu", "silu")),
                ),
                Claim(
                    "Zorro's asymmetric form is more accurate than ReLU in convolutional networks",
                    "abstract",
                    "P",
                    Better("zorro_asymmetric", ("relu",)),
                ),
                Claim(
                    "Zorro's sloped form trains faster than the symmetric one: it is better after as many epochs",
                    "section 3",
                    "R",
                    Better("zorro_sloped", ("zorro_symmetric",)),
                ),
            ),
            train_once,
        ),
        Experiment(
            "emnist",
            "LeNet-5 on EMNIST",
            _STANDARD | _FORMS,
            "relu",
            _scales(_EMNIST_DRAWN, _EMNIST, epochs=50),
            (Claim("Zorro is more accurate than ReLU on EMNIST", "section 4", "P", Better("zorro_asymmetric", ("relu",))),),
            train_once,
            needs="EMNIST",
        ),
        Experiment(
            "vision-transformer",
            "A small vision transformer on CIFAR-10",
            {name: _FUNCTIONS[name] for name in ("relu", "gelu", "silu", *_STEADY)},
            "gelu",
            _scales(_IMAGES_DRAWN, _IMAGES, epochs=100, whole={"": cifar10}),
            (
                Claim(
                    "Zorro is a stable replacement for ReLU and GELU in vision transformers",
                    "abstract",
                    "P",
                    NotWorse("zorro_gelu", ("relu", "gelu"), within=1.0),
                ),
            ),
            train_once,
        ),
        Experiment(
            "characters",
            "A transformer on Tiny Shakespeare",
            {name: _FUNCTIONS[name] for name in ("relu", "gelu", *_STEADY)},
            "gelu",
            _scales(_CHARACTERS_DRAWN, _CHARACTERS, epochs=30),
            (
                Claim(
                    "Zorro is a stable replacement for ReLU and GELU in language models",
                    "abstract",
                    "P",
                    NotWorse("zorro_gelu", ("relu", "gelu"), within=0.02),
                ),
                Claim(
                    "The character transformer with ReLU is below 1.75 nats",
                    "our check of the training",
                    "M",
                    Within("relu", most=1.75),
                    check=True,
                ),
            ),
            train_once,
        ),
        Experiment(
            "lstm-forecasting",
            "LSTM forecasts of three series with Zorro gates",
            _CELLS,
            "sigmoid and tanh",
            _scales(_FORECAST_DRAWN, _FORECASTS, epochs=200, seeds=5),
            (
                Claim(
                    "An LSTM with Zorro gates forecasts as well as one with sigmoid and tanh",
                    "section 4",
                    "P",
                    NotWorse("zorro gates and cell", ("sigmoid and tanh",), within=0.02),
                    measure="loss",
                ),
            ),
            train_once,
        ),
        Experiment(
            "lstm-classification",
            "An LSTM that reads MNIST row by row with Zorro gates",
            _CELLS,
            "sigmoid and tanh",
            _scales(_ROWS_DRAWN, _ROWS, epochs=50, whole={"": _WHOLE["mnist"]}),
            (
                Claim(
                    "An LSTM with Zorro gates classifies sequences as well as one with sigmoid and tanh",
                    "section 4",
                    "P",
                    NotWorse("zorro gates and cell", ("sigmoid and tanh",), within=1.0),
                ),
            ),
            train_once,
        ),
    ),
)
