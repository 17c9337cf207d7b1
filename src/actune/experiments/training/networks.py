"""The network of a task with given activation functions at its places."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

from torch import nn

from ...catalogue.registry import Family, resolve
from ...messages import suggestion
from ...module import Activation
from ...surgery.layers import DEFAULT
from ..models.factory import HIDDEN, ActivationFactory
from ..tasks import Task

__all__ = ["ActivationChoice", "ActivationLike", "activation_factory", "network_builder", "place_factories"]

ActivationLike = str | Family | nn.Module | type[nn.Module]  # a name or formula, a family, a module to copy, or its class
ActivationChoice = ActivationLike | Mapping[str, ActivationLike]  # one for all places, or one for each


def network_builder(t: Task, choice: ActivationChoice) -> Callable[[], nn.Module]:
    """What builds the task's network, untrained, with these functions at its places.

    Raises ValueError at once for a function that is not known; when it builds, for a place that the network does not have, and
    for one without a function.
    """
    factories = place_factories(t, choice)

    def build() -> nn.Module:
        asked: dict[str, None] = {}

        def activation(width: int, dim: int = -1, place: str = HIDDEN) -> nn.Module:
            asked[place] = None
            found = factories.get(place, factories.get(DEFAULT))
            if found is None:
                raise ValueError(f"no function for the place {place!r} in the network of the task {t.name!r}; "
                                 f"name one, or one for {DEFAULT!r}")  # fmt: skip
            return found(width, dim, place)

        model = t.model(activation)
        for place in factories:
            if place not in asked and place != DEFAULT:
                raise ValueError(f"the network of the task {t.name!r} has no place {place!r}{suggestion(place, asked)} "
                                 f"(it has {', '.join(asked) or 'none'})")  # fmt: skip
        return model

    return build


def place_factories(t: Task, choice: ActivationChoice) -> dict[str, ActivationFactory]:
    """A factory for each place that the task or the choice names, and for `DEFAULT`; the choice comes before the task."""
    given = choice if isinstance(choice, Mapping) else {DEFAULT: choice}
    return {place: activation_factory(activation, t.scope) for place, activation in {**t.fixed, **given}.items()}


def activation_factory(activation: ActivationLike, scope: str) -> ActivationFactory:
    """What makes new modules of this activation for any width; the scope holds for names, formulas and families.

    A module is copied, an Activation with its initial values and its own scope; the given one is never used itself.
    """
    if isinstance(activation, Activation):
        return lambda width, dim=-1, place=HIDDEN: activation.fresh(channels=_channels(activation.scope, width), dim=dim)
    if isinstance(activation, nn.Module):
        return lambda width, dim=-1, place=HIDDEN: copy.deepcopy(activation)
    if isinstance(activation, type) and issubclass(activation, nn.Module):
        return lambda width, dim=-1, place=HIDDEN: activation()
    family = resolve(activation)
    return lambda width, dim=-1, place=HIDDEN: Activation(family, scope=scope, channels=_channels(scope, width), dim=dim)


def _channels(scope: str, width: int) -> int | None:
    return None if scope == "layer" else width
