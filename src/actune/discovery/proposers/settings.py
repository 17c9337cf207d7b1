"""Methods of search as data: how candidates are bred, how one is trained, how leaders are chosen; each choice a named setting."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from ...messages import suggestion
from .space import Space

__all__ = ["METHODS", "PARTS", "Budget", "Method", "Ranking", "Settings", "find_method"]


@dataclass(frozen=True)
class Settings:
    """How candidates are bred. A trial records what differs from the defaults.

    proposers    rows of `PROPOSERS`, and names of a user's own, with the weight of each
    start        number of first trials that evolution draws as random formulas, and the surrogate unranked
    population   the number of latest trials that can be parents
    sample       the number of them that a parent is the best of
    mutations    the most of them for one child
    batch        the number of children among which the surrogate chooses
    shortlist    the number of them, the best by their outputs, that a probe looks at where there is one; 0: none
    novelty      least distance to the outputs of functions already tried; nearer children are ranked last, because the surrogate
                 cannot tell them apart from what it knows. 0 disables
    memory       the number of latest trials that the surrogate learns from
    screening    reject what cannot be trained or was seen before, and draw again
    attempts     the most draws for one candidate, before the search gives up
    space        what formulas are made of
    """

    proposers: tuple[tuple[str, float], ...] = (("surrogate", 0.7), ("evolution", 0.2), ("catalogue", 0.05), ("random", 0.05))
    start: int = 12
    population: int = 64
    sample: int = 16
    mutations: int = 4
    batch: int = 32
    shortlist: int = 4
    novelty: float = 0.003
    memory: int = 256
    screening: bool = True
    attempts: int = 1000
    space: Space = field(default_factory=Space)

    @property
    def probing(self) -> bool:
        """Whether a probe is asked: only the surrogate uses one."""
        return self.shortlist > 0 and any(name == "surrogate" and weight > 0 for name, weight in self.proposers)


@dataclass(frozen=True)
class Budget:
    """How a candidate of a task is trained, and what its trial is worth.

    objectives    rows of `OBJECTIVES`; the first is what the best is the best of. Several: see `front`
    epochs        share of the task's epochs
    floor         validation accuracy below which a candidate is discarded: its trial counts, as pruned
    first_rung    share of the epochs, rounded up, after which a hopeless candidate is pruned, then at each multiple by `reduction`;
                  0: never
    reduction     one of this many candidates goes on at each rung (Optuna's SuccessiveHalvingPruner)
    spared        number of first trials that are never pruned: there is nothing yet to compare them with
    """

    objectives: tuple[str, ...] = ("loss",)
    epochs: float = 1.0
    floor: float = 0.0
    first_rung: float = 0.25
    reduction: int = 2
    spared: int = 12

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON gives them back."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


@dataclass(frozen=True)
class Ranking:
    """How the winner is chosen among the best of the study, which were the best on one seed.

    leaders     number that is trained again on fresh seeds and ordered by the mean; 0: none, the study's order holds
    runs        trainings of each
    epochs      of these trainings, as a multiple of the task's
    finalists   number of the best that are compared with the usual functions on the test part
    """

    leaders: int = 8
    runs: int = 5
    epochs: float = 1.0
    finalists: int = 3


@dataclass(frozen=True)
class Method:
    """A way to search.

    fisher   the surrogate is told of the Fisher information of the task's network with a candidate, before training: see `Fisher`
    """

    settings: Settings = field(default_factory=Settings)
    budget: Budget = field(default_factory=Budget)
    ranking: Ranking = field(default_factory=Ranking)
    fisher: bool = False

    def without(self, parts: Iterable[str]) -> Method:
        """The method with these parts (names in `PARTS`) switched off."""
        changed = self
        for part in parts:
            changed = _settings_row(PARTS, part, "part of a search")(changed)
        return changed


_ALONE = Budget(first_rung=0)

# The settings of PANGAEA are the paper's (arXiv:2006.03179), some as commonly reported: population and sample, the floor, trainings
# of half the full length, the ten best ranked by two trainings of full length, the best three tested. What it says nothing of is
# as everywhere here: parents are the latest trials that were not discarded, and formulas have at most `Space.size` nodes.
METHODS: dict[str, Method] = {
    "better": Method(),
    "fisher": Method(fisher=True),
    "pangaea": Method(
        Settings((("evolution", 1.0),), start=64, population=64, sample=16, mutations=1, screening=False,
                 space=Space(families=0.0, parameters=3)),
        Budget(objectives=("error",), epochs=0.5, floor=0.2, first_rung=0),
        Ranking(leaders=10, runs=2, epochs=1.0, finalists=3),
    ),
    "evolution": Method(Settings((("evolution", 1.0),), start=32), _ALONE),
    "random": Method(Settings((("random", 1.0),)), _ALONE),
}  # fmt: skip


def _no_proposer(name: str) -> Callable[[Method], Method]:
    def switched(m: Method) -> Method:
        kept = tuple((n, weight) for n, weight in m.settings.proposers if n != name)
        return replace(m, settings=replace(m.settings, proposers=kept or (("evolution", 1.0),)))

    return switched


# What can be switched off by name.
PARTS: dict[str, Callable[[Method], Method]] = {
    "catalogue": _no_proposer("catalogue"),
    "surrogate": _no_proposer("surrogate"),
    "fisher": lambda m: replace(m, fisher=False),
    "novelty": lambda m: replace(m, settings=replace(m.settings, novelty=0.0)),
    "screening": lambda m: replace(m, settings=replace(m.settings, screening=False)),
    "pruning": lambda m: replace(m, budget=replace(m.budget, first_rung=0)),
    "confirmation": lambda m: replace(m, ranking=replace(m.ranking, leaders=0)),
}


def find_method(what: str | Method) -> Method:
    """The method of this name; a Method is returned as it is."""
    return what if isinstance(what, Method) else _settings_row(METHODS, what, "method of search")


_Row = TypeVar("_Row")


def _settings_row(table: dict[str, _Row], name: str, what: str) -> _Row:
    if name not in table:
        raise ValueError(f"unknown {what} {name!r}{suggestion(str(name), table)} (known: {', '.join(table)})")
    return table[name]
