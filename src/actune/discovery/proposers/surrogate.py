"""A surrogate: predict from a function's values and slopes how well it trains, and let the most promising child be trained.

The idea that outputs on normal draws tell functions apart is AQuaSurF's (arXiv:2301.05785). Here they are values and slopes at the
quantiles of a standard normal input, and a kernel ridge regression on the study's own trials predicts their ranks. A probe of the
user's network may say more of those that come off best.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from random import Random
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray

from ...catalogue.registry import FAMILIES, Family
from ...kernels.operators import evaluate
from ...language.expr import Expr
from ...messages import shorten
from .evolution import draw_family, draw_random, evolve
from .history import Draft, FinishedTrial, History, Probe
from .screening import Screening, screen
from .settings import Settings

__all__ = ["are_familiar", "draw_promising", "output_features", "predict_ranks", "probe_numbers"]

_Array = NDArray[np.float64]

_POINTS, _STEP = 64, 1e-3
_RIDGE = 0.1
_QUANTILES = np.array([NormalDist().inv_cdf((i + 0.5) / _POINTS) for i in range(_POINTS)])


def output_features(f: Family) -> _Array | None:
    """asinh of values and slopes at 64 normal quantiles, at the initial parameters, shape (128,); None where not finite.

    Like a logarithm, asinh keeps what explodes within reach. In float32, so that the last bits of a machine decide nothing.
    """
    return _features(f.expr, tuple(f.initial()))


@functools.lru_cache(maxsize=1024)
def _features(e: Expr, initial: tuple[tuple[str, float], ...]) -> _Array | None:
    x = torch.from_numpy(np.concatenate([_QUANTILES - _STEP, _QUANTILES + _STEP]))
    y = evaluate(e, {"x": x, **dict(initial)}).expand(len(x)).numpy()
    below, above = y[:_POINTS], y[_POINTS:]
    with np.errstate(all="ignore"):  # infinities, which are refused below
        found = np.arcsinh(np.concatenate([(below + above) / 2, (above - below) / (2 * _STEP)])).astype(np.float32)
    return found if bool(np.isfinite(found).all()) else None


def probe_numbers(probe: Probe, f: Family) -> tuple[float, ...] | None:
    """What the probe tells of a function, to six digits as records keep it; None where that is not finite."""
    found = probe(f)
    if found is None:
        return None
    try:
        numbers = [float(v) for v in found]
    except (TypeError, ValueError):
        raise ValueError(f"the probe must give numbers, or None, for {f.text!r}; it gave {shorten(repr(found), 80)}") from None
    return tuple(float(f"{v:.6g}") for v in numbers) if all(map(math.isfinite, numbers)) else None


def predict_ranks(
    history: Sequence[FinishedTrial], functions: Sequence[Family], probe: Probe | None = None, least: int = 2
) -> list[float]:
    """How each function will rank among those of the history: 0 the best, 1 the worst; inf for what is not finite.

    Ranks, because losses differ by orders of magnitude; what was pruned ranks behind, by the last loss that it reported.

    probe   functions are as alike as outputs and probe say in the mean; of the history those count of which it told something
    least   with fewer functions to learn from, all are equal
    """
    if probe is None:
        old, new = [_described(past.function) for past in history], [_described(f) for f in functions]
    else:
        old = [_described(past.function, past.probed) for past in history]
        new = [_described(f, probe_numbers(probe, f)) for f in functions]
    known = [(past, z) for past, z in zip(history, old, strict=True) if z is not None]
    here = [z for z in new if z is not None]
    if len(known) < least or not here:
        return [0.5 if z is not None else math.inf for z in new]
    among, across = _kernels([z for _, z in known], here)
    ranks = _ranks([past for past, _ in known])
    weights = np.linalg.solve(among + _RIDGE * np.eye(len(known)), ranks - ranks.mean())
    found = iter(ranks.mean() + across @ weights)
    # Rounded: what differs in the last bits between machines is to be a tie, which the order decides.
    return [round(float(next(found)), 6) if z is not None else math.inf for z in new]


def are_familiar(history: Sequence[FinishedTrial], functions: Sequence[Family], nearest: float) -> list[bool]:
    """Whether a function of the history has as good as the same outputs.

    nearest   the distance from which they differ: the root mean square over the features at the initial parameters
    """
    tried = [z for past in history if past.function is not None and (z := output_features(past.function)) is not None]
    new = [output_features(f) for f in functions]
    here = [z for z in new if z is not None]
    if not tried or not here:
        return [False] * len(functions)
    near = iter(_squares(np.stack(here), np.stack(tried)).min(1) < _POINTS * 2 * nearest**2)
    return [z is not None and bool(next(near)) for z in new]


def _described(f: Family | None, *more: Sequence[float] | None) -> tuple[_Array, ...] | None:
    """The outputs of a function and what else is told of it; None where anything is missing."""
    parts = [None if f is None else output_features(f), *(None if part is None else np.array(part) for part in more)]
    found = tuple(part for part in parts if part is not None)
    return found if len(found) == len(parts) else None


def _kernels(known: Sequence[tuple[_Array, ...]], new: Sequence[tuple[_Array, ...]]) -> tuple[_Array, _Array]:
    """How alike functions are, the known among themselves and the new to them: the mean over their parts of exp(-d²/median d²)."""
    kernels: list[tuple[_Array, _Array]] = []
    for there, here in zip(zip(*known, strict=True), zip(*new, strict=True), strict=True):
        lengths = sorted({len(z) for z in (*there, *here)})
        if len(lengths) > 1:
            raise ValueError(f"the probe of a study must always give as many numbers; it gave {' and '.join(map(str, lengths))}")
        at = np.stack(there)
        squares = _squares(at, at)
        width = max(float(np.median(squares)), 1e-12)
        kernels.append((np.exp(-squares / width), np.exp(-_squares(np.stack(here), at) / width)))
    among, across = (sum(parts) / len(kernels) for parts in zip(*kernels, strict=True))
    return among, across


def _ranks(trials: Sequence[FinishedTrial]) -> _Array:
    """The share of the trials that each is behind; equal ones have equal ranks."""
    keys = [(past.loss, past.reported) for past in trials]
    place = {key: i for i, key in reversed(list(enumerate(sorted(keys))))}
    return np.array([place[key] / len(keys) for key in keys])


def _squares(one: _Array, other: _Array) -> _Array:
    """Squared distances of the rows, shape (len(one), len(other))."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    found = (one**2).sum(1)[:, None] + (other**2).sum(1)[None, :] - 2 * one @ other.T
    return np.maximum(found, 0.0)


