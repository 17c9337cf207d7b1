"""A surrogate: predict from a function's values and slopes how well it trains, and let the most promising child be trained.

The idea that outputs on normal draws tell functions apart is AQuaSurF's (arXiv:2301.05785). Here they are values and slopes at the
quantiles of a standard normal input, and a kernel ridge regression on the study's own trials predicts their ranks.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray

from ..family import resolve
from ..kernels.formula import evaluate
from .evolution import draw_family, draw_random, evolve
from .history import Draft, History, Past
from .screen import screen
from .settings import Settings

__all__ = ["features", "predict", "surrogate"]

Array = NDArray[np.float64]

_POINTS, _STEP = 64, 1e-3
_RIDGE = 0.1
_QUANTILES = np.array([NormalDist().inv_cdf((i + 0.5) / _POINTS) for i in range(_POINTS)])


@functools.lru_cache(maxsize=1024)
def _features(text: str) -> Array | None:
    f = resolve(text)
    x = torch.from_numpy(np.concatenate([_QUANTILES - _STEP, _QUANTILES + _STEP]))
    y = evaluate(f.expr, {"x": x, **dict(f.initial())}).expand(len(x)).numpy()
    below, above = y[:_POINTS], y[_POINTS:]
    with np.errstate(all="ignore"):  # infinities, which are refused below
        found = np.arcsinh(np.concatenate([(below + above) / 2, (above - below) / (2 * _STEP)])).astype(np.float32)
    return found if bool(np.isfinite(found).all()) else None


def features(text: str) -> Array | None:
    """asinh of values and slopes at 64 normal quantiles, at the initial parameters, shape (128,); None where not finite.

    Like a logarithm, asinh keeps what explodes within reach. In float32, so that the last bits of a machine decide nothing.
    """
    return _features(text)


def predict(history: Sequence[Past], texts: Sequence[str]) -> list[float]:
    """How each function will rank among those of the history: 0 the best, 1 the worst; inf for what is not finite.

    Ranks, because losses differ by orders of magnitude; what was pruned ranks behind, by the last loss that it reported.
    """
    known = [(past, z) for past in history if (z := features(past.text)) is not None]
    new = [features(text) for text in texts]
    if len(known) < 2:
        return [0.5 if z is not None else math.inf for z in new]
    at, ranks = np.stack([z for _, z in known]), _ranks([past for past, _ in known])
    squares = _squares(at, at)
    width = max(float(np.median(squares)), 1e-12)
    weights = np.linalg.solve(np.exp(-squares / width) + _RIDGE * np.eye(len(at)), ranks - ranks.mean())
    here = [z for z in new if z is not None]
    found = iter(ranks.mean() + np.exp(-_squares(np.stack(here), at) / width) @ weights if here else ())
    # Rounded: what differs in the last bits between machines is to be a tie, which the order decides.
    return [round(float(next(found)), 6) if z is not None else math.inf for z in new]


def _ranks(trials: Sequence[Past]) -> Array:
    """The share of the trials that each is behind; equal ones have equal ranks."""
    keys = [(past.loss, past.reported) for past in trials]
    place = {key: i for i, key in reversed(list(enumerate(sorted(keys))))}
    return np.array([place[key] / len(keys) for key in keys])


def _squares(one: Array, other: Array) -> Array:
    """Squared distances of the rows, shape (len(one), len(other))."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    found = (one**2).sum(1)[:, None] + (other**2).sum(1)[None, :] - 2 * one @ other.T
    return np.maximum(found, 0.0)


# What it chooses among; how much of each, the weights in the settings say.
_SOURCES = {"evolution": evolve, "catalogue": draw_family, "random": draw_random}


def surrogate(history: History, rng: Random, settings: Settings) -> Draft | None:
    """Draw a batch of candidates as the other proposers do and give the one that is predicted to be the best."""
    weights = {name: weight for name, weight in settings.proposers if name in _SOURCES} or {"evolution": 1.0}
    blind = replace(settings, screening=False)  # screening costs more than predicting: only the chosen one is screened
    drawn = [_SOURCES[rng.choices(list(weights), list(weights.values()))[0]](history, rng, blind) for _ in range(settings.batch)]
    drafts = list({d.text: d for d in drawn if d is not None}.values())
    if len(history) < settings.start:
        predicted = [0.0] * len(drafts)
    else:
        predicted = predict(history[-settings.memory :], [d.text for d in drafts])
    for _, i in sorted(zip(predicted, range(len(drafts)), strict=True)):
        found = screen(resolve(drafts[i].text)) if settings.screening else None
        if found is None or (found.reason is None and found.fingerprint not in history.fingerprints):
            return drafts[i]
    return None
