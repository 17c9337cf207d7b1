"""The places of a model where an activation function is applied: a module, an attribute that holds a function, a call.

    self.relu = nn.ReLU()           a module; called at two places of the source, it is two
    self.activation = F.relu        a function that an attribute holds
    F.gelu(x), x.tanh()             a call, which becomes one of a module: self.act(x)

Calls come from a run on an example, and from reading the source; without an example from reading alone.
"""

from __future__ import annotations

import types
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import nn

from .activations import is_activation
from .gates import can_be_gate
from .layout import Use, channel_layout
from .observe import ObservedCall
from .reading import WrittenCall, calls_in_source, held_functions
from .rewriting import original_class
from .select import Selector, Slot, matcher, module_slots, takes_gate, why_not_replaceable
from .sites import CallSite, attribute_called

__all__ = ["Kept", "Place", "find_places"]


@dataclass(frozen=True, eq=False)
class Place:
    """A place where a new module goes.

    slots     the attributes that hold it, or will
    module    the module that is there now, None for a function
    function  what is applied: the class of the module, or the name of the function
    sites     calls in the source that are to call the new module: none where its attribute is called already
    calls     the calls that a run on an example made
    gate      why it is a gate; "" if it is none
    text      where it stands in the source, as far as known
    """

    slots: tuple[Slot, ...]
    module: nn.Module | None
    function: str
    sites: tuple[CallSite, ...] = ()
    calls: tuple[ObservedCall, ...] = ()
    gate: str = ""
    text: str = ""

    @property
    def uses(self) -> tuple[Use, ...]:
        """What the inputs of its calls look like."""
        return tuple(call.use for call in self.calls)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for slot in self.slots for name in slot.names)

    @property
    def parent(self) -> nn.Module | None:
        return self.slots[0].parent


class Kept(NamedTuple):
    """An activation function that is not replaced: its name ("" where it has none), what it is, why, and where it stands."""

    name: str
    function: str
    reason: str
    text: str = ""


class Found(NamedTuple):
    """Places to replace, gates that are kept, and what cannot be reached or is never called."""

    places: list[Place]
    gates: list[Kept]
    skipped: list[Kept]


_NEVER = "the example never calls it"
_BY_SOURCE = "a gate, by the source: its result is multiplied or returned"
_OF_A_POOLER = "the function of a pooler"


def find_places(
    model: nn.Module, where: Selector, observed: list[ObservedCall] | None, *, with_gates: bool = False, shared: bool = False
) -> Found:
    """The places that a user means; observed: the calls that a run on an example made, None if there was no example."""
    slots = module_slots(model)
    names = {module: tuple(name for slot in found for name in slot.names) for module, found in slots.items()}
    places, skipped = _modules(slots, where, observed, shared)
    if where is None or _is_pattern(where):
        functions, more = _functions(model, names, observed)
        meant, _ = matcher(where)
        places += [p for p in functions if any(meant(name, nn.Identity()) for name in p.names)]
        skipped += [k for k in more if not k.name or meant(k.name, nn.Identity())]
    _check_none_inside_another(places, where)
    gates = [p for p in places if p.gate and not (with_gates or takes_gate(where, p.names))]
    kept = [Kept(p.names[0], p.function, p.gate, p.text) for p in gates]
    found = Found([p for p in places if p not in gates], kept, skipped)
    if not found.places:
        raise ValueError(_nothing(model, where, found))
    return found


def _is_pattern(where: Selector) -> bool:
    items = [where] if isinstance(where, str) else list(where) if isinstance(where, Sequence) else []
    return bool(items) and all(isinstance(item, str) for item in items)


# -- modules --------------------------------------------------------------------------------------------------------------


def _modules(
    slots: dict[nn.Module, list[Slot]], where: Selector, observed: list[ObservedCall] | None, shared: bool
) -> tuple[list[Place], list[Kept]]:
    meant, replaceable = matcher(where)
    places: list[Place] = []
    skipped: list[Kept] = []
    for module, held in slots.items():
        chosen = tuple(slot for slot in held if any(meant(name, module) for name in slot.names))
        if not chosen:
            continue
        kind = type(module).__name__
        if not replaceable(module):
            reason = why_not_replaceable(module, where)
            skipped += [Kept(chosen[0].names[0], kind, reason)] if reason else []
            continue
        calls = None if observed is None else [c for c in observed if c.module is module]
        if calls is not None and not calls:
            skipped.append(Kept(chosen[0].names[0], kind, _NEVER))
            continue
        places += (
            [Place(chosen, module, kind, (), tuple(calls or ()), _gate(module, chosen, calls))]
            if shared
            else _apart(module, chosen, calls)
        )
    return places, skipped


