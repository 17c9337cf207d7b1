"""Ageing evolution as a proposer: a pure function from the finished trials and a generator to the next candidate."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from ..family import FAMILIES, Family, family, resolve
from .screen import screen
from .space import Space, bare, candidate, mutate, parametrise, random_formula

__all__ = ["Past", "Proposal", "Settings", "propose"]


@dataclass(frozen=True)
class Settings:
    """How candidates are bred. The defaults of population and sample are PANGAEA's.

    population   the number of latest trials that can be parents
    sample       the number of them that a parent is the best of
    start        the number of first candidates that are not bred: random formulas and families of the catalogue
    catalogue    the share of families among these; it is also never exceeded among all candidates
    attempts     the most draws for one candidate, before the search gives up
    space        what formulas are made of
    """

    population: int = 64
    sample: int = 16
    start: int = 32
    catalogue: float = 0.2
    attempts: int = 1000
    space: Space = field(default_factory=Space)


@dataclass(frozen=True)
class Past:
    """A finished trial: its loss is the smaller the better, and infinite if it failed, diverged or was pruned."""

    number: int
    text: str
    loss: float
    fingerprint: str


@dataclass(frozen=True)
class Proposal:
    """The next candidate: text that `resolve` reads, how it came about, the trials that it was bred from, its fingerprint."""

    text: str
    kind: str
    parents: tuple[int, ...]
    fingerprint: str


def propose(history: Sequence[Past], rng: Random, settings: Settings, pending: Collection[str] = ()) -> Proposal:
    """The next candidate: never one whose fingerprint is in the history or pending.

    history   the finished trials, oldest first
    pending   the fingerprints of the trials that have begun and not finished
    The same arguments and the same state of the generator give the same candidate.
    """
    seen = {past.fingerprint for past in history} | set(pending)
    begun = len(history) + len(pending)
    # What is pending may be from the catalogue too: counted as if it were.
    named = sum(past.text in FAMILIES for past in history) + len(pending)
    if begun < settings.start and named + 1 <= settings.catalogue * (begun + 1) and rng.random() < settings.catalogue * 1.5:
        fresh = _from_catalogue(rng, seen)
        if fresh is not None:
            return Proposal(fresh.name, "catalogue", (), screen(fresh).fingerprint)
    for _ in range(settings.attempts):
        kind, parents, child = _start(rng, settings) if begun < settings.start else _breed(history, rng, settings, seen)
        screening = screen(child)
        if screening.reason is None and screening.fingerprint not in seen:
            return Proposal(child.text, kind, parents, screening.fingerprint)
    raise RuntimeError(f"no new candidate in attempts={settings.attempts} draws; widen the space of the search, or end it here")


def _from_catalogue(rng: Random, seen: Iterable[str]) -> Family | None:
    """A family that was not seen yet, with its own parameters, initial values and constraints."""
    names = sorted(name for name, f in FAMILIES.items() if f.closed is None)
    rng.shuffle(names)
    families = (family(name) for name in names)
    return next((f for f in families if screen(f).reason is None and screen(f).fingerprint not in seen), None)


def _start(rng: Random, settings: Settings) -> tuple[str, tuple[int, ...], Family]:
    return "random", (), candidate(parametrise(random_formula(rng, settings.space), rng, settings.space))


def _breed(history: Sequence[Past], rng: Random, settings: Settings, seen: Collection[str]) -> tuple[str, tuple[int, ...], Family]:
    """Mutate the best of a sample from the latest trials, again as long as the child is one that was seen.

    A neutral mutation (x to x + 0) gives nothing new to train, but it is a step on the way to what is.
    """
    alive = [past for past in history[-settings.population :] if past.loss < math.inf]
    if not alive:
        return _start(rng, settings)
    parent = min(rng.sample(alive, min(settings.sample, len(alive))), key=lambda past: (past.loss, past.number))
    e = bare(resolve(parent.text), rng, settings.space)
    kinds: list[str] = []
    for _ in range(4):
        kind, e = mutate(e, rng, settings.space)
        kinds.append(kind)
        child = candidate(parametrise(e, rng, settings.space))
        screening = screen(child)
        if screening.reason is not None or screening.fingerprint not in seen:
            break
    return "+".join(kinds), (parent.number,), child
