"""A swap as plain data, by which a new model of the same class is swapped again in the very same way.

It holds the function of each place with its settings, not the values of parameters: those are in the state of the model.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, get_args

from torch import nn

from ..catalogue.files import function_of_record, function_record
from ..messages import shorten, shown
from ..module import Activation
from ..plain_data import checked, entry
from .changes import Change, Fit
from .edits import ClassEdit, Edit, edits_of_changes
from .places import Place
from .rewriting import Form, MethodEdit, Spot, original_class, rewritten_class
from .select import Slot

__all__ = ["describe_swap", "described_class", "swap_as_described"]

_FORMAT = 1
_DIMENSIONS = 64  # of a tensor at most, in torch


def describe_swap(
    model: nn.Module, changes: Iterable[Change], classes: Iterable[ClassEdit], before: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The description of these changes inside a model; before: that of earlier swaps, on which it goes on.

    A module that is not made from a formula has no description: what cannot be described is named in the answer.
    """
    names = {module: name for name, module in model.named_modules(remove_duplicate=True)}
    there: dict[str, Any] = {place["names"][0]: place for place in (before or {}).get("places", ())}
    opaque = list((before or {}).get("opaque", ()))
    for change in changes:
        held = [f"{names[slot.parent]}.{slot.key}".lstrip(".") for slot in change.place.slots if slot.parent in names]
        if not held:
            continue
        if isinstance(change.new, Activation):
            there[held[0]] = {"names": held, **_activation(change.new)}
        else:
            opaque.append(f"{held[0]}: {type(change.new).__name__}")
    methods = dict((before or {}).get("methods", {}))
    methods |= {names[edit.module]: _methods(edit.new) for edit in classes if edit.module in names}
    return {
        "format": _FORMAT, "model": original_class(type(model)).__name__, "places": list(there.values()), "methods": methods,
        "opaque": opaque,
    }  # fmt: skip


def _activation(act: Activation) -> dict[str, Any]:
    learns = {name: getattr(act, name).requires_grad for name in act.family.params}
    channels = list(act.channels) if isinstance(act.channels, tuple) else act.channels
    return {"function": function_record(act.family), "scope": act.scope, "channels": channels, "dim": act.dim, "learns": learns}


def _methods(cls: type) -> list[Any]:
    return [[edit.method, edit.digest, [list(spot) for spot in edit.spots]] for edit in vars(cls).get("_actune_edits", ())]


def described_class(description: Any) -> str:
    """The name of the class of the model that a description is of; raises ValueError where it is no description."""
    if not isinstance(description, dict) or description.get("format") != _FORMAT:
        raise ValueError(
            f"the description of the swap is not in format {_FORMAT}; save the model again with this version of actune"
        )
    try:
        return entry(description, "model", str)
    except ValueError as error:
        raise ValueError(f"the description of the swap is damaged ({error}); save the model again") from None


def swap_as_described(model: nn.Module, description: Any) -> None:
    """Swap the activation functions of a model as a description says.

    Raises ValueError, in one line, where the description is damaged or the model is another than it was made from; the model is
    then as it was.
    """
    described_class(description)
    try:
        opaque = entry(description, "opaque", list)
        if opaque:
            what = f"the model was swapped to a module that is no formula ({shorten(checked(opaque[0], str, 'a module'), 100)})"
            raise ValueError(f"{what}, which cannot be made again; swap a new model and load its state")
        changes = [_change(model, place) for place in entry(description, "places", list)]
        classes = [_class_edit(model, name, methods, changes) for name, methods in entry(description, "methods", dict).items()]
    except ValueError as error:
        said = shorten(str(error), 300)
        raise ValueError(f"the description of the swap does not fit {type(model).__name__}: {said}") from None
    edits: tuple[Edit | ClassEdit, ...] = (*edits_of_changes(model, changes), *classes)
    for edit in edits:
        edit.put(edit.new)


def _change(model: nn.Module, place: Any) -> Change:
    slots = tuple(_slot(model, name) for name in entry(place, "names", list))
    if not slots:
        raise ValueError("a place has no names")
    parent = slots[0].parent
    assert parent is not None
    family = function_of_record(entry(place, "function", object), f"the function of {shown(slots[0].names[0])}")
    channels, dim, learns = _channels(place), entry(place, "dim", int), entry(place, "learns", dict)
    if not -_DIMENSIONS <= dim < _DIMENSIONS:
        raise ValueError(f"'dim' must be that of a tensor, got {shown(dim)}")
    like = next((p for p in model.parameters() if p.is_floating_point()), None)
    new = Activation(
        family, scope=entry(place, "scope", str), channels=channels, dim=dim,
        trainable={name: checked(learn, bool, f"whether {shown(name)} learns") for name, learn in learns.items()},
        device=None if like is None else like.device, dtype=None if like is None else like.dtype,
    ).train(parent.training)  # fmt: skip
    return Change(Place(slots, parent._modules.get(slots[0].key), str(family)), new, Fit(dim, channels), ())


def _channels(place: Any) -> int | tuple[int, ...] | None:
    found: Any = entry(place, "channels", object)
    sizes = found if isinstance(found, list) else [] if found is None else [found]
    numbers = tuple(checked(n, int, "a number of channels") for n in sizes)
    return numbers if isinstance(found, list) else numbers[0] if numbers else None


def _slot(model: nn.Module, name: Any) -> Slot:
    """The attribute of this name: it holds a module or a function, or is free."""
    prefix, _, key = checked(name, str, "the name of a place").rpartition(".")
    parent = _module(model, prefix)
    held = inspect.getattr_static(parent, key, None)  # hasattr would run a property
    is_taken = held is not None or key in parent._parameters or key in parent._buffers
    is_function = callable(vars(parent).get(key)) and inspect.getattr_static(type(parent), key, None) is None
    if not key or (is_taken and key not in parent._modules and not is_function):
        raise ValueError(f"{shown(name)} is no place for a module")
    return Slot(parent, key, (name,))


def _module(model: nn.Module, name: str) -> nn.Module:
    found = dict(model.named_modules(remove_duplicate=False)).get(name)
    if found is None:
        raise ValueError(f"it has no module {shown(name)}")
    return found


def _class_edit(model: nn.Module, name: str, methods: Any, changes: Sequence[Change]) -> ClassEdit:
    module = _module(model, name)
    there = {slot.key for change in changes for slot in change.place.slots if slot.parent is module}
    edits = tuple(_method_edit(written, there) for written in checked(methods, list, f"the methods of {shown(name)}"))
    return ClassEdit(module, type(module), rewritten_class(original_class(type(module)), edits))


def _method_edit(written: Any, there: Collection[str]) -> MethodEdit:
    """The calls of a method that change, each into one of a module that the swap has put there: no other attribute is called."""
    if not isinstance(written, list) or len(written) != 3:
        raise ValueError(f"a changed method has a name, a digest and calls, got {shown(written)}")
    method, digest = (checked(text, str, "the name or digest of a method") for text in written[:2])
    spots = []
    for found in checked(written[2], list, f"the calls in {shown(method)}"):
        if not isinstance(found, list) or [type(part) for part in found] != [int, int, str, str]:
            raise ValueError(f"a call has a line, a column, a form and a module, got {shown(found)}")
        spot = Spot(*found)
        if spot.form not in get_args(Form) or spot.name not in there:
            raise ValueError(f"{shown(method)} cannot call {shown(spot.name)} as {shown(spot.form)}: no module was put there")
        spots.append(spot)
    return MethodEdit(method, digest, tuple(spots))
