"""A function whose parameters have become constants: what is exported."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from ..catalogue.registry import Family
from ..language.expr import Expr
from ..messages import shorten
from ..module import Activation

__all__ = ["FrozenFunction", "frozen_activation", "frozen_family", "frozen_functions"]


@dataclass(frozen=True, eq=False)
class FrozenFunction:
    """A function of x alone.

    name     an identifier
    e        its formula; numbers that differ along x, one per channel or neuron, are symbols
    arrays   the numbers of these symbols
    shape    of an array, as x has it without the batch dimension (scope neuron) or along `dim` (scope channel)
    title    what it is, one line
    place    its module in a model, "" for a function alone
    error    of the formula, if it only comes near: the largest over max(1, |value|), over float32 numbers of every size
    """

    name: str
    e: Expr
    arrays: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    dim: int | None = None
    title: str = ""
    place: str = ""
    error: float | None = None

    def shape_text(self, ndim: str) -> str:
        """The shape in which an array broadcasts against x, as source in Python; `ndim` is the text of the number of dimensions."""
        if self.dim is None:
            return repr((1, *self.shape))
        return f"(-1, *(1,)*({ndim} - {1 + self.dim}))" if self.dim >= 0 else repr((-1, *(1,) * (-1 - self.dim)))


def frozen_family(f: Family, name: str = "activation") -> FrozenFunction:
    """The family at its initial values."""
    return FrozenFunction(name, f.at_initial(), title=_title(f, dict(f.initial())))


def frozen_activation(act: Activation, name: str = "activation") -> FrozenFunction:
    """The function that a module computes now. ValueError if a parameter has no size yet, or a value that no formula holds."""
    f = act.family
    lazy = [n for n, p in act.named_parameters() if nn.parameter.is_lazy(p)]
    if lazy:
        raise ValueError(f"the parameter {lazy[0]!r} of {name} has no size yet; call the module once, or give channels=…")
    if _has_initial_values(act):
        return frozen_family(f, name)
    numbers: dict[str, float] = {}
    arrays: dict[str, tuple[float, ...]] = {}
    with torch.no_grad():
        for (parameter, p), value in zip(f.params.items(), act.values().values(), strict=True):
            rows = value.double().reshape(len(p.symbols(parameter)), -1).tolist()
            for symbol, row in zip(p.symbols(parameter), rows, strict=True):
                if len(set(row)) == 1:
                    numbers[symbol] = row[0]
                else:
                    arrays[symbol] = tuple(row)
    shape = act.channels if isinstance(act.channels, tuple) else (act.channels,) if act.channels else ()
    dim = act.dim if act.scope == "channel" else None
    return FrozenFunction(name, f.expr.substitute(numbers), arrays, shape, dim, _title(f, numbers))


def frozen_functions(model: nn.Module) -> tuple[FrozenFunction, ...]:
    """The functions of all activations in a model, named by their places: `activation_features_3`."""
    found: dict[str, FrozenFunction] = {}
    for place, module in model.named_modules():
        if isinstance(module, Activation):
            name = re.sub(r"\W", "_", f"activation.{place}" if place else "activation")
            name = f"{name}_{len(found)}" if name in found else name  # a.b and a_b
            found[name] = replace(frozen_activation(module, name), place=place)
    if not found:
        raise ValueError(f"the model has no actune.Activation (it is a {type(model).__name__}); put some in with actune.swap")
    return tuple(found.values())


def _has_initial_values(act: Activation) -> bool:
    start = act.fresh(channels=act.channels, dtype=next((p.dtype for p in act.parameters()), None))
    pairs = zip(act.parameters(), start.parameters(), strict=True)
    return all(torch.equal(p.detach().cpu(), q.detach().cpu()) for p, q in pairs)


def _title(f: Family, values: Mapping[str, float]) -> str:
    """The name and the numbers of a function in one line that cannot end a comment or a docstring, whatever a file says."""
    numbers = ", ".join(f"{name} = {number:.6g}" for name, number in values.items())
    text = f"{shorten(f.name)} with {numbers}" if numbers else shorten(f.name)
    return re.sub(r"[^\w .,;=()+*/^<>-]", " ", text)
