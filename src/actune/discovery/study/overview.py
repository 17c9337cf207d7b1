"""All that a study tells of its search, as plain data: `actune report` shows it, `actune report --json` prints it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ...catalogue.registry import Family, resolve
from ...experiments.measures import MEASURES
from ...kernels.curves import curve_values
from ..proposers.costs import function_cost
from ..proposers.settings import METHODS
from .ancestry import ancestors, bred_by, origin_of, passed_over
from .attributes import BUDGET, COMMANDS, COURSE, ERROR_MESSAGE, PROOF, RANKING, SEED, TASK, WORKER, activation_key, check_study
from .counting import finished
from .endings import TRIAL_ENDINGS, Ending, trial_endings
from .ledger import names_in, objective_signs
from .origin import recorded_settings
from .results import activation_names, best, leading_trials, no_winner_reason, record
from .storage.patience import without_password

__all__ = ["study_overview"]

_BASELINES = ("relu", "gelu")  # beside which curves are drawn
_SPAN, _POINTS = 5.0, 160  # of curves: from -_SPAN to _SPAN, points on each side of 0
_LEADERS = 10  # of an activation
_PRICED = 1000  # trials whose functions are priced, the best by the first objective: a price takes a millisecond
_MESSAGES = 20  # different errors that are listed
_NAMES = {"loss": "validation loss", "error": "validation error", "cost": "cost"}


def study_overview(study: Study, storage: str | None = None) -> dict[str, Any]:
    """All that a study tells of its search, as plain data for `json.dumps`; what is not known is None.

    storage   where the study is; a password in it is not told

    A study without a complete trial has no "record", "winners", "leaders" and "front"; "missing" then says why.
    """
    check_study(study)
    trials = study.get_trials(deepcopy=False)
    budget = study.user_attrs.get(BUDGET, {})
    endings = trial_endings(trials, budget)
    names = activation_names(study)
    found = names or sorted({name for t in trials for name in names_in(t)})
    values = [_values(t, e) for t, e in zip(trials, endings, strict=True)]
    costs = _costs(study, trials, values, budget)
    return {
        "study": study.study_name, "storage": None if storage is None else without_password(storage),
        "task": study.user_attrs.get(TASK), "activations": found,
        "objectives": _objectives(study, budget),
        "finished": len(finished(trials)), "begun": len(trials),
        "missing": None if names else no_winner_reason(study),
        "record": record(study, study.user_attrs.get(TASK, study.study_name), _command(study)) if names else None,
        "proof": _proof(study, trials),
        "baselines": [{"name": name, **_curves(resolve(name))} for name in _BASELINES],
        "x": _grid().tolist(),
        "winners": {name: _winner(study, trials, values, name) for name in names},
        "leaders": {name: _leaders(study, values, costs, name) for name in names},
        "front": _front(study, values, costs),
        "ranking": study.user_attrs.get(RANKING),
        "trials": _columns(trials, endings, values, costs, found),
        "endings": _reasons(endings), "errors": _errors(trials),
        "bred": {name: _bred(study, trials, endings, values, name) for name in found},
        "passed_over": {name: passed_over(trials, activation_key(name)) for name in found},
        "provenance": _provenance(study, trials, budget),
    }  # fmt: skip


# -- objectives and values -----------------------------------------------------------------------------------------------


def _objectives(study: Study, budget: Mapping[str, Any]) -> list[dict[str, str]]:
    """The objectives, each with its name and direction."""
    several = len(study.directions) > 1
    told = study.metric_names or [_NAMES.get(o, o) for o in budget.get("objectives", ())]
    names = told or [f"value {i + 1}" if several else "value" for i in range(len(study.directions))]
    return [{"name": name, "direction": d.name.lower()} for name, d in zip(names, study.directions, strict=True)]


def _values(t: FrozenTrial, ending: Ending) -> list[float] | None:
    """The values of a complete trial; None of all others."""
    return list(t.values) if ending.kind in ("complete", "answered") else None


def _last_report(t: FrozenTrial) -> float | None:
    """What a pruned trial reported last."""
    last = t.intermediate_values[max(t.intermediate_values)] if t.intermediate_values else math.nan
    return last if math.isfinite(last) else None


def _costs(
    study: Study, trials: Sequence[FrozenTrial], values: Sequence[Sequence[float] | None], budget: Mapping[str, Any]
) -> list[int | None]:
    """What the functions of each trial cost, from the table of operators; None where nobody has computed it."""
    objectives = budget.get("objectives", ())
    if "cost" in objectives:
        at = list(objectives).index("cost")
        return [None if v is None else int(v[at]) for v in values]
    sign = objective_signs(study)[0]
    best = sorted((sign * v[0], n) for n, v in enumerate(values) if v is not None)[:_PRICED]
    known: dict[str, int | None] = {}
    found: list[int | None] = [None] * len(trials)
    for _, n in best:
        texts = [str(trials[n].user_attrs[activation_key(name)]) for name in names_in(trials[n])]
        prices = [known[text] if text in known else known.setdefault(text, _price(text)) for text in texts]
        found[n] = None if None in prices or not prices else sum(p for p in prices if p is not None)
    return found


def _price(text: str) -> int | None:
    try:
        return function_cost(text)
    except ValueError:  # a user may queue anything
        return None


# -- what was found ------------------------------------------------------------------------------------------------------


def _grid() -> torch.Tensor:
    return _SPAN * torch.arange(-_POINTS, _POINTS + 1, dtype=torch.float64) / _POINTS  # 0 and the kinks at integers exactly


def _curves(f: Family) -> dict[str, list[float | None]]:
    """The function and its derivative on the grid; None where they are not finite."""
    return {key: _short(curve_values(f, _grid(), order)) for order, key in ((0, "curve"), (1, "slope"))}


def _short(values: torch.Tensor) -> list[float | None]:
    """The numbers to six digits."""
    return [float(f"{v:.6g}") if math.isfinite(v) else None for v in values.tolist()]


def _function(f: Family) -> dict[str, Any]:
    """A function as text, formula and initial values."""
    return {"text": str(f), "formula": str(f.expr), "initial": dict(f.initial())}


def _winner(study: Study, trials: Sequence[FrozenTrial], values: Sequence[Any], name: str) -> dict[str, Any]:
    """The best function of this name: what it is, what it costs, where it comes from, what it learned."""
    key = activation_key(name)
    f = best(study) if len(activation_names(study)) == 1 else best(study, name)
    leading = leading_trials(study, _LEADERS, name)
    own = next((t for t in leading if str(resolve(t.user_attrs[key]).simplify()) == str(f)), leading[0])
    learned = next((t for t in [own, *leading] if t.user_attrs.get(COURSE)), None)
    return {
        **_function(f), **_curves(f), "latex": f.latex(), "derivative": str(f.expr.diff().simplify()), "cost": function_cost(f),
        "paper": f.paper if f.is_declared else None, "trial": own.number, "values": values[own.number],
        "accuracy": own.user_attrs.get("validation_accuracy"),
        "ancestors": [row | _ancestor(trials[row["number"]], values, key) for row in ancestors(trials, own.number, key)],
        "course": None if learned is None else {
            "trial": learned.number, "text": learned.user_attrs[key], "parameters": learned.user_attrs[COURSE],
        },
    }  # fmt: skip


def _ancestor(t: FrozenTrial, values: Sequence[Any], key: str) -> dict[str, Any]:
    origin = origin_of(t, key)
    return {
        "text": str(t.user_attrs[key]), "values": values[t.number],
        "proposer": origin.get("proposer"), "kind": origin.get("kind"),
    }  # fmt: skip


def _leaders(study: Study, values: Sequence[Any], costs: Sequence[int | None], name: str) -> list[dict[str, Any]]:
    """The best trials of this activation, each function once."""
    key = activation_key(name)
    return [
        {
            **_function(resolve(t.user_attrs[key]).simplify()), "trial": t.number, "values": values[t.number],
            "accuracy": t.user_attrs.get("validation_accuracy"), "cost": costs[t.number],
        }
        for t in leading_trials(study, _LEADERS, name)
    ]  # fmt: skip


def _front(study: Study, values: Sequence[Any], costs: Sequence[int | None]) -> list[int]:
    """The trials than which none is both cheaper and better by the first objective, the cheapest first."""
    sign = objective_signs(study)[0]
    points = sorted((cost, sign * v[0], n) for n, (v, cost) in enumerate(zip(values, costs, strict=True)) if v and cost is not None)
    front: list[int] = []
    lowest = math.inf
    for _, loss, n in points:
        if loss < lowest:
            front, lowest = [*front, n], loss
    return front


# -- how it went ---------------------------------------------------------------------------------------------------------


def _columns(
    trials: Sequence[FrozenTrial],
    endings: Sequence[Ending],
    values: Sequence[list[float] | None],
    costs: Sequence[int | None],
    names: Sequence[str],
) -> dict[str, Any]:
    """All trials in the order of their numbers, as columns."""
    return {
        "ending": [e.kind for e in endings],
        "why": [e.why for e in endings],
        "values": list(values),
        "reported": [_last_report(t) if e.kind == "pruned" else None for t, e in zip(trials, endings, strict=True)],
        "cost": list(costs),
        "activations": {name: _candidates(trials, activation_key(name)) for name in names},
    }


def _candidates(trials: Sequence[FrozenTrial], key: str) -> dict[str, list[Any]]:
    origins = [origin_of(t, key) for t in trials]
    return {
        "text": [str(t.user_attrs[key]) if key in t.user_attrs else None for t in trials],
        "proposer": [o.get("proposer") for o in origins],
        "kind": [o.get("kind") for o in origins],
        "parents": [list(o.get("parents", ())) for o in origins],
    }


def _reasons(endings: Sequence[Ending]) -> list[dict[str, Any]]:
    """How many trials ended in which way, and why."""
    counts = Counter(endings)
    order = sorted(counts, key=lambda e: (TRIAL_ENDINGS.index(e.kind), -counts[e], e.why))
    return [{"ending": e.kind, "why": e.why, "count": counts[e]} for e in order if e.kind != "failed"] + [
        {"ending": kind, "why": "", "count": n} for kind, n in Counter(e.kind for e in endings).items() if kind == "failed"
    ]


def _errors(trials: Sequence[FrozenTrial]) -> list[dict[str, Any]]:
    """The errors with which trials failed, the most frequent first."""
    failed = [t for t in trials if t.state == TrialState.FAIL and ERROR_MESSAGE in t.user_attrs]
    told = Counter(str(t.user_attrs[ERROR_MESSAGE]) for t in failed)
    return [{"message": message, "count": count} for message, count in told.most_common(_MESSAGES)]


def _bred(
    study: Study, trials: Sequence[FrozenTrial], endings: Sequence[Ending], values: Sequence[Any], name: str
) -> list[dict[str, Any]]:
    firsts = [None if v is None else v[0] for v in values]
    sign = objective_signs(study)[0]
    best = [n for _, n in sorted((sign * v, n) for n, v in enumerate(firsts) if v is not None)]
    return bred_by(trials, endings, firsts, best[: max(1, len(best) // 10)], activation_key(name), larger=sign < 0)


# -- what it depends on --------------------------------------------------------------------------------------------------


def _proof(study: Study, trials: Sequence[FrozenTrial]) -> dict[str, Any] | None:
    """The comparison on fresh seeds with how its measure is printed; "current" says whether no trial has finished since."""
    proof = study.user_attrs.get(PROOF)
    if proof is None:
        return None
    measure = MEASURES[proof["comparison"]["measure"]]
    return proof | {"current": proof["finished"] == len(finished(trials)), "measure": measure.to_json()}


def _command(study: Study) -> str | None:
    """The command line that searched last; None where none is known."""
    known = study.user_attrs.get(COMMANDS, ())
    return known[-1]["command"] if known else None


def _provenance(study: Study, trials: Sequence[FrozenTrial], budget: Mapping[str, Any]) -> dict[str, Any]:
    begun = [t.datetime_start for t in trials if t.datetime_start is not None]
    ended = [t.datetime_complete for t in trials if t.datetime_complete is not None]
    spent = [t.duration.total_seconds() for t in trials if t.duration is not None]
    workers = {str(t.user_attrs[WORKER]) for t in trials if WORKER in t.user_attrs}
    return {
        "seed": study.user_attrs.get(SEED), "method": _method_name(trials, budget), "training": dict(budget) or None,
        "commands": list(study.user_attrs.get(COMMANDS, ())),
        "begun": min(begun).isoformat(timespec="seconds") if begun else None,
        "ended": max(ended).isoformat(timespec="seconds") if ended else None,
        "hours": sum(spent) / 3600 if spent else None,
        "workers": len(workers) or None, "hosts": sorted({w.rpartition(":")[0] for w in workers}),
    }  # fmt: skip


def _method_name(trials: Sequence[FrozenTrial], budget: Mapping[str, Any]) -> str | None:
    """The row of `METHODS` by which the study was searched; None for a method of the user's own, or an unknown one."""
    origins = [origin for t in trials for name in names_in(t) if "seen" in (origin := origin_of(t, activation_key(name)))]
    if not origins:
        return None
    settings, probed = recorded_settings(origins[-1]), "probed" in origins[-1]
    for name, method in METHODS.items():
        same = all(budget.get(key, v) == v for key, v in method.budget.to_json().items())
        if settings == method.settings and probed == method.fisher and same:
            return name
    return None
