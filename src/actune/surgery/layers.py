"""torch's LSTM and GRU layers, which compute their gates in one fused call, for layers whose gates and cells take any function."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from ..messages import suggestion
from ..recurrent import GRU, LSTM, Recurrent
from .changes import Act, Change, Fit, module_maker
from .places import Kept, Place
from .select import Selector, matcher, module_slots

__all__ = ["DEFAULT", "plan_layers"]

DEFAULT = "default"  # in functions by place: for all places that are not named

_OURS: dict[type[nn.Module], type[Recurrent]] = {nn.LSTM: LSTM, nn.GRU: GRU}
_TORCHS = {"gate": "sigmoid", "cell": "tanh", "output": "tanh"}  # what torch has at a place


def plan_layers(
    model: nn.Module, functions: Mapping[str, Act], where: Selector, scope: str | None
) -> tuple[list[Change], list[Kept]]:
    """The changes that give the meant LSTM and GRU layers these functions by place, and the layers that stay, with the reason.

    Each new layer holds the very parameters of the old one. Raises ValueError for a place that no such layer has, and where there
    is no layer.
    """
    for place in functions:
        if place not in (*_TORCHS, DEFAULT):
            raise ValueError(
                f"act names the place {place!r}{suggestion(place, _TORCHS)} "
                f"(LSTM has gate, cell, output; GRU gate, cell; {DEFAULT!r} means the others)"
            )
    meant, _ = matcher(where)
    made = {place: module_maker(functions.get(place, functions.get(DEFAULT, usual)), scope) for place, usual in _TORCHS.items()}
    changes: list[Change] = []
    kept: list[Kept] = []
    for module, slots in module_slots(model).items():
        names = [name for slot in slots for name in slot.names]
        if not isinstance(module, nn.RNNBase) or not any(meant(name, module) for name in names):
            continue
        kind = _OURS.get(type(module))
        if kind is None:
            kept.append(Kept(names[0], type(module).__name__, "only LSTM and GRU have a layer here that takes functions"))
            continue
        try:
            new = kind.like(module, _factory(made, module))
        except ValueError as error:
            kept.append(Kept(names[0], type(module).__name__, str(error)))
            continue
        changes.append(Change(Place(tuple(slots), module, type(module).__name__), new, Fit(-1, None), tuple(module.parameters())))
    if not changes and not kept:
        raise ValueError(
            f"the model has no LSTM or GRU layer{'' if where is None else f' that where={where!r} means'}, whose places act names"
        )
    return changes, kept


def _factory(made: Mapping[str, tuple[str | None, Callable[..., nn.Module]]], layer: nn.RNNBase) -> Callable[..., nn.Module]:
    like = next(layer.parameters())

    def activation(width: int, dim: int = -1, place: str = "hidden") -> nn.Module:
        scope, make = made[place]
        new = make(channels=width if scope == "channel" else None, dim=dim, device=like.device, dtype=like.dtype)
        return new.train(layer.training)

    return activation