def _apart(module: nn.Module, chosen: tuple[Slot, ...], calls: list[ObservedCall] | None) -> Iterator[Place]:
    """A place for each attribute that holds a module, and there for each call in the source."""
    kind = type(module).__name__
    for slot in chosen:
        own = None if calls is None else _calls_through(slot, chosen, calls)
        sites = _sites_of(slot, own)
        if len(sites) < 2 or slot.parent is None:
            text = str(sites[0]) if sites else ""
            yield Place((slot,), module, kind, (), tuple(own or ()), _gate(module, (slot,), own), text)
            continue
        taken: set[str] = set()
        for i, site in enumerate(sites):
            here = None if own is None else [c for c in own if c.site == site or (i == 0 and c.site not in sites)]
            key = slot.key if i == 0 else _free_name(slot.parent, slot.key, taken)
            named = Slot(slot.parent, key, tuple(name[: len(name) - len(slot.key)] + key for name in slot.names))
            yield Place(
                (named,), module, kind, () if i == 0 else (site,), tuple(here or ()), _gate(module, (slot,), here), str(site)
            )


def _calls_through(slot: Slot, chosen: tuple[Slot, ...], calls: list[ObservedCall]) -> list[ObservedCall]:
    """The calls of a shared module that one of its attributes made, as far as that can be told; else all."""
    mine = [c for c in calls if isinstance(c.site, CallSite) and c.site.owner is slot.parent]
    beside = [s for s in chosen if s.parent is slot.parent]
    if len(beside) > 1 and isinstance(slot.parent, nn.Sequential):  # one module twice in a Sequential: in turns
        mine = [c for i, c in enumerate(mine) if i % len(beside) == beside.index(slot)]
    return mine or calls


def _sites_of(slot: Slot, calls: list[ObservedCall] | None) -> list[CallSite]:
    """The calls self.KEY(…) in the source of the class that holds the module; of those, with an example, which it made."""
    if slot.parent is None or _is_of_torch(slot.parent):
        return []
    written = {(w.code, w.end) for w in calls_in_source(slot.parent) if w.form == "module" and w.function == slot.key}
    if calls is None:
        sites = [CallSite(slot.parent, code, end, "module", slot.key) for code, end in written]
    else:
        seen = dict.fromkeys(c.site for c in calls if isinstance(c.site, CallSite) and c.site.owner is slot.parent)
        sites = [site for site in seen if (site.code, site.end) in written]
    return sorted(sites, key=lambda site: (site.code.co_firstlineno, site.end))


def _gate(module: nn.Module, slots: tuple[Slot, ...], calls: list[ObservedCall] | None) -> str:
    """Why a module is a gate, "" if it is none. Without an example, the source and the containers tell."""
    if not can_be_gate(module):
        return ""
    if "pooler" in "".join(name.lower() for slot in slots for name in slot.names):
        return _OF_A_POOLER
    if calls is not None:
        return _observed_gate(calls)
    return next((reason for slot in slots if (reason := _gate_by_reading(slot))), "")


def _observed_gate(calls: Sequence[ObservedCall]) -> str:
    return next((c.gate for c in calls if c.gate), "")


def _gate_by_reading(slot: Slot) -> str:
    if slot.parent is None:
        return ""
    if isinstance(slot.parent, nn.Sequential):
        after = list(slot.parent)[list(slot.parent._modules).index(slot.key) + 1 :]
        followed = any(channel_layout(m) is not None for child in after for m in child.modules())
        return "" if followed else "it ends its Sequential, as gates and outputs do; an example would tell"
    written = [w for w in calls_in_source(slot.parent) if w.form == "module" and w.function == slot.key]
    if any(w.gate for w in written):
        return _BY_SOURCE
    is_called_so = any(word in name.lower() for word in ("sigm", "gate") for name in slot.names)
    return (
        "by its name it may be a gate; where it is called is not known, and an example would tell"
        if is_called_so and not written
        else ""
    )


# -- functions ------------------------------------------------------------------------------------------------------------


def _functions(
    model: nn.Module, names: dict[nn.Module, tuple[str, ...]], observed: list[ObservedCall] | None
) -> tuple[list[Place], list[Kept]]:
    places = list(_held(model, names, observed))
    lost = [Kept("", c.function, c.site) for c in observed or () if c.module is None and isinstance(c.site, str)]
    skipped = list(dict.fromkeys(lost))  # each once, however often it runs
    skipped += [
        Kept(p.names[0], p.function, _NEVER, p.text) for p in places if observed is not None and not p.calls
    ]  # fmt: skip
    places = [p for p in places if observed is None or p.calls]
    calls: dict[CallSite, list[ObservedCall]] = defaultdict(list)
    for call in observed or ():
        if call.module is None and isinstance(call.site, CallSite) and not _is_held(call.site):
            calls[call.site].append(call)
    written = list(_written(model))
    taken: dict[nn.Module, set[str]] = defaultdict(set)
    for site in sorted({*calls, *(written if observed is None else ())}, key=lambda s: (s.code.co_firstlineno, s.end)):
        if _is_of_torch(site.owner):
            skipped.append(
                Kept(names[site.owner][0], site.function, f"it stands in torch's own {type(site.owner).__name__}", str(site))
            )
            continue
        places.append(_call_place(site, calls.get(site), names[site.owner], taken[site.owner]))
    if observed is not None:
        there = {(s.owner, s.code, s.end) for s in calls}
        skipped += [
            Kept(names[s.owner][0], s.function, _NEVER, str(s)) for s in written if (s.owner, s.code, s.end) not in there
        ]  # fmt: skip
    return places, skipped


