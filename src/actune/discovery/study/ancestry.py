"""Where candidates came from: the ancestors of one, and what each proposer bred."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from optuna.trial import FrozenTrial

from .attributes import origin_key
from .endings import Ending

__all__ = ["ancestors", "bred_by", "origin_of", "passed_over"]

GENERATIONS = 200  # of which ancestors are followed


def origin_of(t: FrozenTrial, key: str) -> dict[str, Any]:
    """How the activation in this attribute came about, as the trial records it; empty where it does not."""
    found: dict[str, Any] = t.user_attrs.get(origin_key(key), {})
    return found


def ancestors(trials: Sequence[FrozenTrial], number: int, key: str) -> list[dict[str, Any]]:
    """The trial and those that it was bred from, generation by generation, each once: {"number", "generation", "parents"}.

    Parents that the study does not have (the candidate was drawn in another one) are left out.
    """
    found: list[dict[str, Any]] = []
    seen, generation = {number}, [number]
    for depth in range(GENERATIONS):
        parents = {n: _parents(trials, n, key) for n in generation}
        found += [{"number": n, "generation": depth, "parents": of} for n, of in parents.items()]
        generation = sorted({p for of in parents.values() for p in of} - seen)
        seen.update(generation)
        if not generation:
            break
    return found


def _parents(trials: Sequence[FrozenTrial], number: int, key: str) -> list[int]:
    told: list[Any] = origin_of(trials[number], key).get("parents", [])
    return [p for p in dict.fromkeys(told) if isinstance(p, int) and 0 <= p < len(trials) and key in trials[p].user_attrs]


def bred_by(
    trials: Sequence[FrozenTrial],
    endings: Sequence[Ending],
    values: Sequence[float | None],
    leaders: Collection[int],
    key: str,
    larger: bool,
) -> list[dict[str, Any]]:
    """What each proposer bred, the one with the most trials first.

    values   of each trial the first objective, None where it has none
    leaders  the numbers of the best trials
    larger   whether a larger value is the better one
    """
    groups: dict[str, list[int]] = {}
    for t in trials:
        if key in t.user_attrs:
            groups.setdefault(str(origin_of(t, key).get("proposer", "given")), []).append(t.number)
    rows = []
    for proposer, numbers in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        known = [v for v in (values[n] for n in numbers) if v is not None]
        rows.append({
            "proposer": proposer, "trials": len(numbers),
            "endings": dict(Counter(endings[n].kind for n in numbers)),
            "best": (max if larger else min)(known, default=None),
            "median": statistics.median(known) if known else None,
            "leaders": len({*numbers}.intersection(leaders)),
        })  # fmt: skip
    return rows


def passed_over(trials: Sequence[FrozenTrial], key: str) -> list[dict[str, Any]]:
    """What proposers of a user's own gave that was not trained: {"proposer", "reason", "count"}, the most frequent first."""
    told = Counter((str(name), str(reason)) for t in trials for name, reason in origin_of(t, key).get("failed", {}).items())
    return [{"proposer": name, "reason": reason, "count": count} for (name, reason), count in told.most_common()]
