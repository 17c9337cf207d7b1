"""Swap the activation functions of a network that exists, and put the old ones back.

A swap is first planned on the whole model (which places, which dimension holds the channels, how many there are, how methods are
rewritten), then applied as a list of assignments. So an error leaves the model as it was, and `restore` undoes the same list
backwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import nn

from ..messages import shorten
from . import optimizer as optimizers
from .activations import check_model
from .changes import Act, Change, module_maker, plan_change
from .edits import ClassEdit, Edit, edits_of_changes, edits_of_classes, is_in_force
from .fitting import Samples, fit_to_samples
from .layers import plan_layers
from .observe import observe_calls, output_of, relative_change
from .places import Kept, find_places
from .pretrained import config_edits
from .report import SwapPlan, describe
from .select import Selector, chosen_modules

__all__ = ["SwapReport", "plan", "restore", "swap"]

Scope = Literal["layer", "channel", "neuron"]


@dataclass(frozen=True, eq=False)
class _Undo:
    """What `restore` needs: the root, (old, new) modules, the assignments, and what left and joined the optimizer."""

    root: nn.Module
    pairs: tuple[tuple[nn.Module, nn.Module], ...]
    edits: tuple[Edit | ClassEdit, ...]
    optimizer: torch.optim.Optimizer | None
    removed: tuple[optimizers.Removed, ...]
    added: tuple[nn.Parameter, ...]


@dataclass(frozen=True, eq=False)
class SwapReport(SwapPlan):
    """What a swap did: what a plan says, and the model to use from now on, the one given unless that was an activation itself.

    moved   after a fit, how far the model's output on the example has moved, in evaluation: the root mean square of the change,
            over that of the output before
    """

    moved: float | None
    model: nn.Module = field(repr=False)
    _undo: _Undo = field(repr=False)


def _make_edits(
    model: nn.Module, root: nn.Module, changes: list[Change], classes: list[ClassEdit], optimizer: torch.optim.Optimizer | None
) -> _Undo:
    edits: tuple[Edit | ClassEdit, ...] = (*edits_of_changes(model, changes), *classes, *config_edits(model, changes, classes))
    pairs = tuple((change.place.module, change.new) for change in changes if change.place.module is not None)
    removed: tuple[optimizers.Removed, ...] = ()
    added: tuple[nn.Parameter, ...] = ()
    if optimizer is not None:
        added = optimizers.add(optimizer, changes)  # the only step that may fail, so it comes first
    for edit in edits:
        edit.put(edit.new)
    if optimizer is not None:
        alive = {id(p) for p in root.parameters()}
        removed = optimizers.take_out(optimizer, {id(p) for old, _ in pairs for p in old.parameters()} - alive)
    return _Undo(model, pairs, edits, optimizer, removed, added)


class _Planned(NamedTuple):
    changes: list[Change]
    classes: list[ClassEdit]
    gates: list[Kept]
    skipped: list[Kept]
    note: str


def _planned(
    model: nn.Module,
    act: Act | Mapping[str, Act],
    where: Selector,
    example: object,
    scope: Scope | None,
    gates: bool,
    shared: bool,
    samples: Samples | None = None,
) -> _Planned:
    check_model(model)
    if isinstance(act, Mapping):
        changes, skipped = plan_layers(model, act, where, scope)
        return _Planned(changes, [], [], skipped, "")
    fit_scope, make = module_maker(act, scope)
    if samples is not None and example is None:
        raise ValueError("fit=True needs the inputs of the activation functions; pass example=, a batch of the model's inputs")
    observed, note = (None, "") if example is None else observe_calls(model, example, chosen_modules(model, where), samples)
    found = find_places(model, where, observed, with_gates=gates, shared=shared)
    _, refused = edits_of_classes(found.places)
    skipped = found.skipped + [Kept(place.names[0], place.function, reason, place.text) for place, reason in refused.items()]
    changes = []
    for place in found.places:
        if place in refused:
            continue
        change = plan_change(model, place, fit_scope, make)
        if isinstance(change, str):
            skipped.append(Kept(place.names[0], place.function, change, place.text))
        else:
            changes.append(change)
    if len({change.new for change in changes} - set(model.modules())) < len(changes):
        raise ValueError(f"act={act!r} returned a module that is already in use; let it make a new one at each call")
    classes, _ = edits_of_classes([change.place for change in changes])
    return _Planned(changes, classes, found.gates, skipped, note)


def plan(
    model: nn.Module,
    act: Act | Mapping[str, Act],
    *,
    where: Selector = None,
    example: object = None,
    scope: Scope | None = None,
    gates: bool = False,
    shared: bool = False,
) -> SwapPlan:
    """What `swap` with these arguments would do, while nothing is changed."""
    made = _planned(model, act, where, example, scope, gates, shared)
    return SwapPlan(tuple(map(describe, made.changes)), tuple(made.gates), tuple(made.skipped), made.note)


def swap(
    model: nn.Module,
    act: Act | Mapping[str, Act],
    *,
    where: Selector = None,
    example: object = None,
    optimizer: torch.optim.Optimizer | None = None,
    scope: Scope | None = None,
    gates: bool = False,
    shared: bool = False,
    fit: bool = False,
) -> SwapReport:
    """Replace the activation functions of a model in place: modules, functions that attributes hold, and calls such as F.gelu(x).

    Use `report.model` from then on.

    act        a family name, a formula, a Family or an Activation (a fresh one with the same settings and initial values, not the
               learned ones, goes to each place), another module (copied), what makes one, or the Path of a file of `save`:
               `"sau"`, `"x*sigmoid(b*x); b=1"`, `Activation("swish", beta=2.0)`, `nn.GELU`, `Path("best.json")`. Functions by
               place, `{"gate": "zorro_sigmoid", "cell": "apalu"}`, are for LSTM and GRU layers, which then go step by step;
               "default" is for all places that are not named, which else keep sigmoid and tanh
    where      one name pattern (`"layer1.*"`) or several, to choose among the activation functions; a class or several, to replace
               whatever is of that class; or a function of (name, module), to choose among activation modules and bare modules
               that are not torch's. Default: every elementwise activation function that is no gate
    example    an input of the model: a tensor, a tuple of arguments or a dict of keyword arguments. The model runs on it in
               training and in evaluation, and is left without a trace of that, to see which functions are called, where, on how
               many channels, and which are gates. Without it, the source of the model's classes is read, which tells less
    optimizer  the model's: parameters that disappear leave it, new ones join it in a copy of their neighbours' group without
               weight decay
    scope      "layer", "channel" or "neuron", if another than that of `act`
    gates      whether gates are replaced, too: a sigmoid, tanh or softplus whose output multiplies another tensor or is what the
               model returns. One that `where` names in full, or by its class, is replaced anyway
    shared     whether a module that several places call stays one; otherwise each place gets its own
    fit        whether the parameters that learn start where the new function is closest to the old one, by least squares over the
               inputs that the example gives it there, for a model that has learned already. The report says how close

    A call in a method becomes one of a new module, `self.act(x)`: the module that has the method gets a subclass of its class with
    the same name, in which the method is rewritten. New parameters have the dtype and device of those around; new modules have
    the mode (train or eval) and the hooks of the old, and none works in place, as `nn.ReLU(inplace=True)` does. What was not
    replaced is in `report.gates` and `report.skipped`, with the reason.
    Raises ValueError where `where` matches no activation or the arguments do not fit the model, TypeError for an argument of
    another kind. The model is then as it was.
    """
    samples = Samples() if fit else None
    made = _planned(model, act, where, example, scope, gates, shared, samples)
    errors = [None if samples is None else fit_to_samples(c.new, samples.of(c.place.calls)) for c in made.changes]
    before = output_of(model, example) if fit else None
    if optimizer is not None:
        optimizers.check(optimizer, model, made.changes)
    root = next((change.new for change in made.changes if change.place.module is model), model)
    undo = _make_edits(model, root, made.changes, made.classes, optimizer)
    replaced = tuple(map(describe, made.changes, errors))
    moved = None if before is None else relative_change(before, output_of(root, example))
    return SwapReport(replaced, tuple(made.gates), tuple(made.skipped), made.note, moved, root, undo)


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
    if not all(map(is_in_force, undo.edits)):
        raise ValueError("report is out of date: its swap was undone, or the model was changed since; undo later swaps first")
    for old, new in undo.pairs:
        old.train(new.training)
        vars(old)["_is_full_backward_hook"] = vars(new)["_is_full_backward_hook"]  # a hook may have joined the shared table
    for edit in reversed(undo.edits):
        edit.put(edit.old)
    if undo.optimizer is not None:
        optimizers.put_back(undo.optimizer, undo.removed, undo.added)
    return undo.root
