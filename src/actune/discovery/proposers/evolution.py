"""Candidates without a model of what is good: random formulas, families of the catalogue, ageing evolution."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from random import Random

from ...catalogue.registry import FAMILIES, family
from .history import Draft, FinishedTrial, History, Probe
from .screening import Screening, screen
from .settings import Settings
from .space import bare_formula, candidate_family, mutate, parametrise, random_formula

__all__ = ["draw_family", "draw_random", "evolve", "undominated"]


def draw_random(history: History, rng: Random, settings: Settings, probe: Probe | None = None) -> Draft:
    """A random formula with random parameters: PANGAEA's start."""
    return Draft(candidate_family(parametrise(random_formula(rng, settings.space), rng, settings.space)), "random")


def draw_family(history: History, rng: Random, settings: Settings, probe: Probe | None = None) -> Draft | None:
    """A family of the catalogue that was not tried, with its own parameters, initial values and constraints; None: all were."""
    names = sorted(name for name, f in FAMILIES.items() if f.initial_form is None)
    rng.shuffle(names)
    screened = ((name, _screened(name)) for name in names)
    fresh = (name for name, s in screened if s.reason is None and not history.has_seen(s.fingerprint))
    return next((Draft(family(name), "catalogue") for name in fresh), None)


@functools.cache
def _screened(name: str) -> Screening:
    return screen(family(name))


def evolve(history: History, rng: Random, settings: Settings, probe: Probe | None = None) -> Draft:
    """Mutate the best of a sample of the latest trials, again as long as the child is a function that was seen.

    A neutral mutation (x to x + 0) gives nothing new to train, but it is a step on the way to what is. Without screening the
    number of mutations is drawn.
    """
    alive = history.latest(settings.population)
    if len(history) < settings.start or not alive:
        return draw_random(history, rng, settings)
    parent = _winner(rng.sample(alive, min(settings.sample, len(alive))), rng)
    assert parent.function is not None  # of those that can be parents
    e = bare_formula(parent.function, rng, settings.space)
    steps = settings.mutations if settings.screening else rng.randint(1, settings.mutations)
    kinds: list[str] = []
    for step in range(steps):
        kind, e = mutate(e, rng, settings.space)
        kinds.append(kind)
        child = candidate_family(parametrise(e, rng, settings.space)) if settings.screening or step == steps - 1 else None
        if child is not None and settings.screening and not history.has_seen(screen(child).fingerprint):
            break
    assert child is not None
    return Draft(child, "+".join(kinds), (parent.number,))


def _winner(sample: Sequence[FinishedTrial], rng: Random) -> FinishedTrial:
    """The best of a sample; of several objectives, any that no other is better than in all."""
    if not sample[0].others:
        return min(sample, key=lambda past: (past.loss, past.number))
    return rng.choice(sorted(undominated(sample), key=lambda past: past.number))


def undominated(trials: Sequence[FinishedTrial]) -> list[FinishedTrial]:
    """The trials that no other dominates: as good in every objective, and better in one."""
    points = [(past.loss, *past.others) for past in trials]
    return [past for past, p in zip(trials, points, strict=True) if not any(_dominates(q, p) for q in points)]


def _dominates(q: tuple[float, ...], p: tuple[float, ...]) -> bool:
    return q != p and all(a <= b for a, b in zip(q, p, strict=True))