def _held(model: nn.Module, names: dict[nn.Module, tuple[str, ...]], observed: list[ObservedCall] | None) -> Iterator[Place]:
    """Attributes that hold a function: one of torch's, or what an example saw called through an attribute."""
    through: dict[tuple[nn.Module, str], list[ObservedCall]] = defaultdict(list)
    for call in observed or ():
        if call.module is None and isinstance(call.site, CallSite) and _is_held(call.site):
            through[call.site.owner, attribute_called(call.site) or ""].append(call)
    for module in model.modules():
        if is_activation(module):
            continue
        keys = {key: value.__name__.strip("_") for key, value in held_functions(module)}
        keys |= {key: calls[0].function for (owner, key), calls in through.items() if owner is module}
        for key, function in keys.items():
            calls = through.get((module, key), [])
            slot = Slot(module, key, tuple(f"{name}.{key}".lstrip(".") for name in names[module]))
            yield Place((slot,), None, function, (), tuple(calls), _observed_gate(calls), str(calls[0].site) if calls else "")


def _is_held(site: CallSite) -> bool:
    key = attribute_called(site)
    return key is not None and callable(vars(site.owner).get(key))


def _call_place(site: CallSite, calls: list[ObservedCall] | None, owners: tuple[str, ...], taken: set[str]) -> Place:
    key = _free_name(site.owner, "act", taken)
    slot = Slot(site.owner, key, tuple(f"{name}.{key}".lstrip(".") for name in owners))
    gate = ""
    if site.form == "helper" and not can_be_gate(site.function):
        pass  # the gates inside of a function that is replaced as a whole are no matter
    elif calls is None:
        found = next((w for w in calls_in_source(site.owner) if (w.code, w.end) == (site.code, site.end)), None)
        gate = _BY_SOURCE if found and found.gate and can_be_gate(site.function) else ""
    else:
        gate = _observed_gate(calls)
    if not gate and can_be_gate(site.function) and "pooler" in f"{owners[0]} {type(site.owner).__name__}".lower():
        gate = _OF_A_POOLER
    return Place((slot,), None, site.function, (site,), tuple(calls or ()), gate, str(site))


def _written(model: nn.Module) -> Iterator[CallSite]:
    """The calls of functions that the source of the model's classes has."""
    for module in model.modules():
        if not is_activation(module) and not _is_of_torch(module):
            for w in calls_in_source(module):
                if w.form != "module" and not _is_changed(module, w.code, w):
                    yield CallSite(module, w.code, w.end, w.form, w.function)


def _is_changed(module: nn.Module, code: types.CodeType, written: WrittenCall) -> bool:
    """Whether a swap has made this call one of a module already."""
    ends = {(code.co_firstlineno + spot.line, spot.column) for edit in getattr(module, "_actune_edits", ()) for spot in edit.spots}
    return tuple(written.end) in ends


def _is_of_torch(module: nn.Module) -> bool:
    return original_class(type(module)).__module__.startswith("torch.")


def _free_name(owner: nn.Module, wanted: str, taken: set[str]) -> str:
    """A name that the owner has not: act, act_1, act_2, …"""
    candidates = (wanted if i == 0 else f"{wanted}_{i}" for i in range(10**6))
    name = next(n for n in candidates if n not in taken and not hasattr(owner, n))
    taken.add(name)
    return name


# -- errors ---------------------------------------------------------------------------------------------------------------


def _check_none_inside_another(places: list[Place], where: Selector) -> None:
    modules = {p.module: p for p in places if p.module is not None}
    inside = {child: p for module, p in modules.items() for child in module.modules() if child is not module}
    for module, place in modules.items():
        if module in inside:
            outer = inside[module].names[0] or "(root)"
            raise ValueError(f"where={where!r} matches {outer!r} and {place.names[0]!r} inside it; let it match one of them")


def _nothing(model: nn.Module, where: Selector, found: Found) -> str:
    """The message of an error: nothing is to be replaced, and what the model has instead."""
    if found.gates:
        listed = "; ".join(f"{k.name} ({k.function}): {k.reason}" for k in found.gates[:3])
        return f"all that could be replaced is kept: {listed}; gates=True replaces gates, too"
    there = [f"{name or '(root)'} ({type(module).__name__})" for name, module in model.named_modules() if is_activation(module)]
    if not there or where is None:
        held = f"; {', '.join(f'{k.name or k.text or k.function} ({k.function}: {k.reason})' for k in found.skipped[:6])}"
        return f"the model has no activation function that can be replaced{held if found.skipped else ''}"
    rest = f" and {len(there) - 6} more" if len(there) > 6 else ""
    return f"where={where!r} matches no activation module; the model has {', '.join(there[:6])}{rest}"
