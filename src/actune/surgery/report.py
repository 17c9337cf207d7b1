"""What a swap is to do, or has done, for a reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn
from torch.nn.parameter import is_lazy

from ..module import Activation
from ..recurrent import Recurrent
from .changes import Change
from .places import Kept

__all__ = ["Replacement", "SwapPlan", "describe"]


@dataclass(frozen=True)
class Replacement:
    """One place that gets a new module, with all its names.

    old, new    what is applied there before and afterwards
    channels    for how many channels, or elements of a sample, it has parameters; dim: the dimension of the channels
    shape       that of its input on the example
    parameters  the number of parameters that join the model, None while it is not known
    error       after a fit, what is left of it: the root mean square of the difference, over that of the old function's outputs
    text        where the call stands in the source, as far as known
    """

    names: tuple[str, ...]
    old: str
    new: str
    channels: int | tuple[int, ...] | None
    dim: int | None
    shape: tuple[int, ...] | None = None
    parameters: int | None = None
    text: str = ""
    error: float | None = None

    def __str__(self) -> str:
        fit = [f"channels={self.channels}"] * (self.channels is not None) + [f"dim={self.dim}"] * (self.dim is not None)
        said = f"{' = '.join(name or '(root)' for name in self.names)}: {self.old} -> {self.new} {' '.join(fit)}".rstrip()
        said += f" error={self.error:.2g}" if self.error is not None else ""
        return said + f"  [{self.text}]" * bool(self.text)


@dataclass(frozen=True, eq=False)
class SwapPlan:
    """What a swap does.

    replaced  one entry per place that gets a new module
    gates     gates, which are kept
    skipped   what else holds an activation function, or was meant by `where`, and is not replaced: name, function, reason, place
    note      why the example could not be run in both modes, "" if it could or if there was none
    """

    replaced: tuple[Replacement, ...]
    gates: tuple[Kept, ...]
    skipped: tuple[Kept, ...]
    note: str

    def __str__(self) -> str:
        lines = [f"replaced {_count(len(self.replaced), 'activation function')}", *(f"  {r}" for r in self.replaced)]
        for title, kept in (("kept {} that are gates", self.gates), ("skipped {}", self.skipped)):
            if kept:
                lines += [title.format(_count(len(kept), "place")), *(f"  {line}" for line in _grouped(kept))]
        return "\n".join([*lines, *([f"note: {self.note}"] if self.note else [])])


def _grouped(kept: Sequence[Kept]) -> Iterator[str]:
    """A line for each function and reason: the first name, how many more there are, and where it stands."""
    groups = Counter((k.function, k.reason) for k in kept)
    first = {(k.function, k.reason): k for k in reversed(kept)}
    for key, count in groups.items():
        k = first[key]
        more = f" and {count - 1} more" if count > 1 else ""
        yield f"{k.name or k.text or '(root)'}{more}: {k.function}: {k.reason}" + f"  [{k.text}]" * bool(k.text and k.name)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)


def describe(change: Change, error: float | None = None) -> Replacement:
    """A change in words and numbers."""
    place, own = change.place, [p for _, p in change.added]
    count = None if any(map(is_lazy, own)) else sum(p.numel() for p in own)
    shape = next((use.shape for use in place.uses if use.shape is not None), None)
    return Replacement(
        place.names, place.function, _in_words(change.new), change.fit.channels, change.fit.dim, shape, count, place.text, error
    )


def _in_words(module: nn.Module) -> str:
    if isinstance(module, Recurrent):
        return f"{type(module).__name__}({', '.join(f'{p}={_in_words(module.activation(p))}' for p in module.places)})"
    return str(module.family) if isinstance(module, Activation) else type(module).__name__
