"""What a study found: its leaders, its best, its Pareto front."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ...catalogue.registry import Family, resolve
from ...messages import shorten
from ..proposers.evolution import undominated
from .attributes import ERROR_MESSAGE, RANKING, TASK, activation_key, check_study
from .counting import finished
from .ledger import finished_trial, names_in, objective_signs, trial_fingerprint, trial_loss

__all__ = [
    "activation_names",
    "best",
    "best_trial",
    "best_value",
    "finite_trials",
    "front",
    "fronts_by_name",
    "leaders",
    "leaders_by_name",
    "leading_trials",
    "no_winner_reason",
    "record",
    "trial_value",
]

LEADERS = 5  # of an activation, in a record


def leaders(study: Study, n: int = 10, name: str | None = None) -> list[Family]:
    """The best candidates of the study by the first objective, at most n, best first, each function once.

    name   which activation, where trials have several
    """
    if not isinstance(n, int) or n < 0:
        raise ValueError(f"n must be a number of functions, from 0 on, got {shorten(repr(n))}")
    key, complete = _complete(study, name)
    return [resolve(t.user_attrs[key]).simplify() for t in _leading(study, complete, key)[:n]]


def leading_trials(study: Study, n: int, name: str | None = None) -> list[FrozenTrial]:
    """The trials of `leaders`, in that order."""
    key, complete = _complete(study, name)
    return _leading(study, complete, key)[:n]


def _leading(study: Study, complete: list[FrozenTrial], key: str) -> list[FrozenTrial]:
    """The trials by the first objective, the best first; of equal functions the best alone."""
    sign = objective_signs(study)
    found: dict[str, FrozenTrial] = {}
    for t in sorted(complete, key=lambda t: (trial_loss(t, sign), t.number)):
        found.setdefault(trial_fingerprint(t, key), t)
    return list(found.values())


def front(study: Study, name: str | None = None) -> list[tuple[Family, tuple[float, ...]]]:
    """The Pareto front of a study with several objectives: the candidates that no other is better than in all, with their values.

    Sorted by the first objective, the best first; of one objective it is the best alone.
    """
    key, complete = _complete(study, name)
    sign = objective_signs(study)
    values = {t.number: tuple(t.values) for t in complete}
    kept = sorted(undominated([finished_trial(t, key, sign) for t in complete]), key=lambda p: (p.loss, p.others, p.number))
    found = {(p.loss, p.others): (resolve(p.text).simplify(), values[p.number]) for p in reversed(kept)}
    return list(reversed(found.values()))


def _complete(study: Study, name: str | None) -> tuple[str, list[FrozenTrial]]:
    """The trials that are complete with finite values, and the attribute of the activation in them."""
    complete = finite_trials(study)
    key = activation_key(name if name is not None else _only_name(complete))
    found = [t for t in complete if key in t.user_attrs]
    if not found:
        raise ValueError(f"the study {study.study_name!r} has no complete trial with {key!r}; {no_winner_reason(study)}")
    return key, found


def no_winner_reason(study: Study) -> str:
    """The reason why no trial can be the best, as the end of an error message."""
    trials = study.get_trials(deepcopy=False)
    if errors := [t.user_attrs[ERROR_MESSAGE] for t in trials if ERROR_MESSAGE in t.user_attrs]:
        return f"the last one failed with {errors[-1]}"
    ended = Counter(t.state.name.lower() for t in trials if t.state.is_finished())
    if not ended:
        return "let it finish some first"
    told = ", ".join(f"{count} {state}" for state, count in ended.items())
    return f"of its trials are {told}: let the objective call suggest_activation and return a finite number"


def _only_name(trials: list[FrozenTrial]) -> str:
    found = _known_names(trials)
    if len(found) > 1:
        raise ValueError(f"the trials have several activations; choose one: name={' or '.join(map(repr, found))}")
    return found[0] if found else "activation"


def activation_names(study: Study) -> list[str]:
    """The names of the activations of the trials that are complete with finite values: one, unless a network has several."""
    return _known_names(finite_trials(study))


def finite_trials(study: Study) -> list[FrozenTrial]:
    """The trials that are complete, all values finite."""
    check_study(study)
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [t for t in trials if all(map(math.isfinite, t.values))]


def _known_names(trials: list[FrozenTrial]) -> list[str]:
    return sorted({name for t in trials for name in names_in(t)})


def best(study: Study, name: str | None = None) -> Family:
    """The best candidate of the study, as `Activation` and `swap` accept it.

    Where leaders were trained again on fresh seeds (`confirm`, `prove`) and no trial has finished since, the best of them.
    """
    check_study(study)
    ranking = study.user_attrs.get(RANKING)
    if name is None and ranking is not None and ranking["finished"] == len(finished(study.get_trials(deepcopy=False))):
        return resolve(ranking["leaders"][0]["text"]).simplify()
    return leaders(study, 1, name)[0]


def leaders_by_name(study: Study) -> dict[str, list[Family]]:
    """The leaders of each activation of the study by its name; most studies have one."""
    return {name: leaders(study, LEADERS, name) for name in activation_names(study) or ["activation"]}


def fronts_by_name(study: Study) -> dict[str, list[tuple[Family, tuple[float, ...]]]]:
    """The front of each activation by its name; nothing of a study with one objective."""
    return {name: front(study, name) for name in activation_names(study)} if len(study.directions) > 1 else {}


def best_trial(study: Study) -> FrozenTrial:
    """The best trial by the first objective; ValueError where no trial is complete with finite values."""
    sign = objective_signs(study)[0]
    return min(finite_trials(study), key=lambda t: (sign * t.values[0], t.number))


def trial_value(study: Study, t: FrozenTrial) -> tuple[str, float]:
    """What a complete trial is worth: ("validation loss", …), or ("value", …) of an own objective."""
    return ("validation loss", t.user_attrs["validation_loss"]) if TASK in study.user_attrs else ("value", t.values[0])


def best_value(study: Study) -> tuple[str, float]:
    """What the best trial by the first objective is worth, as `trial_value` says it; ValueError as of `best_trial`."""
    return trial_value(study, best_trial(study))


def record(study: Study, task: str, command: str | None, proof: dict[str, Any] | None = None) -> dict[str, Any]:
    """A finished search as plain data; of several activations `best`, `leaders` and `front` are by their names.

    command  the command line that found it, None where it is not known
    proof    what was proved of the best, as plain data
    """
    texts = {name: [str(f) for f in found] for name, found in leaders_by_name(study).items()}
    what, value = best_value(study)
    found = {
        "command": command, "task": task, "study": study.study_name, "trials": len(finished(study.get_trials(deepcopy=False))),
        what.replace(" ", "_"): value,
        "best": _only({name: formulas[0] for name, formulas in texts.items()}), "leaders": _only(texts),
    }  # fmt: skip
    if by_name := fronts_by_name(study):
        found["front"] = _only({n: [{"formula": str(f), "values": list(v)} for f, v in all_of] for n, all_of in by_name.items()})
    return found | ({"proof": proof} if proof else {})


def _only(of_name: dict[str, Any]) -> Any:
    """The one value where there is one, else the values by their names."""
    return next(iter(of_name.values())) if len(of_name) == 1 else of_name
