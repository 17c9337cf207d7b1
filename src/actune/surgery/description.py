"""A swap as plain data, by which a new model of the same class is swapped again in the very same way.

It holds the function of each place with its settings, not the values of parameters: those are in the state of the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from ..catalogue.files import function_of_record, function_record
from ..messages import shorten
from ..module import Activation
from .changes import Change, Fit
from .edits import ClassEdit, Edit, edits_of_changes
from .places import Place
from .rewriting import MethodEdit, Spot, original_class, rewritten_class
from .select import Slot

__all__ = ["describe_swap", "swap_as_described"]

_FORMAT = 1


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


def swap_as_described(model: nn.Module, description: Mapping[str, Any]) -> None:
    """Swap the activation functions of a model as a description says.

    Raises ValueError, in one line, where the description is damaged or the model is another than it was made from; the model is
    then as it was.
    """
    if not isinstance(description, Mapping) or description.get("format") != _FORMAT:
        raise ValueError(
            f"the description of the swap is not in format {_FORMAT}; save the model again with this version of actune"
        )
    if description.get("opaque"):
        raise ValueError(
            f"the model was swapped to a module that is no formula ({description['opaque'][0]}), which cannot be made again; "
            "swap a new model and load its state"
        )
    try:
        changes = [_change(model, place) for place in description["places"]]
        classes = [_class_edit(model, name, methods) for name, methods in description["methods"].items()]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        said = shorten(f"{type(error).__name__}: {error}")
        raise ValueError(f"the description of the swap does not fit {type(model).__name__} ({said})") from None
    edits: tuple[Edit | ClassEdit, ...] = (*edits_of_changes(model, changes), *classes)
    for edit in edits:
        edit.put(edit.new)


def _change(model: nn.Module, place: Mapping[str, Any]) -> Change:
    slots = tuple(_slot(model, name) for name in place["names"])
    assert slots[0].parent is not None
    old = slots[0].parent._modules.get(slots[0].key)
    channels = tuple(place["channels"]) if isinstance(place["channels"], Sequence) else place["channels"]
    family = function_of_record(place["function"], f"the function of {place['names'][0]!r} in the description of the swap")
    like = next((p for p in model.parameters() if p.is_floating_point()), None)
    new = Activation(
        family, scope=place["scope"], channels=channels, dim=place["dim"], trainable=place["learns"],
        device=None if like is None else like.device, dtype=None if like is None else like.dtype,
    ).train(slots[0].parent.training)  # fmt: skip
    return Change(Place(slots, old, str(family)), new, Fit(place["dim"], channels), ())


def _slot(model: nn.Module, name: str) -> Slot:
    prefix, _, key = name.rpartition(".")
    return Slot(model.get_submodule(prefix), key, (name,))


def _class_edit(model: nn.Module, name: str, methods: Sequence[Any]) -> ClassEdit:
    module = model.get_submodule(name)
    edits = tuple(MethodEdit(method, digest, tuple(Spot(*spot) for spot in spots)) for method, digest, spots in methods)
    return ClassEdit(module, type(module), rewritten_class(original_class(type(module)), edits))
