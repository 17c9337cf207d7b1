"""A surrogate: predict from a function's values and slopes how well it trains, and let the most promising child be trained.

The idea that outputs on normal draws tell functions apart is AQuaSurF's (arXiv:2301.05785). Here they are values and slopes at the
quantiles of a standard normal input, and a kernel ridge regression on the study's own trials predicts their ranks. A probe of the
user's network may say more of those that come off best.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from scipy.linalg import cho_factor, cho_solve
from torch import Tensor

from ...catalogue.registry import Family
from ...language.exact import folded, value
from ...language.expr import Expr, apply
from ...language.ops import OPS
from ...messages import shorten
from ...tensors import Array
from .evolution import Sketch, sketch_child, sketch_family, sketch_random
from .history import Draft, FinishedTrial, History, Probe
from .screening import Screening, screen
from .settings import Settings
from .space import without_parameters

__all__ = ["are_familiar", "draw_promising", "output_features", "predict_ranks", "probe_numbers"]


_POINTS, _STEP = 64, 1e-3
_RIDGE = 0.1
_QUANTILES = np.array([NormalDist().inv_cdf((i + 0.5) / _POINTS) for i in range(_POINTS)])
_INPUTS = torch.from_numpy(np.concatenate([_QUANTILES - _STEP, _QUANTILES + _STEP]))


def output_features(f: Expr | Family) -> Array | None:
    """asinh of values and slopes at 64 normal quantiles, at the initial parameters, shape (128,); None where not finite.

    Like a logarithm, asinh keeps what explodes within reach. In float32, so that the last bits of a machine decide nothing.
    """
    return _features(f, ()) if isinstance(f, Expr) else _features_of(f)


# By the object first: a trial's function is the same one in every suggestion, and to find its values anew takes longer.
@functools.lru_cache(maxsize=1024)
def _features_of(f: Family) -> Array | None:
    # A candidate of a search without its parameters, which are 1, shares its parts with the sketches that are drawn.
    ones = not f.is_declared and all(value == 1 for _, value in f.initial())
    return _features(without_parameters(f), ()) if ones else _features(f.expr, tuple(f.initial()))


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
    return _predict(history, _look_at(history, functions, recorded, told), least)


@dataclass(frozen=True)
class _Sight:
    """What is known of a history and of new functions: the indices of those of which all is, and matrices with a row for each.

    The first matrix has their outputs, the second what a probe told, where there is one. No matrix without such a function.
    """

    count: int
    known: list[int]
    there: list[Array]
    new: list[int]
    here: list[Array]


_Told = Sequence[Sequence[float] | None] | None  # what a probe tells of each function; None without one


def _look_at(
    history: Sequence[FinishedTrial], functions: Sequence[Expr | Family], recorded: _Told = None, told: _Told = None
) -> _Sight:
    return _Sight(len(functions), *_described([past.function for past in history], recorded), *_described(functions, told))


def _predict(history: Sequence[FinishedTrial], sight: _Sight, least: int = 2) -> list[float]:
    if len(sight.known) < least or not sight.new:
        return [0.5 if i in sight.new else math.inf for i in range(sight.count)]
    among, across = _similarities(sight.there, sight.here)
    ranks = _ranks([history[i] for i in sight.known])
    among.flat[:: len(among) + 1] += _RIDGE
    weights = cho_solve(cho_factor(among, overwrite_a=True, check_finite=False), ranks - ranks.mean(), check_finite=False)
    found = dict(zip(sight.new, ranks.mean() + across @ weights, strict=True))
    # Rounded: what differs in the last bits between machines is to be a tie, which the order decides.
    return [round(float(found[i]), 6) if i in found else math.inf for i in range(sight.count)]


def are_familiar(history: Sequence[FinishedTrial], functions: Sequence[Family], nearest: float) -> list[bool]:
    """Whether some function of the history has nearly the same outputs, for each of these.

    nearest   the distance from which they differ: the root mean square over the features at the initial parameters
    """
    return _recognise(_look_at(history, functions), nearest)


def _recognise(sight: _Sight, nearest: float) -> list[bool]:
    if not sight.known or not sight.new:
        return [False] * sight.count
    near = dict(zip(sight.new, _squares(sight.here[0], sight.there[0]).min(1) < _POINTS * 2 * nearest**2, strict=True))
    return [bool(near.get(i, False)) for i in range(sight.count)]


def _described(functions: Sequence[Expr | Family | None], told: _Told) -> tuple[list[int], list[Array]]:
    """The indices of the functions about which everything is known, and the matrices of a `_Sight`, with a row for each."""
    outputs = [None if f is None else output_features(f) for f in functions]
    places = [i for i, z in enumerate(outputs) if z is not None and (told is None or told[i] is not None)]
    parts: list[Sequence[Any]] = [outputs] if told is None else [outputs, told]
    return places, [np.array([part[i] for i in places], dtype=np.float64) for part in parts] if places else []


def _similarities(known: Sequence[Array], new: Sequence[Array]) -> tuple[Array, Array]:
    """Similarities of the known functions to each other, and of the new ones to them: the mean over parts of exp(-d²/median d²)."""
    kernels: list[tuple[Array, Array]] = []
    for there, here in zip(known, new, strict=True):
        squares = _squares(there, there)
        width = max(float(np.median(squares[:: 1 + len(squares) // 64])), 1e-12)  # of some rows: a median of all takes longest
        kernels.append((_similarity(squares, width), _similarity(_squares(here, there), width)))
    among, across = (sum(parts) / len(kernels) for parts in zip(*kernels, strict=True))
    return among, across


def _similarity(squares: Array, width: float) -> Array:
    """The similarity at these squared distances, in their place."""
    squares *= -1 / width
    return np.exp(squares, out=squares)


def _ranks(trials: Sequence[FinishedTrial]) -> Array:
    """The share of the trials that are better than each; equal trials have equal ranks."""
    keys = [(past.loss, past.reported) for past in trials]
    place = {key: i for i, key in reversed(list(enumerate(sorted(keys))))}
    return np.array([place[key] / len(keys) for key in keys])


def _squares(one: Array, other: Array) -> Array:
    """Squared distances of the rows, shape (len(one), len(other))."""
    found = one @ other.T
    found *= -2
    found += (one**2).sum(1)[:, None]
    found += (other**2).sum(1)
    return np.maximum(found, 0.0, out=found)


# What it chooses among; how much of each, the weights in the settings say.
_SOURCES: dict[str, Callable[[History, Random, Settings], Sketch]] = {
    "evolution": sketch_child, "catalogue": sketch_family, "random": sketch_random,
}  # fmt: skip


def draw_promising(history: History, rng: Random, settings: Settings, probe: Probe | None = None) -> Draft | None:
    """Draw a batch of candidates as the other proposers do and give the one that is predicted to be the best.

    With a probe, which costs more than outputs, the best by their outputs are predicted again with what it tells of them.
    """
    weights = {name: weight for name, weight in settings.proposers if name in _SOURCES} or {"evolution": 1.0}
    names = rng.choices(list(weights), list(weights.values()), k=settings.batch)
    drawn = (_SOURCES[name](history, rng, settings) for name in names)
    # Formulas are interned and families unique by their names: what is drawn twice is one object.
    sketches = list({sketch.function: sketch for sketch in drawn}.values())
    ready = len(history) >= settings.start
    past = history[-settings.memory :]
    order = _order(past, [sketch.function for sketch in sketches], settings.novelty) if ready else range(len(sketches))
    # Only what is chosen gets its parameters and is screened: both cost more than predicting, and neither changes outputs.
    drafts = (sketches[i].with_parameters(rng, settings.space) for i in order)
    fit = (d for d in drafts if not settings.screening or _is_new(screen(d.function), history))
    if probe is None or not ready or settings.shortlist < 1:
        return next(fit, None)
    shortlist = list(islice(fit, settings.shortlist))
    again = predict_ranks(past, [d.function for d in shortlist], probe, settings.start)
    return min(zip(again, range(len(shortlist)), shortlist, strict=True), default=(0, 0, None))[2]


def _order(past: Sequence[FinishedTrial], functions: Sequence[Expr | Family], novelty: float) -> list[int]:
    """The indices of the functions, the most promising first; what is as good as tried comes last."""
    sight = _look_at(past, functions)
    return [i for *_, i in sorted(zip(_recognise(sight, novelty), _predict(past, sight), range(len(functions)), strict=True))]


def _is_new(found: Screening, history: History) -> bool:
    return found.reason is None and not history.has_seen(found.fingerprint)
