"""The new module for each place: its dimension, size, dtype and device, found before anything is changed."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from ..catalogue.files import load
from ..catalogue.registry import Family, resolve
from ..module import Activation
from .layout import Use, look_before
from .places import Place

__all__ = ["Act", "Change", "Fit", "module_maker", "plan_change"]

Act = str | os.PathLike[str] | Family | nn.Module | Callable[[], nn.Module]


class Fit(NamedTuple):
    """The dimension of the channels and the size of the parameters that a new module gets, None where unknown or not needed."""

    dim: int | None
    channels: int | tuple[int, ...] | None


class Change(NamedTuple):
    """A place, the module that goes there, and the parameters nearby, nearest first, whose optimizer group the new ones join."""

    place: Place
    new: nn.Module
    fit: Fit
    near: tuple[nn.Parameter, ...]

    @property
    def added(self) -> list[tuple[str, nn.Parameter]]:
        """The parameters that join the model, with their names in the new module; it may hold some that the old one had."""
        there = set() if self.place.module is None else {id(p) for p in self.place.module.parameters()}
        return [(name, p) for name, p in self.new.named_parameters() if id(p) not in there]


def _fit(uses: list[Use], scope: str | None) -> Fit | str:
    """The dimension and size that suit every use of a module, or the reason why none does."""
    # A module that is called several times must find its channels in one dimension. An input of two dimensions does not decide
    # which: there 1 and -1 are the same. So a ReLU after nn.Linear (dim -1, shape (8, 16)) and after nn.Conv2d (dim 1, shape
    # (8, 16, 5, 5)) gets dim 1; with a shape (8, 3, 16) in place of the first the two contradict each other.
    dims = [use.dim for use in uses if use.dim is not None]
    strict = {use.dim for use in uses if use.dim is not None and (use.shape is None or len(use.shape) != 2)}
    dim = next(iter(strict or dims), None)
    if scope == "channel":
        widths = list(dict.fromkeys(use.width for use in uses))
        if len({width for width in widths if width is not None}) > 1:
            return f"called with {', '.join(map(str, widths))} channels, which one set of channel parameters cannot serve"
        if len(strict) > 1:
            return f"called with channels in dimensions {', '.join(map(str, dict.fromkeys(dims)))}, which one module cannot serve"
        return Fit(dim, widths[0] if len(widths) == 1 else None)
    if scope == "neuron":
        shapes = list(dict.fromkeys(use.shape[1:] for use in uses if use.shape is not None))
        if len(shapes) > 1:
            return f"called with {', '.join(map(str, shapes))} neurons, which one set of neuron parameters cannot serve"
        return Fit(dim, shapes[0] if shapes else None)
    return Fit(dim, None)


def module_maker(act: Act, scope: str | None) -> tuple[str | None, Callable[..., nn.Module]]:
    """(scope, make): the scope that sizes are found for, None if there are no parameters, and make(channels, dim, device, dtype).

    `make` returns a new module at each call. Raises ValueError or TypeError if `act` or `scope` is not usable.
    """
    if isinstance(act, os.PathLike):
        act = load(act)
    if isinstance(act, str | Family):
        act = Activation(resolve(act), scope=scope or "layer")
    if isinstance(act, Activation):
        return (scope or act.scope) if act.family.params else None, functools.partial(act.fresh, scope=scope)
    if scope is not None:
        raise ValueError(f"scope={scope!r} is for formulas; act={act!r} is a module of its own and has no scope")
    if not callable(act):
        raise TypeError(f"act={act!r} is not a name, a formula, a Family, a module, or a function that makes a module")
    make = functools.partial(copy.deepcopy, act) if isinstance(act, nn.Module) else act

    def fresh(*, device: torch.device | None, dtype: torch.dtype | None, **_: object) -> nn.Module:
        module = make()
        if not isinstance(module, nn.Module):
            raise TypeError(f"act={act!r} made {module!r}, not a module")
        return module.to(device=device, dtype=dtype)

    return None, fresh


def plan_change(model: nn.Module, place: Place, scope: str | None, make: Callable[..., nn.Module]) -> Change | str:
    """The change at a place, or the reason why there can be none."""
    uses = list(place.uses) or [look_before(model, name) for name in place.names]
    fit = _fit(uses, scope)
    if isinstance(fit, str):
        return fit
    if scope == "channel" and fit.dim is None:
        raise ValueError(f"cannot tell which dimension holds the channels at {place.names[0]!r}; pass example=, a model input")
    near = _parameters_near(model, place, uses)
    like = next((p for p in near if p.dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64)), None)
    device = next((use.device for use in uses if use.device is not None), like.device if like is not None else None)
    new = make(channels=fit.channels, dim=fit.dim, device=device, dtype=like.dtype if like is not None else None)
    there = place.module if place.module is not None else place.parent
    assert there is not None
    new.train(there.training)
    owned = [] if place.module is None else list(place.module.parameters())
    if owned and not any(p.requires_grad for p in owned):  # a frozen PReLU is followed by a frozen activation
        new.requires_grad_(False)
    return Change(place, new, fit, near)


def _parameters_near(model: nn.Module, place: Place, uses: list[Use]) -> tuple[nn.Parameter, ...]:
    """The parameters of the model from near to far: of the module, the layer before it, its parent, the parent of that, …"""
    path = place.names[0].split(".")[:-1]
    around = [model.get_submodule(".".join(path[:depth])) for depth in range(len(path), -1, -1)]
    own = [] if place.module is None else [place.module]
    modules = [*own, *(use.layer for use in uses if use.layer is not None), *around]
    return tuple({id(p): p for module in modules for p in module.parameters()}.values())
