"""The modules of a model that a user means, by name pattern, class or predicate, and the attributes that hold them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from torch import nn

from .activations import NOT_ELEMENTWISE, RECURRENT, is_activation, is_stateless

__all__ = ["Selector", "Slot", "chosen_modules", "matcher", "module_slots", "takes_gate", "why_not_replaceable"]

# What a user may pass as `where`.
Selector = str | type | Sequence[str] | Sequence[type] | Callable[[str, nn.Module], bool] | None


class Slot(NamedTuple):
    """An attribute of a parent that holds a module, or will. It has several names if the parent has. The root's has no parent."""

    parent: nn.Module | None
    key: str
    names: tuple[str, ...]


def module_slots(model: nn.Module) -> dict[nn.Module, list[Slot]]:
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


def matcher(where: Selector) -> tuple[Callable[[str, nn.Module], bool], Callable[[nn.Module], bool]]:
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


def takes_gate(where: Selector, names: Sequence[str]) -> bool:
    """Whether `where` means a gate, too: it is named in full, or by its class, or a function chose it."""
    items = [where] if isinstance(where, str) else list(where) if isinstance(where, Sequence) else []
    if all(isinstance(item, str) for item in items):
        return any(item in names for item in items) or (callable(where) and not isinstance(where, str))
    return True


def why_not_replaceable(module: nn.Module, where: Selector) -> str | None:
    """Why a module is not replaced; None if nobody would expect it to be."""
    if isinstance(module, NOT_ELEMENTWISE):
        return "not elementwise"
    if isinstance(module, nn.LSTM | nn.GRU):
        return "its activations run inside one fused call; act={'gate': …, 'cell': …} replaces the layer"
    if isinstance(module, RECURRENT):
        return "its activations run inside one fused call"
    return None if where is None or module._modules else "not an activation; where=its class replaces it all the same"


def chosen_modules(model: nn.Module, where: Selector) -> set[nn.Module]:
    """The modules that `where` means and that may be replaced."""
    meant, replaceable = matcher(where)
    return {m for m, slots in module_slots(model).items() if replaceable(m) and any(meant(n, m) for s in slots for n in s.names)}
