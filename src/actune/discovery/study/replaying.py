"""Replay: derive every candidate of a study again from its records, and compare."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial

from ...catalogue.registry import Family, resolve
from ...experiments.identity import network
from ...experiments.tasks import TASKS
from ..proposers.fisher import Fisher
from ..proposers.history import History, Probe, Proposer
from ..proposers.mixture import PROPOSERS, propose
from ..proposers.screening import screen
from .attributes import BUDGET, TASK, activation_key, check_study, origin_key
from .ledger import finished_trial, names_in, objective_signs
from .origin import read_ranges, recorded_settings
from .seeds import candidate_generator, study_seed, training_seed

__all__ = ["replay"]


def replay(study: Study, proposers: Mapping[str, Proposer] | None = None, probe: Probe | None = None) -> dict[str, str]:
    """Derive every candidate again from the records: {"NUMBER:NAME": text} of those that come out differently, else {}.

    proposers  your own, where trials had some. One that is not given is not called: what it returned is only read again, and
               must have the recorded fingerprint. One that failed is taken to fail again.
    probe      the study's, where it had one; of a task that ships it is found. Without it, what it had a say in is only read again

    A trial that was drawn in another study and added to this one can be derived only there: the text says so.
    """
    check_study(study)
    trials = study.get_trials(deepcopy=False)
    seed, sign = study_seed(study), objective_signs(study)
    probe = probe or _probe_of(study)
    different: dict[str, str] = {}
    for t in trials:
        for name in names_in(t):
            key = activation_key(name)
            origin = t.user_attrs.get(origin_key(key), {})
            if "proposer" in origin and not _was_drawn_here(trials, key, origin):
                different[f"{t.number}:{name}"] = "it was drawn in another study; replay the one that it comes from"
            elif "proposer" in origin:
                history = History(finished_trial(trials[n], key, sign) for n in read_ranges(origin["seen"]))
                rng = candidate_generator(seed, origin["trial"], name)
                again = _again(t.user_attrs[key], origin, history, rng, proposers or {}, probe)
                if again != t.user_attrs[key]:
                    different[f"{t.number}:{name}"] = again
    return different


def _was_drawn_here(trials: list[FrozenTrial], key: str, origin: dict[str, Any]) -> bool:
    """Whether these trials have what the record of one tells of them: the trial that drew it, and those that were seen.

    A trial that is run again has the record of the first; one that was added from another study may speak of numbers that others
    have here.
    """
    drawn, seen = origin["trial"], read_ranges(origin["seen"])
    if max([drawn, *seen]) >= len(trials) or trials[drawn].user_attrs.get(origin_key(key)) != origin:
        return False
    return all(key in trials[n].user_attrs for n in seen)


def _probe_of(study: Study) -> Probe:
    """The probe of the task that ships, if `search` began the study with it: another task may have its name."""
    task = TASKS.get(study.user_attrs.get(TASK, ""))
    same = task is not None and study.user_attrs.get(BUDGET, {}).get("network") == network(task)
    return Fisher(task, training_seed(study)) if task is not None and same else _refuse_unknown


# A candidate is derived by calling `propose` as the search did. Two of its inputs may be missing, and stand-ins take their places:
# - The probe, which may be a function of the user's. Where the surrogate had asked it, its answer decided, and the candidate cannot
#   be derived: the stand-in `_refuse_unknown` raises, and `_again` then only reads the text once more and compares its fingerprint.
# - A user's proposers. `propose` drew one by weight before it drew ours, so that all must be there for the generator to go the same
#   way: the stand-in `_absent` has nothing to propose, as one that had failed. The one that made the candidate is really called.
# For example, trial 7 records {"proposer": "evolution", "own": ["mine"]}: "mine" was drawn, failed, and evolution stepped in. With
# `_absent` as "mine" the same draws follow and evolution gives the same candidate.


class _Unknown(Exception):
    """There is no probe to ask."""


def _refuse_unknown(f: Family) -> None:
    raise _Unknown


def _again(
    text: str, origin: dict[str, Any], history: History, rng: Random, proposers: Mapping[str, Proposer], probe: Probe
) -> str:
    """The candidate as its record says that it came about."""
    if origin["proposer"] not in PROPOSERS and origin["proposer"] not in proposers:
        return _read_again(text, origin)
    own: dict[str, Proposer] = dict.fromkeys(origin.get("own", ()), _absent)
    if origin["proposer"] in own:
        own[origin["proposer"]] = proposers[origin["proposer"]]
    try:
        asked = probe if "probed" in origin else None
        return str(propose(history, rng, recorded_settings(origin), origin["pending"], own, asked).function)
    except _Unknown:
        return _read_again(text, origin)


def _read_again(text: str, origin: dict[str, Any]) -> str:
    same = screen(resolve(text)).fingerprint == origin["fingerprint"]
    return text if same else f"{text!r} is not what {origin['proposer']!r} proposed"


def _absent(history: History, rng: Random) -> None:
    """Stand-in for a user's proposer that had nothing usable."""
