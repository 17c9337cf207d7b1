"""Swap the activation modules of a network that exists, and put the old ones back.

A swap is first planned on the whole model (which modules, which dimension holds the channels, how many there are), then applied as
a list of assignments. So an error leaves the model as it was, and `restore` undoes the same list backwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from ..messages import shorten
from ..module import Activation
from . import optimizer as optimizers
from .activations import check_model
from .observe import HOOKS, observe_uses
from .plan import Act, Change, module_maker, plan_change
from .select import Selector, select_places

__all__ = ["Replacement", "SwapReport", "restore", "swap"]

Scope = Literal["layer", "channel", "neuron"]


@dataclass(frozen=True)
class Replacement:
    """One module that was replaced, with all its names."""

    names: tuple[str, ...]
    old: str
    new: str
    channels: int | tuple[int, ...] | None
    dim: int | None

    def __str__(self) -> str:
        fit = [f"channels={self.channels}"] * (self.channels is not None) + [f"dim={self.dim}"] * (self.dim is not None)
        return f"{' = '.join(name or '(root)' for name in self.names)}: {self.old} -> {self.new} {' '.join(fit)}".rstrip()


@dataclass(frozen=True, eq=False)
class SwapReport:
    """What a swap did.

    model             the model to use from now on: the one given, unless that was an activation itself
    replaced          one entry per module
    skipped           (name, class, reason) of what holds an activation, or was meant by `where`, and was not replaced
    functional_calls  the number of calls such as `F.relu(x)` that one run of the model on `example` made outside of activation
                      modules, which no swap reaches; None without an example
    """

    model: nn.Module = field(repr=False)
    replaced: tuple[Replacement, ...]
    skipped: tuple[tuple[str, str, str], ...]
    functional_calls: int | None
    _undo: _Undo = field(repr=False)

    def __str__(self) -> str:
        lines = [f"replaced {_count(len(self.replaced), 'module')}", *(f"  {replacement}" for replacement in self.replaced)]
        if self.skipped:
            groups = Counter((kind, reason) for _, kind, reason in self.skipped)
            first = {(kind, reason): name for name, kind, reason in reversed(self.skipped)}
            lines.append(f"skipped {_count(len(self.skipped), 'place')}")
            for key, count in groups.items():
                more = f" and {count - 1} more" if count > 1 else ""
                lines.append(f"  {first[key] or '(root)'}{more}: {key[0]}: {key[1]}")
        if self.functional_calls is not None:
            lines.append(f"{_count(self.functional_calls, 'functional activation call')} out of reach")
        return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)


class Edit(NamedTuple):
    """One reversible assignment."""

    table: dict[str, Any]
    key: str
    old: Any
    new: Any


def _edits(model: nn.Module, changes: list[Change]) -> Iterator[Edit]:
    """The assignments that put the new modules in place. Each shares the hook tables of the old one, so that handles stay valid."""
    fused: set[nn.Module] = set()
    for place, new, _, _ in changes:
        old, parents = place.module, [slot.parent for slot in place.slots]
        if not any(vars(new)[key] for key in HOOKS):
            yield from (Edit(vars(new), key, vars(new)[key], vars(old)[key]) for key in HOOKS)
        elif any(vars(old)[key] for key in HOOKS):
            raise ValueError(f"{place.names[0]!r} and the new {type(new).__name__} both have hooks; remove those of one side")
        yield from (Edit(slot.parent._modules, slot.key, old, new) for slot in place.slots if slot.parent is not None)
        fused |= {parent for parent in parents if isinstance(parent, nn.TransformerEncoderLayer)}
    # In inference torch's fused encoder would go on with the old function.
    for module in model.modules():
        if module in fused:
            yield Edit(vars(module), "activation_relu_or_gelu", vars(module)["activation_relu_or_gelu"], 0)
        elif isinstance(module, nn.TransformerEncoder) and fused.intersection(module.modules()):
            yield Edit(vars(module), "use_nested_tensor", vars(module)["use_nested_tensor"], False)


@dataclass(frozen=True, eq=False)
class _Undo:
    """What `restore` needs: the root, (old, new) modules, the assignments, and what left and joined the optimizer."""

    root: nn.Module
    pairs: tuple[tuple[nn.Module, nn.Module], ...]
    edits: tuple[Edit, ...]
    optimizer: torch.optim.Optimizer | None
    removed: tuple[optimizers.Removed, ...]
    added: tuple[nn.Parameter, ...]


def _make_edits(model: nn.Module, root: nn.Module, changes: list[Change], optimizer: torch.optim.Optimizer | None) -> _Undo:
    edits = tuple(_edits(model, changes))
    pairs = tuple((change.place.module, change.new) for change in changes)
    removed: tuple[optimizers.Removed, ...] = ()
    added: tuple[nn.Parameter, ...] = ()
    if optimizer is not None:
        added = optimizers.add(optimizer, changes)  # the only step that may fail, so it comes first
    for edit in edits:
        edit.table[edit.key] = edit.new
    if optimizer is not None:
        alive = {id(p) for p in root.parameters()}
        removed = optimizers.take_out(optimizer, {id(p) for old, _ in pairs for p in old.parameters()} - alive)
    return _Undo(model, pairs, edits, optimizer, removed, added)


def swap(
    model: nn.Module,
    act: Act,
    *,
    where: Selector = None,
    example: object = None,
    optimizer: torch.optim.Optimizer | None = None,
    scope: Scope | None = None,
) -> SwapReport:
    """Replace activation modules of a model in place. Use `report.model` from then on.

    act        a family name, a formula, a Family or an Activation (a fresh one with the same settings and initial values, not the
               learned ones, goes to each place), another module (copied), what makes one, or the Path of a file of `save`:
               `"sau"`, `"x*sigmoid(b*x); b=1"`, `Activation("swish", beta=2.0)`, `nn.GELU`, `Path("best.json")`
    where      one name pattern (`"layer1.*"`) or several, to choose among the activation modules; a class or several, to replace
               whatever is of that class; or a function of (name, module), to choose among activation modules and bare modules
               that are not torch's. Default: every elementwise activation module, gates and outputs included
    example    an input of the model: a tensor, a tuple of arguments or a dict of keyword arguments. The model runs on it once, and
               is left without a trace of that, to see which dimension holds the channels and how many there are
    optimizer  the model's: parameters that disappear leave it, new ones join it in a copy of their neighbours' group without
               weight decay
    scope      "layer", "channel" or "neuron", if another than that of `act`

    A module held under several names stays one module under these names. New parameters have the dtype and device of those
    around; new modules have the mode (train or eval) and the hooks of the old, and none works in place, as
    `nn.ReLU(inplace=True)` does. What was not replaced is in `report.skipped`, with the reason.
    Raises ValueError where `where` matches no activation or the arguments do not fit the model, TypeError for an argument of
    another kind. The model is then as it was.
    """
    check_model(model)
    fit_scope, make = module_maker(act, scope)
    places, skipped = select_places(model, where)
    seen, calls = ({}, None) if example is None else observe_uses(model, example, places)
    changes: list[Change] = []
    for place in places:
        change = plan_change(model, place, seen.get(place.module, []), fit_scope, make)
        if isinstance(change, str):
            skipped.append((place.names[0], type(place.module).__name__, change))
        else:
            changes.append(change)
    if len({change.new for change in changes} - set(model.modules())) < len(changes):
        raise ValueError(f"act={act!r} returned a module that is already in use; let it make a new one at each call")
    if optimizer is not None:
        optimizers.check(optimizer, model, changes)
    root = next((change.new for change in changes if change.place.module is model), model)
    undo = _make_edits(model, root, changes, optimizer)
    return SwapReport(root, tuple(map(_replacement, changes)), tuple(skipped), calls, undo)


def _replacement(change: Change) -> Replacement:
    new = str(change.new.family) if isinstance(change.new, Activation) else type(change.new).__name__
    return Replacement(change.place.names, type(change.place.module).__name__, new, change.fit.channels, change.fit.dim)


def restore(model: nn.Module, report: SwapReport) -> nn.Module:
    """Undo a swap: the same module objects as before, in their places, with their hooks and their state in the optimizer.

    Returns the model (from before, where the root itself was swapped). Several swaps are undone in reverse order. Where a
    learning-rate scheduler was made after the swap, the groups of the new parameters stay in the optimizer, without parameters:
    schedulers hold a list of one value per group.
    """
    if not isinstance(report, SwapReport):
        raise TypeError(f"report must be what swap returned, got {shorten(repr(report))}")
    undo = report._undo
    if model is not report.model:
        raise ValueError(f"model={type(model).__name__} is not the one of this report; pass report.model")
    if any(edit.table.get(edit.key) is not edit.new for edit in undo.edits if isinstance(edit.new, dict | nn.Module)):
        raise ValueError("report is out of date: its swap was undone, or the model was changed since; undo later swaps first")
    for old, new in undo.pairs:
        old.train(new.training)
        vars(old)["_is_full_backward_hook"] = vars(new)["_is_full_backward_hook"]  # a hook may have joined the shared table
    for edit in reversed(undo.edits):
        edit.table[edit.key] = edit.old
    if undo.optimizer is not None:
        optimizers.put_back(undo.optimizer, undo.removed, undo.added)
    return undo.root
