"""Parameters that leave and join an optimizer in a swap, and the groups of a new one."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from .activations import check_model, is_activation
from .changes import Change

__all__ = ["Removed", "add", "check", "parameter_groups", "put_back", "take_out"]


class Removed(NamedTuple):
    """A parameter taken out of an optimizer, and all that is needed to put it back."""

    group: int
    position: int
    parameter: nn.Parameter
    name: str | None
    state: dict[str, Any] | None


def check(optimizer: torch.optim.Optimizer, model: nn.Module, changes: list[Change]) -> None:
    """Raise ValueError if the optimizer is not that of the model, or cannot hold the new parameters."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    added = [(change, p) for change in changes for _, p in change.added]
    kind = type(optimizer).__name__
    if not any(id(p) in held for p in model.parameters()):
        raise ValueError(f"optimizer={kind} holds none of the model's parameters; pass the optimizer of this model")
    for change, p in added:
        if is_lazy(p):
            name = change.place.names[0]
            raise ValueError(f"optimizer={kind} cannot hold the parameters of {name!r}, whose size is unknown; pass example=")
    if added and isinstance(optimizer, torch.optim.LBFGS):
        raise ValueError("optimizer=LBFGS allows one parameter group only; make it after the swap")
    if added and _is_scheduled(optimizer):
        raise ValueError(f"optimizer={kind} has a learning-rate scheduler, which allows no new groups; make it after the swap")


def _is_scheduled(optimizer: torch.optim.Optimizer) -> bool:
    """Whether it has a scheduler that counts its groups. All wrap `step` except ReduceLROnPlateau, which allows new groups."""
    return bool(getattr(optimizer.step, "_wrapped_by_lr_sched", False))


def add(optimizer: torch.optim.Optimizer, changes: list[Change]) -> tuple[nn.Parameter, ...]:
    """Give the new parameters groups like those of the parameters near them, without weight decay."""
    # New parameters join the group of the nearest parameter that the optimizer holds: its options are copied, its state is not.
    groups = list(optimizer.param_groups)
    home = {id(p): index for index, group in enumerate(groups) for p in group["params"]}
    joining: dict[int, list[tuple[str, nn.Parameter]]] = {}
    for change in changes:
        index = next((home[id(p)] for p in change.near if id(p) in home), 0)
        joining.setdefault(index, []).extend((f"{change.place.names[0]}.{name}", p) for name, p in change.added)
    try:
        for index, named in joining.items():
            options = copy.deepcopy({key: value for key, value in groups[index].items() if key not in ("params", "param_names")})
            options |= {"weight_decay": 0.0} if "weight_decay" in options else {}
            if named:
                optimizer.add_param_group({"params": named if "param_names" in groups[index] else [p for _, p in named], **options})
    except Exception:
        del optimizer.param_groups[len(groups) :]
        raise
    return tuple(p for named in joining.values() for _, p in named)


def take_out(optimizer: torch.optim.Optimizer, gone: set[int]) -> tuple[Removed, ...]:
    """Take the parameters with these ids out of all groups."""
    removed = []
    for index, group in enumerate(optimizer.param_groups):
        names = group.get("param_names")
        for position, p in enumerate(group["params"]):
            if id(p) in gone:
                removed.append(Removed(index, position, p, names[position] if names else None, optimizer.state.pop(p, None)))
        stay = [position for position, p in enumerate(group["params"]) if id(p) not in gone]
        if names:
            names[:] = [names[position] for position in stay]
        group["params"][:] = [group["params"][position] for position in stay]
    return tuple(removed)


def put_back(optimizer: torch.optim.Optimizer, removed: tuple[Removed, ...], added: tuple[nn.Parameter, ...]) -> None:
    """Undo `add` and `take_out`: the added parameters leave, the removed ones return to their positions with their state.

    The groups that `add` made are deleted, except where a scheduler that was made since counts them: there they stay, empty.
    """
    # In the order of removal each position is right again when its turn comes.
    emptied = {out.group for out in take_out(optimizer, {id(p) for p in added})}
    for out in removed:
        group = optimizer.param_groups[out.group]
        group["params"].insert(out.position, out.parameter)
        if out.name is not None:
            group["param_names"].insert(out.position, out.name)
        if out.state is not None:
            optimizer.state[out.parameter] = out.state
    if not _is_scheduled(optimizer):
        kept = [group for index, group in enumerate(optimizer.param_groups) if group["params"] or index not in emptied]
        optimizer.param_groups[:] = kept


def parameter_groups(model: nn.Module, weight_decay: float, learning_rate: float | None = None) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer: those of activations (PReLU's too) without weight decay, all others with it.

    learning_rate   of the activations' parameters, if another than that of the optimizer

    A parameter that several modules share appears once; a group without parameters is left out.
    """
    check_model(model)
    inside = {id(p) for module in model.modules() if is_activation(module) for p in module.parameters()}
    for name, p in model.named_parameters():
        if is_lazy(p):
            raise ValueError(f"model: the parameter {name!r} has no size yet; run the model once before making its optimizer")
    own = {} if learning_rate is None else {"lr": learning_rate}
    decayed = {"params": [p for p in model.parameters() if id(p) not in inside], "weight_decay": weight_decay}
    free = {"params": [p for p in model.parameters() if id(p) in inside], "weight_decay": 0.0, **own}
    return [group for group in (decayed, free) if group["params"]]
