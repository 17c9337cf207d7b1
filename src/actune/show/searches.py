"""A finished search as lines to read."""

from __future__ import annotations

from collections.abc import Iterator

from optuna.study import Study

from ..catalogue.registry import Family
from ..discovery.proof import Proof
from ..discovery.study.counting import finished
from ..discovery.study.results import best_value, fronts_by_name, leaders_by_name

__all__ = ["lines", "winners"]


def winners(study: Study, proved: Proof | None = None) -> dict[str, Family]:
    """The best of each activation by its name; where leaders were proved, the winner."""
    return {name: proved.winner if proved else found[0] for name, found in leaders_by_name(study).items()}


def lines(study: Study) -> Iterator[str]:
    """Yield the lines: the leaders, and the front where there are several objectives."""
    best = leaders_by_name(study)
    what, value = best_value(study)
    trials, seed = len(finished(study.get_trials(deepcopy=False))), "on one seed, " if what != "value" else ""
    yield f"{trials} trials; the best {seed}{what} {value:.3f}{'' if len(best) > 1 else ':'}"
    for name, found in best.items():
        yield from [f"{name}:"] if len(best) > 1 else []
        yield from (f"  {f}" for f in found)
    for name, undominated in fronts_by_name(study).items():
        yield f"\nthe front{f' of {name}' if len(best) > 1 else ''}, which nothing is better than in all objectives:"
        yield from (f"  {', '.join(f'{v:.4g}' for v in values)}: {f}" for f, values in undominated)
