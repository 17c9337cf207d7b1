"""The modules of a model that a user means: by name pattern, class or predicate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from torch import nn

from .activations import NOT_ELEMENTWISE, RECURRENT, is_activation, is_function, is_stateless

__all__ = ["ModulePlace", "Selector", "select_places"]

# What a user may pass as `where`.
Selector = str | type | Sequence[str] | Sequence[type] | Callable[[str, nn.Module], bool] | None


class Slot(NamedTuple):
    """An attribute of a parent that holds a module. It has several names if the parent has. The root's slot has no parent."""

    parent: nn.Module | None
    key: str
    names: tuple[str, ...]


class ModulePlace(NamedTuple):
    """A module to replace and the slots to replace it in."""

    module: nn.Module
    slots: tuple[Slot, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for slot in self.slots for name in slot.names)


def _slots(model: nn.Module) -> dict[nn.Module, list[Slot]]:
    """Every module with the slots that hold it, in the order of the tree.

    A shared module has several slots: model.a.act and model.b.act. A slot of a shared parent has several names: in a model whose
    a and b are one block, the single slot `act` of that block is called a.act and b.act.
    """
    named = dict(model.named_modules(remove_duplicate=False))
    names: dict[tuple[nn.Module | None, str], list[str]] = {}
    for name in named:
        prefix, _, key = name.rpartition(".")
        names.setdefault((named[prefix] if name else None, key), []).append(name)
    slots: dict[nn.Module, list[Slot]] = {}
    for (parent, key), found in names.items():
        slots.setdefault(named[found[0]], []).append(Slot(parent, key, tuple(found)))
    return slots


def _matcher(where: Selector) -> tuple[Callable[[str, nn.Module], bool], Callable[[nn.Module], bool]]:
    """(meant, replaceable): whether `where` means the module of this name, and whether a module that is meant may be replaced.

    A class is taken at its word and replaces whatever is of it. Patterns choose among activation modules only: "encoder.*" is not
    meant to replace layers. A function of (name, module) may also choose modules that only the user knows as activations.
    """
    items = [where] if isinstance(where, str | type) else list(where) if isinstance(where, Sequence) else []
    if where is None:
        return lambda name, module: True, is_activation
    if items and all(isinstance(item, str) for item in items):
        return lambda name, module: any(fnmatchcase(name, str(item)) for item in items), is_activation
    if items and all(isinstance(item, type) for item in items):
        classes = tuple(item for item in items if isinstance(item, type))
        return lambda name, module: isinstance(module, classes), lambda module: True
    if callable(where) and not isinstance(where, nn.Module):
        return where, lambda module: is_activation(module) or _unknown(module)
    raise TypeError(f"where={where!r} must be a name pattern, a class, several of either, or a function of (name, module)")


def _unknown(module: nn.Module) -> bool:
    """Whether this is a module without state that is not torch's: an activation, perhaps, that only the user knows."""
    return is_stateless(module) and not type(module).__module__.startswith("torch.nn.modules.")


def select_places(model: nn.Module, where: Selector) -> tuple[list[ModulePlace], list[tuple[str, str, str]]]:
    """The places to replace, and (name, class, reason) for what is meant and cannot be replaced.

    Raises ValueError if nothing is to be replaced, or if one module to replace is inside another.
    """
    meant, replaceable = _matcher(where)
    places: list[ModulePlace] = []
    skipped: list[tuple[str, str, str]] = []
    for module, slots in _slots(model).items():
        name = slots[0].names[0]
        chosen = tuple(slot for slot in slots if any(meant(name, module) for name in slot.names))
        reason = _why_kept(module, where)
        if chosen and replaceable(module):
            places.append(ModulePlace(module, chosen))
        elif chosen and reason:
            skipped.append((chosen[0].names[0], type(module).__name__, reason))
        # A function that is held as an attribute, self.act = F.relu, is no module and cannot be replaced: say so.
        if not is_activation(module) and not callable(where):
            held = {f"{name}.{key}".lstrip("."): value for key, value in vars(module).items() if is_function(value)}
            skipped += [(path, value.__name__, "a function, not a module") for path, value in held.items() if meant(path, module)]
    if not places:
        raise ValueError(_nothing(model, where, skipped))
    inside = {child: place for place in places for child in place.module.modules() if child is not place.module}
    for place in places:
        if place.module in inside:
            outer = inside[place.module].names[0] or "(root)"
            raise ValueError(f"where={where!r} matches {outer!r} and {place.names[0]!r} inside it; let it match one of them")
    return places, skipped


def _why_kept(module: nn.Module, where: Selector) -> str | None:
    """Why a module is not replaced; None if nobody would expect it to be."""
    if isinstance(module, NOT_ELEMENTWISE):
        return "not elementwise"
    if isinstance(module, RECURRENT):
        return "its activations run inside one fused call"
    return None if where is None or module._modules else "not an activation; where=its class replaces it all the same"


def _nothing(model: nn.Module, where: Selector, skipped: list[tuple[str, str, str]]) -> str:
    """The message of an error: nothing is to be replaced, and what the model has instead."""
    found = [f"{name or '(root)'} ({type(module).__name__})" for name, module in model.named_modules() if is_activation(module)]
    if not found:
        held = f"; it holds {', '.join(f'{name} ({kind}: {reason})' for name, kind, reason in skipped[:6])}" if skipped else ""
        return f"the model has no activation modules{held}; calls such as F.relu(x) are out of reach: make them modules"
    rest = f" and {len(found) - 6} more" if len(found) > 6 else ""
    return f"where={where!r} matches no activation module; the model has {', '.join(found[:6])}{rest}"
