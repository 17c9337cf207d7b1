"""Candidates without a model of what is good: random formulas, families of the catalogue, ageing evolution."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random

from ...catalogue.registry import FAMILIES, Family, family
from ...language.expr import Expr
from .history import Draft, FinishedTrial, History, Probe
from .screening import Screening, screen
from .settings import Settings
from .space import Space, bare_formula, candidate_family, mutate, parametrise, random_formula

__all__ = ["Sketch", "draw_family", "draw_random", "evolve", "sketch_child", "sketch_family", "sketch_random", "undominated"]


@dataclass(frozen=True)
class Sketch:
    """A candidate before it gets parameters: what a batch of them is drawn and compared as, because it costs a third.

    function   a formula of `x` alone; or a family of the catalogue, which brings its own parameters
    kind, parents   see `Draft`
    """

    function: Expr | Family
    kind: str
    parents: tuple[int, ...] = ()

    def with_parameters(self, rng: Random, space: Space) -> Draft:
        """The candidate itself: random edges of a formula get parameters."""
        f = self.function
        return Draft(candidate_family(parametrise(f, rng, space)) if isinstance(f, Expr) else f, self.kind, self.parents)


def sketch_random(history: History, rng: Random, settings: Settings) -> Sketch:
    """Draw a random formula: PANGAEA's start."""
    return Sketch(random_formula(rng, settings.space), "random")


def draw_random(history: History, rng: Random, settings: Settings, probe: Probe | None = None) -> Draft:
    """A random formula with random parameters."""
    return sketch_random(history, rng, settings).with_parameters(rng, settings.space)


def sketch_family(history: History, rng: Random, settings: Settings) -> Sketch:
    """Draw a family of the catalogue, tried or not: finding that out takes longer than the rest, and the chosen one is screened."""
    return Sketch(family(rng.choice(_distinct_families())), "catalogue")


def draw_family(history: History, rng: Random, settings: Settings, probe: Probe | None = None) -> Draft | None:
    """A family of the catalogue that was not tried, with its own parameters, initial values and constraints; None: all were."""
    names = _distinct_families()
    rng.shuffle(names)
    screened = ((name, _screened(name)) for name in names)
    fresh = (name for name, s in screened if s.reason is None and not history.has_seen(s.fingerprint))
    return next((Draft(family(name), "catalogue") for name in fresh), None)


def _distinct_families() -> list[str]:
    """The names of the families, sorted, without those that equal another one until their parameters are trained."""
    return sorted(name for name, f in FAMILIES.items() if f.initial_form is None)


@functools.cache
def _screened(name: str) -> Screening:
    return screen(family(name))


def sketch_child(history: History, rng: Random, settings: Settings) -> Sketch:
    """Mutate the best of a sample of the latest trials a random number of times."""
    begun = _parent(history, rng, settings)
    if begun is None:
        return sketch_random(history, rng, settings)
    steps = rng.randint(1, settings.mutations)
    return next(islice(_descendants(*begun, rng, settings.space), steps - 1, None))


def evolve(history: History, rng: Random, settings: Settings, probe: Probe | None = None) -> Draft:
    """Mutate the best of a sample of the latest trials, again as long as the child is a function that was seen.

    A neutral mutation (x to x + 0) gives nothing new to train, but it is a step on the way to what is. Without screening the
    number of mutations is drawn.
    """
    begun = _parent(history, rng, settings) if settings.screening else None
    if begun is None:
        return sketch_child(history, rng, settings).with_parameters(rng, settings.space)
    for sketch in islice(_descendants(*begun, rng, settings.space), settings.mutations):
        child = sketch.with_parameters(rng, settings.space)
        if not history.has_seen(screen(child.function).fingerprint):
            break
    return child


def _descendants(parent: FinishedTrial, e: Expr, rng: Random, space: Space) -> Iterator[Sketch]:
    """The children of a trial, whose formula this is, after one mutation, after two, and so on."""
    kinds: list[str] = []
    while True:
        kind, e = mutate(e, rng, space)
        kinds.append(kind)
        yield Sketch(e, "+".join(kinds), (parent.number,))


def _parent(history: History, rng: Random, settings: Settings) -> tuple[FinishedTrial, Expr] | None:
    """The best of a sample of the latest trials, and its formula without parameters; None while it is too early to breed."""
    alive = history.latest(settings.population)
    if len(history) < settings.start or not alive:
        return None
    parent = _winner(rng.sample(alive, min(settings.sample, len(alive))), rng)
    assert parent.function is not None  # of those that can be parents
    return parent, bare_formula(parent.function, rng, settings.space)


def _winner(sample: Sequence[FinishedTrial], rng: Random) -> FinishedTrial:
    """The best of a sample; of several objectives, any that no other is better than in all."""
    if not sample[0].others:
        return min(sample, key=lambda past: (past.loss, past.number))
    return rng.choice(sorted(undominated(sample), key=lambda past: past.number))


def undominated(trials: Sequence[FinishedTrial]) -> list[FinishedTrial]:
    """The trials that no other dominates: as good in every objective, and better in one."""
    points = [(past.loss, *past.others) for past in trials]
    kept: list[tuple[float, ...]] = []
    # What dominates a point comes before it in this order, and so does what dominates that: the kept ones decide.
    for p in sorted(set(points)):
        if not any(_dominates(q, p) for q in kept):
            kept.append(p)
    front = set(kept)
    return [past for past, p in zip(trials, points, strict=True) if p in front]


def _dominates(q: tuple[float, ...], p: tuple[float, ...]) -> bool:
    return q != p and all(a <= b for a, b in zip(q, p, strict=True))
