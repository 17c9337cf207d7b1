"""What a proposer reads and what it gives: the finished trials of a study, and a function to train next."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import overload

from ...catalogue.registry import FAMILIES, Family, resolve

__all__ = ["Draft", "FinishedTrial", "History", "Probe", "Proposer", "without_constraints"]


@dataclass(frozen=True)
class FinishedTrial:
    """A finished trial.

    text         its activation, as the study keeps it
    loss         the first objective, the smaller the better; infinite if the trial failed, diverged or was pruned
    fingerprint  equal for candidates that would train alike
    reported     the last value that a pruned trial reported, infinite without one
    others       the objectives after the first, the smaller the better
    probed       the numbers that the study's probe told of it; None without one
    """

    number: int
    text: str
    loss: float
    fingerprint: str
    reported: float = math.inf
    others: tuple[float, ...] = ()
    probed: tuple[float, ...] | None = None

    @functools.cached_property
    def function(self) -> Family | None:
        """The activation; None where its text cannot be read: a user may queue anything, and such a trial fails."""
        try:
            return resolve(self.text)
        except ValueError:
            return None


class History(Sequence[FinishedTrial]):
    """The finished trials, oldest first; what many proposers ask of them is computed once."""

    def __init__(self, trials: Iterable[FinishedTrial] = ()) -> None:
        self._trials = tuple(trials)

    @overload
    def __getitem__(self, at: int) -> FinishedTrial: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[FinishedTrial, ...]: ...
    def __getitem__(self, at: int | slice) -> FinishedTrial | tuple[FinishedTrial, ...]:
        return self._trials[at]

    def __iter__(self) -> Iterator[FinishedTrial]:
        return iter(self._trials)

    def __len__(self) -> int:
        return len(self._trials)

    @functools.cached_property
    def fingerprints(self) -> frozenset[str]:
        return frozenset(past.fingerprint for past in self._trials)

    def latest(self, count: int) -> list[FinishedTrial]:
        """The latest trials that can be parents, at most `count`, oldest first: what failed, diverged or was pruned cannot."""
        alive: list[FinishedTrial] = []
        for past in reversed(self._trials):
            if len(alive) == count:
                break
            if past.loss < math.inf and past.function is not None:
                alive.append(past)
        return alive[::-1]


@dataclass(frozen=True)
class Draft:
    """A function to train, with how it was made and the numbers of the trials that it was made from."""

    function: Family
    kind: str = ""
    parents: tuple[int, ...] = ()


def without_constraints(f: Family) -> Family:
    """The function as a study keeps it: a family of the catalogue, or a formula with initial values, whose parameters are free."""
    return f if FAMILIES.get(f.name) is f else resolve(f.expr, **dict(f.initial()))


# A candidate from the past and a generator: a Draft, or a formula or the name of a family as text; None: nothing to propose.
# Whatever it draws, it draws from the generator: then the same study gives the same candidates.
Proposer = Callable[[History, Random], str | Family | Draft | None]

# What a look at the user's network tells of a function without training it: always as many numbers, or None (hopeless there).
# Large ones best as logarithms: functions are alike whose numbers differ little.
Probe = Callable[[Family], Sequence[float] | None]
