"""The card of a trained model: where its activation functions are, what they have become, and what they see."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..catalogue.files import function_of_record, function_record
from ..messages import shorten, shown
from ..module import Activation
from ..plain_data import from_plain, read_plain, write_whole
from ..surgery.activations import RECURRENT, check_model, is_activation
from ..surgery.observe import ObservedCall, watch_calls
from ..surgery.rewriting import original_class
from .identity import identified
from .inputs import InputRecord, InputSummary

__all__ = ["ActivationCard", "ModelCard", "ValueSummary", "card", "read_card"]

_FORMAT = 1
_MAX_BYTES = 100_000_000  # of a file
_LISTED = 1024  # values of a parameter that a card lists; of more it has the summary


@dataclass(frozen=True)
class ValueSummary:
    """The values of a parameter as the formula sees them; None stands for one that is infinite or nan.

    count                 how many there are
    low, median, high     the smallest, the one in the middle, the largest
    initial               where training started, for a function of actune: one number, or one per entry of a vector
    learns                whether training may change it
    values                all of them, up to 1024; else none
    """

    count: int
    low: float | None
    median: float | None
    high: float | None
    initial: tuple[float, ...] | None
    learns: bool
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class ActivationCard:
    """One place with an activation function.

    names       of the module, or of the module whose method calls the function
    function    the family or formula; for functions of other libraries the class or the name
    formula     with its parameters; for functions of other libraries that of the family with the same values, None without one
    scope       of an `Activation`: "layer", "channel" or "neuron"
    parameters  what has been learned, by name
    source      where the call stands, or why that is not known
    gate        why it is a gate, "" if it is none
    inputs      what it saw; None if no inputs were given, or none reached it
    record      of an `Activation`: its function as `save` writes it, None for a constraint that no file holds
    """

    names: tuple[str, ...]
    function: str
    formula: str | None
    scope: str | None
    parameters: Mapping[str, ValueSummary]
    source: str
    gate: str
    inputs: InputSummary | None
    record: Mapping[str, Any] | None


@dataclass(frozen=True)
class ModelCard:
    """What `card` finds in a model.

    model        its class
    actune       the version that made the card
    batches      how many batches it ran on
    activations  one entry per place, in the order in which the model calls them; then modules that it never called
    notes        what cannot be seen: functions inside of torch's recurrent layers
    """

    model: str
    actune: str
    batches: int
    activations: tuple[ActivationCard, ...]
    notes: tuple[str, ...]

    def ranges(self) -> dict[str, tuple[float, float]]:
        """The lowest and the highest input of each `Activation` that saw several numbers, by its names."""
        return {
            name: (entry.inputs.low, entry.inputs.high)
            for entry in self.activations
            if entry.scope is not None and entry.inputs is not None
            for name in entry.names
            if entry.inputs.low is not None and entry.inputs.high is not None and entry.inputs.low < entry.inputs.high
        }

    def to_json(self) -> dict[str, Any]:
        """The card as plain data for `json.dumps`, which `read_card` reads."""
        return {"actune_card": _FORMAT} | asdict(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the card to a file, which appears as a whole or not at all."""
        text = json.dumps(self.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
        write_whole(Path(path), text + "\n")


def card(model: nn.Module, batches: Any = None) -> ModelCard:
    """Describe the activation functions of a model: where they are, their formulas and learned values, and what they see.

    batches  inputs of the model, one after the other: a list, a loader, or anything that gives for each batch a tensor, a tuple of
             arguments, or a dict of keyword arguments; of a list that a loader of (inputs, targets) gives, the first is taken. A
             single tensor or dict is one batch. The model runs on them in evaluation, and nothing in it changes

    With batches, calls of functions such as F.gelu(x) are found, too, and each place says its range of inputs, a histogram, the
    share of inputs at which the function is saturated, and of units that are dead. Raises what the model raises on an input.
    """
    check_model(model)
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(name)
    found = _Places(names)
    number = 0
    for batch in _each(batches):
        watch_calls(model, batch, (), False, found)
        number += 1
    called = list(found.cards())
    idle = [_module_card(m, names[m]) for m in names if is_activation(m) and m not in found.calls]
    closed = [m for m in names if isinstance(m, RECURRENT)]
    notes = tuple(f"{names[m][0]} ({type(m).__name__}): its functions run inside of torch" for m in closed)
    return ModelCard(original_class(type(model)).__name__, version("actune"), number, (*called, *idle), notes)


def _each(batches: Any) -> Iterable[Any]:
    if batches is None:
        return ()
    if isinstance(batches, Tensor | Mapping):
        return (batches,)
    if not isinstance(batches, Iterable):
        raise TypeError(f"batches must be inputs of the model, or something that gives them, got {shown(batches)}")
    return (batch[0] if isinstance(batch, list) and batch else batch for batch in batches)


class _Places:
    """Gathers what each place sees: it is what a run of the model shows its calls to."""

    def __init__(self, names: Mapping[nn.Module, list[str]]):
        self.names = names
        self.calls: dict[object, list[ObservedCall]] = {}
        self.records: dict[object, InputRecord] = {}
        self.formulas: dict[object, str | None] = {}  # of functions

    def __call__(self, call: ObservedCall, x: Tensor, compute: Callable[[Tensor], Any]) -> None:
        place = call.site if call.module is None else call.module
        if place not in self.calls:
            self.calls[place], self.records[place] = [], InputRecord()
            self.formulas[place] = identified(call.function, compute) if call.module is None else None
        self.calls[place].append(call)
        dim = call.module.dim if isinstance(call.module, Activation) else call.use.dim
        self.records[place].add(x, -1 if dim is None else dim, compute)

    def cards(self) -> Iterator[ActivationCard]:
        """A card per place, in the order of the first calls."""
        for place, calls in self.calls.items():
            first, inputs = calls[0], self.records[place].summary()
            gate = next((c.gate for c in calls if c.gate), "")
            source = str(first.site)
            if first.module is not None:
                yield _module_card(first.module, self.names[first.module], inputs, source, gate)
            else:
                names = () if isinstance(first.site, str) else tuple(self.names[first.site.owner])
                yield ActivationCard(names, first.function, self.formulas[place], None, {}, source, gate, inputs, None)


def _module_card(
    module: nn.Module, names: Sequence[str], inputs: InputSummary | None = None, source: str = "", gate: str = ""
) -> ActivationCard:
    if isinstance(module, Activation):
        f, values, record = module.family, _values_of(module), None
        with suppress(ValueError):
            record = function_record(f)
        return ActivationCard(tuple(names), f.name, f.text, module.scope, values, source, gate, inputs, record)
    values = {n: _summary(p, p, None) for n, p in module.named_parameters(recurse=False) if not is_lazy(p)}
    formula = identified(type(module).__name__, module.forward)
    return ActivationCard(tuple(names), repr(module), formula, None, values, source, gate, inputs, None)


def _values_of(act: Activation) -> dict[str, ValueSummary]:
    if any(map(is_lazy, act.parameters())):
        return {}
    with torch.no_grad():
        values = act.values()
    initial = {n: p.init if isinstance(p.init, tuple) else (p.init,) for n, p in act.family.params.items()}
    return {name: _summary(value, getattr(act, name), initial[name]) for name, value in values.items()}


def _summary(value: Tensor, parameter: Tensor, initial: tuple[float, ...] | None) -> ValueSummary:
    numbers = value.detach().double().flatten().cpu()
    every = tuple(map(_number, numbers)) if len(numbers) <= _LISTED else ()
    low, median, high = map(_number, (numbers.min(), numbers.median(), numbers.max()))  # nan if one of them is
    return ValueSummary(len(numbers), low, median, high, initial, parameter.requires_grad, every)


def _number(value: Tensor) -> float | None:
    return float(value) if bool(value.isfinite()) else None


def read_card(path: str | os.PathLike[str]) -> ModelCard:
    """The card in a file that `ModelCard.save` wrote; raises ValueError, one line that says what is wrong with the file."""
    name = shown(str(path), 200)
    try:
        data = read_plain(Path(path), _MAX_BYTES)
    except OSError as error:
        raise ValueError(f"cannot read the card in {name}: {error.strerror}; `actune card MODEL -o FILE` writes one") from None
    except ValueError as error:
        raise ValueError(f"{name} is no card that `actune card` wrote: {shorten(str(error), 100)}") from None
    if not isinstance(data, dict) or data.pop("actune_card", None) != _FORMAT:
        raise ValueError(f'{name} is no card in format {_FORMAT} of `actune card` (it has no "actune_card": {_FORMAT})')
    try:
        found: ModelCard = from_plain(ModelCard, data, "the card")
        for entry in found.activations:
            if entry.record is not None:
                function_of_record(entry.record, f"the function of {shown(entry.names[0] if entry.names else '')}")
    except ValueError as error:
        raise ValueError(f"{name} is damaged: {shorten(str(error), 200)}; write it again with `actune card`") from None
    return found
