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
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...catalogue.registry import Family
from ...language.exact import folded, value
from ...language.expr import Expr, apply
from ...language.ops import OPS
from ...messages import shorten
from ...tensors import Array
from .evolution import draw_family, draw_random, evolve
from .history import Draft, FinishedTrial, History, Probe
from .screening import Screening, screen
from .settings import Settings

__all__ = ["are_familiar", "draw_promising", "output_features", "predict_ranks", "probe_numbers"]


_POINTS, _STEP = 64, 1e-3
_RIDGE = 0.1
_QUANTILES = np.array([NormalDist().inv_cdf((i + 0.5) / _POINTS) for i in range(_POINTS)])
_INPUTS = torch.from_numpy(np.concatenate([_QUANTILES - _STEP, _QUANTILES + _STEP]))


def output_features(f: Family) -> Array | None:
    """asinh of values and slopes at 64 normal quantiles, at the initial parameters, shape (128,); None where not finite.

    Like a logarithm, asinh keeps what explodes within reach. In float32, so that the last bits of a machine decide nothing.
    """
    return _features_of(f)


_ONES = tuple((name, 1.0) for name in "abc")  # of all candidates of a search


# By the object first: a trial's function is the same one in every suggestion, and to find its values anew takes longer.
@functools.lru_cache(maxsize=1024)
def _features_of(f: Family) -> Array | None:
    initial = tuple(f.initial())
    return _features(f.expr, _ONES if set(initial) <= set(_ONES) else initial)  # one spelling, by which values are kept


@functools.lru_cache(maxsize=1024)
def _features(e: Expr, initial: tuple[tuple[str, float], ...]) -> Array | None:
    for n in e.nodes():  # arguments first, so that each finds the values of its own
        y = _part_values(n, initial)
    below, above = np.split(y.expand(2 * _POINTS).numpy(), 2)
    with np.errstate(all="ignore"):  # infinities, which are refused below
        found = np.arcsinh(np.concatenate([(below + above) / 2, (above - below) / (2 * _STEP)])).astype(np.float32)
    return found if bool(np.isfinite(found).all()) else None


# Node by node and kept: children share most of their parts with their parent and with one another, and of what is evaluated once
# simplifying would take longer than computing.
@functools.lru_cache(maxsize=8192)
def _part_values(e: Expr, initial: tuple[tuple[str, float], ...]) -> Tensor:
    """The values of a formula at the quantiles, a step below and a step above, in float64."""
    if e.op == "symbol":
        return _INPUTS if e.args[0] == "x" else torch.tensor(dict(initial)[e.args[0]], dtype=torch.float64)
    if e.op == "const":
        return torch.tensor(e.args[0], dtype=torch.float64)
    return _applied(e.op, *(_part_values(a, initial) for a in e.args))


def _applied(name: str, *args: Tensor) -> Tensor:
    """The function of the language of this name."""
    op = OPS[name]
    if op.definition is not None:
        leaves = {"a": args[0]}
        return _definition(name).fold(
            lambda n: leaves[n.args[0]] if n.op == "symbol" else torch.tensor(n.args[0], dtype=torch.float64),
            lambda n, *values: _applied(n.op, *values),
        )
    if op.several is not None:
        return op.several((op.order,), *args)[0]
    if op.torch is None:  # a number with a name: pi
        return torch.tensor(value(apply(name), {}), dtype=torch.float64)
    return op.torch(*args)


@functools.cache
def _definition(op: str) -> Expr:
    """The formula over `a` that defines a function of the language."""
    written: Expr = OPS[op].definition
    return folded(written.expand()).simplify()


