"""A swap as a list of assignments, each of which can be undone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from torch import nn

from .changes import Change
from .observe import HOOKS
from .places import Place
from .rewriting import Spot, class_edits, method_named, original_class, rewritten_class
from .source import SourceError

__all__ = ["ABSENT", "ClassEdit", "Edit", "edits_of_changes", "edits_of_classes", "is_in_force"]

ABSENT: Any = object()  # an attribute that is not there


class Edit(NamedTuple):
    """One reversible assignment in a table of attributes; `ABSENT` where there is nothing before or afterwards."""

    table: dict[str, Any]
    key: str
    old: Any
    new: Any

    def put(self, value: Any) -> None:
        if value is ABSENT:
            self.table.pop(self.key, None)
        else:
            self.table[self.key] = value


class ClassEdit(NamedTuple):
    """A module that changes its class to one with rewritten methods."""

    module: nn.Module
    old: type
    new: type

    def put(self, value: type) -> None:
        self.module.__class__ = value


def edits_of_changes(model: nn.Module, changes: list[Change]) -> Iterator[Edit]:
    """The assignments that put the new modules in place. Each shares the hook tables of the old one, so that handles stay valid."""
    fused: set[nn.Module] = set()
    for place, new, _, _ in changes:
        old = place.module
        if old is not None and not any(vars(new)[key] for key in HOOKS):
            yield from (Edit(vars(new), key, vars(new)[key], vars(old)[key]) for key in HOOKS)
        elif old is not None and any(vars(old)[key] for key in HOOKS):
            raise ValueError(f"{place.names[0]!r} and the new {type(new).__name__} both have hooks; remove those of one side")
        for slot in place.slots:
            if slot.parent is not None:
                held = vars(slot.parent)
                if slot.key in held:  # a function that an attribute holds would hide the module
                    yield Edit(held, slot.key, held[slot.key], ABSENT)
                yield Edit(slot.parent._modules, slot.key, slot.parent._modules.get(slot.key, ABSENT), new)
        fused |= {slot.parent for slot in place.slots if isinstance(slot.parent, nn.TransformerEncoderLayer)}
    # In inference torch's fused encoder would go on with the old function.
    for module in model.modules():
        if module in fused:
            yield Edit(vars(module), "activation_relu_or_gelu", vars(module)["activation_relu_or_gelu"], 0)
        elif isinstance(module, nn.TransformerEncoder) and fused.intersection(module.modules()):
            yield Edit(vars(module), "use_nested_tensor", vars(module)["use_nested_tensor"], False)


def edits_of_classes(places: Sequence[Place]) -> tuple[list[ClassEdit], dict[Place, str]]:
    """The classes of those modules whose methods are rewritten, and the places whose methods cannot be, with the reason."""
    spots: dict[nn.Module, dict[str, list[Spot]]] = defaultdict(lambda: defaultdict(list))
    refused: dict[Place, str] = {}
    for place in places:
        for site in place.sites:
            try:
                method = method_named(original_class(type(site.owner)), site.code)
                if method in vars(site.owner):
                    raise SourceError(f"the method {method!r} was replaced on this module itself")
                spot = Spot(site.end.line - site.code.co_firstlineno, site.end.column, site.form, place.slots[0].key)
                edits = class_edits(type(site.owner), {method: [*spots[site.owner][method], spot]})
                rewritten_class(original_class(type(site.owner)), edits)
            except SourceError as error:
                refused[place] = str(error)
            else:
                spots[site.owner][method].append(spot)
    made = []
    for owner, methods in spots.items():
        found = {name: some for name, some in methods.items() if some}
        if found:
            cls = type(owner)
            made.append(ClassEdit(owner, cls, rewritten_class(original_class(cls), class_edits(cls, found))))
    return made, refused


def is_in_force(edit: Edit | ClassEdit) -> bool:
    """Whether an assignment was made and nothing has changed it since."""
    if isinstance(edit, ClassEdit):
        return type(edit.module) is edit.new
    return edit.table.get(edit.key) is edit.new if isinstance(edit.new, dict | nn.Module) else True
