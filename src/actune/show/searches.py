"""A finished search as plain data and as lines to read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from optuna.study import Study, StudyDirection

from ..catalogue.registry import Family
from ..discovery.proof import Proof
from ..discovery.study.suggest import TASK, activation_names, finite_trials, front, leaders
from ..discovery.workers.processes import finished

__all__ = ["best_value", "lines", "record", "winners"]

LEADERS = 5


def top(study: Study) -> dict[str, list[Family]]:
    """The leaders of each activation of the study by its name; most studies have one."""
    return {name: leaders(study, LEADERS, name) for name in activation_names(study) or ["activation"]}


def winners(study: Study, proved: Proof | None = None) -> dict[str, Family]:
    """The best of each activation by its name; where leaders were proved, the winner."""
    return {name: proved.winner if proved else found[0] for name, found in top(study).items()}


def best_value(study: Study) -> tuple[str, float]:
    """What the best trial by the first objective is worth: its validation loss, or the value of an objective of one's own.

    ValueError: no trial is complete with finite values.
    """
    sign = -1 if study.directions[0] == StudyDirection.MAXIMIZE else 1
    best = min(finite_trials(study), key=lambda t: (sign * t.values[0], t.number))
    return ("validation loss", best.user_attrs["validation_loss"]) if TASK in study.user_attrs else ("value", best.values[0])


def record(study: Study, task: str, command: str, proved: Proof | None) -> dict[str, Any]:
    """A finished search as plain data; of several activations `best`, `leaders` and `front` are by their names."""
    texts = {name: [str(f) for f in found] for name, found in top(study).items()}
    what, value = best_value(study)
    found = {
        "command": command, "task": task, "study": study.study_name, "trials": len(finished(study.get_trials(deepcopy=False))),
        what.replace(" ", "_"): value,
        "best": _only({name: formulas[0] for name, formulas in texts.items()}), "leaders": _only(texts),
    }  # fmt: skip
    if fronts := _fronts(study):
        found["front"] = _only({n: [{"formula": str(f), "values": v} for f, v in all_of] for n, all_of in fronts.items()})
    return found | ({"proof": proved.to_json()} if proved else {})


def lines(study: Study) -> Iterator[str]:
    """The leaders, and the front where there are several objectives."""
    best = top(study)
    what, value = best_value(study)
    trials, seed = len(finished(study.get_trials(deepcopy=False))), "on one seed, " if what != "value" else ""
    yield f"{trials} trials; the best {seed}{what} {value:.3f}{'' if len(best) > 1 else ':'}"
    for name, found in best.items():
        yield from [f"{name}:"] if len(best) > 1 else []
        yield from (f"  {f}" for f in found)
    for name, undominated in _fronts(study).items():
        yield f"\nthe front{f' of {name}' if len(best) > 1 else ''}, which nothing is better than in all objectives:"
        yield from (f"  {', '.join(f'{v:.4g}' for v in values)}: {f}" for f, values in undominated)


def _fronts(study: Study) -> dict[str, list[tuple[Family, tuple[float, ...]]]]:
    """The front of each activation; nothing of a study with one objective."""
    return {name: front(study, name) for name in activation_names(study)} if len(study.directions) > 1 else {}


def _only(of_name: dict[str, Any]) -> Any:
    return next(iter(of_name.values())) if len(of_name) == 1 else of_name
