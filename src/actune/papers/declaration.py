"""Papers and experiments as data: what is compared, on which tasks, at which scale, and what is claimed of it.

A paper is one file in `declared/`, a table and nothing else. An experiment is a table of functions × parts × seeds, of which each
cell is one run; the numbers of a function with a seed are the means over the parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from ..catalogue.registry import Family, resolve
from ..experiments.measures import Measure
from ..experiments.tasks import Task
from ..experiments.training.networks import ActivationChoice
from ..messages import suggestion
from ..module import Activation
from .claims import Claim, measure_named

__all__ = ["SCALES", "Experiment", "FunctionChoice", "Paper", "Procedure", "Scale", "Variant", "activation_choice", "choice_text"]

# smoke: seconds, on data that is drawn, which decides nothing; laptop: real data, two cores; full: the paper's setting, one GPU.
SCALES = ("smoke", "laptop", "full")


@dataclass(frozen=True)
class Variant:
    """A function that differs from what it is by itself.

    learns    the parameters that learn; (): it is fixed; None: those that the family says
    initial   other initial values
    scope     "layer", "channel" or "neuron", instead of the task's
    """

    function: str
    learns: tuple[str, ...] | None = None
    initial: tuple[tuple[str, float], ...] = ()
    scope: str | None = None

    def __str__(self) -> str:
        said = [] if self.learns is None else [f"{', '.join(self.learns) or 'nothing'} learns"]
        said += [f"{name}={value:g}" for name, value in self.initial] + ([] if self.scope is None else [f"for each {self.scope}"])
        return "; ".join([self.function, *said])


# A name, a formula or a family; torch's own; a variant; one for each place.
FunctionChoice = str | Family | type[nn.Module] | Variant | Mapping[str, str]


def activation_choice(choice: FunctionChoice, scope: str) -> ActivationChoice:
    """What `train` takes for this choice."""
    if not isinstance(choice, Variant):
        return choice
    family = resolve(choice.function, **dict(choice.initial))
    trainable = None if choice.learns is None else {name: name in choice.learns for name in family.params}
    return Activation(family, scope=choice.scope or scope, trainable=trainable)


def choice_text(choice: FunctionChoice) -> str:
    """The choice in words, equal only for equal choices."""
    if isinstance(choice, Mapping):
        return ", ".join(f"{place}: {f}" for place, f in choice.items())
    return f"torch.nn.{choice.__name__}" if isinstance(choice, type) else str(choice)


class Procedure(Protocol):
    """What a run does: usually one training.

    It gives plain data: `scores`, the numbers by measure, and what else is to be kept. The same task, choice and seed give the same
    scores, but for times.

    place   a storage and the name of a study, for a search that is to go on where it stopped; None: nothing is kept
    """

    def __call__(
        self, task: Task, choice: FunctionChoice, seed: int, device: str, place: tuple[str | Path, str] | None
    ) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Scale:
    """How large an experiment is.

    parts      the tasks by name: digits of one-class MNIST, data sets of UCI; most experiments have one
    seeds      the number of runs of each function on each part
    arguments  what the procedure is told besides: {"trials": 1000}
    """

    parts: Mapping[str, Task]
    seeds: int = 3
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """Functions on tasks, with the claims about them.

    functions   by label, the baseline among them
    scales      rows of `SCALES`
    procedure   what a run does
    plots       rows of the plots in `show/reproduction.py`
    needs       what has to be got first, and cannot be downloaded without more ado
    """

    name: str
    summary: str
    functions: Mapping[str, FunctionChoice]
    baseline: str
    scales: Mapping[str, Scale]
    claims: tuple[Claim, ...]
    procedure: Procedure
    plots: tuple[str, ...] = ("functions",)
    needs: str = ""
    first_seed: int = 2000

    def __post_init__(self) -> None:
        needed = [self.baseline, *(f for c in self.claims for f in c.question.functions)]
        for name in needed:
            if name not in self.functions:
                raise ValueError(f"the experiment {self.name!r} has no function {name!r}{suggestion(name, self.functions)}")
        for name in self.scales:
            if name not in SCALES:
                raise ValueError(f"the experiment {self.name!r} has the scale {name!r} (known: {', '.join(SCALES)})")
        if not set(self.scales) - {"smoke"}:
            raise ValueError(f"the experiment {self.name!r} needs a scale that decides, laptop or full; smoke decides nothing")

    @property
    def measure(self) -> Measure:
        """What the experiment is about, unless a claim says otherwise."""
        return next(iter(next(iter(self.scales.values())).parts.values())).measure

    @property
    def shown(self) -> Measure:
        """What tables and pictures show: what its first claim is about."""
        named = self.claims[0].measure
        return self.measure if named is None else measure_named(named)

    def seeds(self, scale: str, count: int | None = None) -> range:
        """The seeds of a scale; count: so many instead."""
        return range(self.first_seed, self.first_seed + (count or self.scales[scale].seeds))


@dataclass(frozen=True)
class Paper:
    """A paper and its experiments; arxiv is None for what no paper claims."""

    name: str
    title: str
    arxiv: str | None
    experiments: tuple[Experiment, ...]

    def experiment(self, name: str) -> Experiment:
        """The experiment of this name."""
        known = {e.name: e for e in self.experiments}
        if name not in known:
            raise ValueError(
                f"the paper {self.name!r} has no experiment {name!r}{suggestion(name, known)} (it has {', '.join(known)})"
            )
        return known[name]