# What it chooses among; how much of each, the weights in the settings say.
_SOURCES = {"evolution": evolve, "catalogue": draw_family, "random": draw_random}


def draw_promising(history: History, rng: Random, settings: Settings, probe: Probe | None = None) -> Draft | None:
    """Draw a batch of candidates as the other proposers do and give the one that is predicted to be the best.

    With a probe, which costs more than outputs, the best by their outputs are predicted again with what it tells of them.
    """
    weights = {name: weight for name, weight in settings.proposers if name in _SOURCES} or {"evolution": 1.0}
    blind = replace(settings, screening=False)  # screening costs more than predicting: only the chosen one is screened
    drawn = [_SOURCES[rng.choices(list(weights), list(weights.values()))[0]](history, rng, blind) for _ in range(settings.batch)]
    drafts = list({_spelling(d.function): d for d in drawn if d is not None}.values())
    past = history[-settings.memory :]
    ready = len(history) >= settings.start
    functions = [d.function for d in drafts]
    predicted = predict_ranks(past, functions) if ready else [0.0] * len(drafts)
    known = are_familiar(past, functions, settings.novelty) if ready else [False] * len(drafts)
    ordered = (drafts[i] for *_, i in sorted(zip(known, predicted, range(len(drafts)), strict=True)))
    fit = (d for d in ordered if not settings.screening or _fits(screen(d.function), history))
    if probe is None or not ready or settings.shortlist < 1:
        return next(fit, None)
    shortlist = list(islice(fit, settings.shortlist))
    again = predict_ranks(past, [d.function for d in shortlist], probe, settings.start)
    return min(zip(again, range(len(shortlist)), shortlist, strict=True), default=(0, 0, None))[2]


def _spelling(f: Family) -> object:
    """Equal for functions with equal text: a family of the catalogue, or a formula and its initial values."""
    return f.name if FAMILIES.get(f.name) is f else (f.expr, *f.initial())


def _fits(found: Screening, history: History) -> bool:
    return found.reason is None and found.fingerprint not in history.fingerprints
