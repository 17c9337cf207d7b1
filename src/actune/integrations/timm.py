"""timm, and other libraries whose models take a class of activations: `act_layer=`, `activation_layer=`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..catalogue.registry import Family, resolve
from ..module import Activation

__all__ = ["act_layer"]


def act_layer(formula: str | Family, **options: Any) -> Callable[..., Activation]:
    """What stands for a class of activations: timm.create_model("resnet18", act_layer=act_layer("apalu", scope="channel")).

    options   those of `Activation`; initial values of parameters among them

    Each call makes a new activation. `inplace`, which such libraries pass to every class, has no meaning here: none works in place.
    """
    resolve(formula)  # a name that is none is an error here, and not deep inside of a model

    def make(inplace: bool | None = None) -> Activation:
        return Activation(formula, **options)

    return make
