"""The next candidate of a study, from its own past; or the one that a trial already has.

How it came about is recorded beside it: see `origin.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from optuna.trial import BaseTrial, FrozenTrial, Trial, TrialState

from ...catalogue.registry import Family, resolve
from ...messages import shorten
from ..proposers.history import Probe, Proposer
from ..proposers.mixture import Proposal, propose
from ..proposers.screening import screen
from ..proposers.settings import Settings
from ..proposers.surrogate import probe_numbers
from .attributes import activation_key, origin_key
from .ledger import finished_trials
from .origin import changed_settings, write_ranges
from .seeds import candidate_generator, study_seed
from .storage.opening import set_attributes

__all__ = ["breeding", "find_twin", "suggest_activation"]

_DEFAULT = Settings()
_BREEDING: ContextVar[tuple[Settings, Mapping[str, Proposer]]] = ContextVar("_BREEDING", default=(_DEFAULT, {}))
_LOG = logging.getLogger(__name__)


def suggest_activation(
    trial: BaseTrial,
    name: str = "activation",
    *,
    settings: Settings | None = None,
    proposers: Mapping[str, Proposer] | None = None,
    probe: Probe | None = None,
) -> Family:
    """The activation function that this trial is to train: bred from the study's own past, or the one that the trial already has.

    A trial has one, in the user attribute `activation:NAME`, when it is run again, when it was queued with it
    (`study.enqueue_trial({}, user_attrs={"activation:hidden": "x*sigmoid(b*x); b=1"})`), and when it is finished.

    name       tells the functions of one network apart; each evolves by itself, on the value of the whole trial
    settings   how candidates are bred; default: as the search was told that runs this trial
    proposers  your own by name: functions (history, rng) -> text, mixed with ours; see `propose`. Default: the search's
    probe      what a look at your network tells of a function: a function Family -> numbers, always as many, or None. The surrogate
               asks it of its shortlist, the study keeps what it said of the chosen one; it may be asked the same twice

    The first objective of the study is what is improved, in its direction; of several, parents are such that no other in their
    sample is better in all. Failed and pruned trials and infinite values are worse than all others. The candidate depends on the
    study's seed (its user attribute `actune:seed`, 0 if never set), the trial's number, the name, the trials that are in the
    study, the families that are declared and what your own proposers and probe return, and on nothing else.
    """
    if not isinstance(trial, BaseTrial):
        raise ValueError(f"trial must be the Optuna trial that your objective is called with, got {shorten(repr(trial))}")
    of_search, own = _BREEDING.get()
    settings, proposers = settings or of_search, own if proposers is None else proposers
    key, asked = activation_key(name), probe if settings.probing else None
    given = trial.user_attrs.get(key)
    if given is not None:
        return _given(trial, key, given, asked)
    if not isinstance(trial, Trial):
        raise ValueError(f"{type(trial).__name__} has no study to breed from; "
                         f"give it the function: trial.set_user_attr({key!r}, 'x*sigmoid(x)')")  # fmt: skip
    for _ in range(10):
        proposal = _suggest(trial, name, settings, proposers, asked)
        # Another worker may have drawn the same at the same time. Who sees that draws again, now knowing the other.
        if not settings.screening or not _has_twin(trial, key, proposal.fingerprint):
            break
    return proposal.function


@contextmanager
def breeding(settings: Settings, proposers: Mapping[str, Proposer]) -> Iterator[None]:
    """Settings and proposers for `suggest_activation` inside this context, unless a call says otherwise."""
    before = _BREEDING.set((settings, proposers))
    try:
        yield
    finally:
        _BREEDING.reset(before)


def _given(trial: BaseTrial, key: str, text: Any, probe: Probe | None) -> Family:
    try:
        f = resolve(text)
    except ValueError as error:
        raise ValueError(f"the user attribute {key!r} of trial {trial.number} is no activation function: {error}") from None
    if isinstance(trial, Trial) and origin_key(key) not in trial.user_attrs:
        trial.set_user_attr(origin_key(key), {"kind": "given", "fingerprint": screen(f).fingerprint, **_told(probe, f)})
    return f


def _suggest(
    trial: Trial, name: str, settings: Settings, proposers: Mapping[str, Proposer] | None, probe: Probe | None
) -> Proposal:
    key = activation_key(name)
    history, pending = finished_trials(trial.study, key, trial.number)
    rng = candidate_generator(study_seed(trial.study), trial.number, name)
    proposal = propose(history, rng, settings, pending, proposers, probe)
    for failed, reason in proposal.failed.items():
        _LOG.warning("trial %s: the proposer %r was passed over: %s", trial.number, failed, reason)
    origin = {
        "trial": trial.number,
        "proposer": proposal.proposer,
        "kind": proposal.kind,
        "parents": list(proposal.parents),
        "seen": write_ranges(history.numbers),
        "pending": pending,
        "fingerprint": proposal.fingerprint,
        **({"failed": dict(proposal.failed)} if proposal.failed else {}),
        **({"own": sorted(proposers)} if proposers else {}),
        **_told(probe, proposal.function),
        **changed_settings(settings),
    }
    set_attributes(
        trial, {origin_key(key): origin, key: str(proposal.function)}
    )  # in this order: a trial that has its text has all
    return proposal


def _told(probe: Probe | None, f: Family) -> dict[str, Any]:
    """The probe's numbers for the record, whoever proposed the candidate: the surrogate learns from all."""
    if probe is None:
        return {}
    found = probe_numbers(probe, f)
    return {"probed": found if found is None else list(found)}


def _has_twin(trial: Trial, key: str, own: str) -> bool:
    history, pending = finished_trials(trial.study, key, trial.number)
    return own in pending or history.has_seen(own)


def find_twin(trial: Trial, attributes: Mapping[str, Any], name: str = "activation") -> FrozenTrial | None:
    """A complete trial of the study with the fingerprint of this one's activation, and with these attributes (None: with none)."""
    key = activation_key(name)
    history, _ = finished_trials(trial.study, key, trial.number)
    own = trial.user_attrs.get(origin_key(key), {}).get("fingerprint")
    if own is None or not history.has_seen(own) or None in attributes.values():
        return None
    trials = trial.study.get_trials(deepcopy=False)
    found = (trials[past.number] for past in history if past.fingerprint == own)
    same = (t for t in found if t.state == TrialState.COMPLETE)
    return next((t for t in same if all(t.user_attrs.get(k) == v for k, v in attributes.items())), None)
