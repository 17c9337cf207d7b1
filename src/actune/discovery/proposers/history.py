"""What a proposer reads and what it gives: the finished trials of a study, and a function to train next."""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import overload

import numpy as np
from numpy.typing import NDArray

from ...catalogue.registry import Family, resolve

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
    """The finished trials, oldest first; answers that many proposers need are computed once."""

    def __init__(self, trials: Iterable[FinishedTrial] = ()) -> None:
        self._trials = tuple(trials)
        self._latest: dict[int, tuple[FinishedTrial, ...]] = {}

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

    def has_seen(self, fingerprint: str) -> bool:
        """Whether a trial has this fingerprint."""
        return any(fingerprint in some for some in self._fingerprints)

    @functools.cached_property
    def _fingerprints(self) -> tuple[frozenset[str], frozenset[str]]:
        """Two sets, the fingerprints of most trials and those of the latest: so the larger one is seldom copied."""
        return frozenset(past.fingerprint for past in self._trials), frozenset()

    @functools.cached_property
    def numbers(self) -> NDArray[np.int64]:
        """The numbers of the trials, ascending."""
        return np.fromiter((past.number for past in self._trials), dtype=np.int64)

    def latest(self, count: int) -> tuple[FinishedTrial, ...]:
        """The latest trials that can be parents, at most `count`, oldest first: what failed, diverged or was pruned cannot."""
        if count not in self._latest:
            alive = (past for past in reversed(self._trials) if past.loss < math.inf and past.function is not None)
            self._latest[count] = tuple(islice(alive, count))[::-1]
        return self._latest[count]

    def plus(self, newer: Sequence[FinishedTrial]) -> History:
        """A history of these trials and some that have finished since, in the order of their numbers.

        What is known about the old trials is carried over: usually one of ten thousand is new.
        """
        trials = list(self._trials)
        for past in newer:
            bisect.insort(trials, past, key=lambda p: p.number)
        found = History(trials)
        most, since = self._fingerprints
        since = since.union(past.fingerprint for past in newer)
        found.__dict__["_fingerprints"] = (most, since) if len(since) < 256 else (most | since, frozenset())
        found.__dict__["numbers"] = np.sort(np.append(self.numbers, [past.number for past in newer]))
        return found


@dataclass(frozen=True)
class Draft:
    """A function to train, with how it was made and the numbers of the trials that it was made from."""

    function: Family
    kind: str = ""
    parents: tuple[int, ...] = ()


def without_constraints(f: Family) -> Family:
    """The function as a study keeps it: a family of the catalogue, or a formula with initial values, whose parameters are free."""
    return f if f.is_declared else resolve(f.expr, **dict(f.initial()))


# A candidate from the past and a generator: a Draft, or a formula or the name of a family as text; None: nothing to propose.
# Whatever it draws, it draws from the generator: then the same study gives the same candidates.
Proposer = Callable[[History, Random], str | Family | Draft | None]

# Describes a function by what it does in the user's network, without training it: always the same number of numbers, or None
# (hopeless there). The surrogate compares these numbers by distance, so give large ones as logarithms.
Probe = Callable[[Family], Sequence[float] | None]