def probe_numbers(probe: Probe, f: Family) -> tuple[float, ...] | None:
    """The numbers that the probe tells of a function, to six digits, as records keep them; None where one is not finite."""
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
    recorded = None if probe is None else [past.probed for past in history]
    told = None if probe is None else [probe_numbers(probe, f) for f in functions]
    lengths = sorted({len(numbers) for numbers in (*(recorded or ()), *(told or ())) if numbers is not None})
    if len(lengths) > 1:
        raise ValueError(f"the probe of a study must always give as many numbers; it gave {' and '.join(map(str, lengths))}")
    known, there = _described([past.function for past in history], recorded)
    new, here = _described(functions, told)
    if len(known) < least or not new:
        return [0.5 if i in new else math.inf for i in range(len(functions))]
    among, across = _similarities(there, here)
    ranks = _ranks([history[i] for i in known])
    weights = np.linalg.solve(among + _RIDGE * np.eye(len(known)), ranks - ranks.mean())
    found = dict(zip(new, ranks.mean() + across @ weights, strict=True))
    # Rounded: what differs in the last bits between machines is to be a tie, which the order decides.
    return [round(float(found[i]), 6) if i in found else math.inf for i in range(len(functions))]


def are_familiar(history: Sequence[FinishedTrial], functions: Sequence[Family], nearest: float) -> list[bool]:
    """Whether some function of the history has nearly the same outputs, for each of these.

    nearest   the distance from which they differ: the root mean square over the features at the initial parameters
    """
    _, tried = _described([past.function for past in history], None)
    new, here = _described(functions, None)
    if not tried or not new:
        return [False] * len(functions)
    near = dict(zip(new, _squares(here[0], tried[0]).min(1) < _POINTS * 2 * nearest**2, strict=True))
    return [bool(near.get(i, False)) for i in range(len(functions))]


def _described(functions: Sequence[Family | None], told: Sequence[Sequence[float] | None] | None) -> tuple[list[int], list[Array]]:
    """The indices of the functions about which everything is known, and matrices with a row per such function.

    The first matrix has their outputs, the second what a probe told, where there is one. No matrix without such a function.
    """
    outputs = [None if f is None else output_features(f) for f in functions]
    places = [i for i, z in enumerate(outputs) if z is not None and (told is None or told[i] is not None)]
    parts: list[Sequence[Any]] = [outputs] if told is None else [outputs, told]
    return places, [np.array([part[i] for i in places], dtype=np.float64) for part in parts] if places else []


def _similarities(known: Sequence[Array], new: Sequence[Array]) -> tuple[Array, Array]:
    """Similarities of the known functions to each other, and of the new ones to them: the mean over parts of exp(-d²/median d²)."""
    kernels: list[tuple[Array, Array]] = []
    for there, here in zip(known, new, strict=True):
        squares = _squares(there, there)
        width = max(float(np.median(squares)), 1e-12)
        kernels.append((np.exp(-squares / width), np.exp(-_squares(here, there) / width)))
    among, across = (sum(parts) / len(kernels) for parts in zip(*kernels, strict=True))
    return among, across


def _ranks(trials: Sequence[FinishedTrial]) -> Array:
    """The share of the trials that are better than each; equal trials have equal ranks."""
    keys = [(past.loss, past.reported) for past in trials]
    place = {key: i for i, key in reversed(list(enumerate(sorted(keys))))}
    return np.array([place[key] / len(keys) for key in keys])


def _squares(one: Array, other: Array) -> Array:
    """Squared distances of the rows, shape (len(one), len(other))."""
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
    fit = (d for d in ordered if not settings.screening or _is_new(screen(d.function), history))
    if probe is None or not ready or settings.shortlist < 1:
        return next(fit, None)
    shortlist = list(islice(fit, settings.shortlist))
    again = predict_ranks(past, [d.function for d in shortlist], probe, settings.start)
    return min(zip(again, range(len(shortlist)), shortlist, strict=True), default=(0, 0, None))[2]


def _spelling(f: Family) -> object:
    """A key that is equal for functions of equal text: the family's name, or the formula and its initial values."""
    return f.name if f.is_declared else (f.expr, *f.initial())


def _is_new(found: Screening, history: History) -> bool:
    return found.reason is None and not history.has_seen(found.fingerprint)
