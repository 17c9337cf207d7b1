"""Candidates from an Optuna study and nothing else: suggest one, search with a task, read the best, replay the whole.

A trial keeps its candidate in the user attribute `activation:NAME`, as text, and how it came about in `activation:NAME:origin`:
the number of the trial whose generator drew it, the proposer and what it did, the parents, the finished trials that were seen
("0-31,33"), the fingerprints of the trials that ran meanwhile, its own fingerprint, and what
a probe told of it if there was one. The study keeps its seed in `actune:seed`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from random import Random
from typing import Any
from weakref import WeakKeyDictionary

from optuna.study import Study
from optuna.trial import BaseTrial, FrozenTrial, Trial, TrialState

from ...catalogue.registry import Family, resolve
from ...experiments.identity import network
from ...experiments.tasks import TASKS
from ...messages import shorten
from ..proposers.evolution import front as undominated
from ..proposers.fisher import Fisher
from ..proposers.history import History, Probe, Proposer
from ..proposers.mixture import PROPOSERS, Proposal, propose
from ..proposers.screening import screen
from ..proposers.settings import Settings
from ..proposers.space import Space
from ..proposers.surrogate import probed
from ..workers.processes import ERROR, finished
from .ledger import fingerprint, loss, names, numbers, past, ranges, signs, view
from .storage import note

__all__ = ["activation_names", "best", "breeding", "finite_trials", "front", "leaders", "replay", "suggest_activation", "twin"]

SEED, TASK, BUDGET, RANKING = "actune:seed", "actune:task", "actune:budget", "actune:ranking"  # attributes of a study
_DEFAULT = Settings()
_SEEDS: WeakKeyDictionary[Study, int] = WeakKeyDictionary()
_BREEDING: ContextVar[tuple[Settings, Mapping[str, Proposer]]] = ContextVar("_BREEDING", default=(_DEFAULT, {}))
_LOG = logging.getLogger(__name__)


# -- one candidate ---------------------------------------------------------------------------------------------------------


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
    key, asked = _key(name), probe if settings.probing else None
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
    return resolve(proposal.text)


@contextmanager
def breeding(settings: Settings, proposers: Mapping[str, Proposer]) -> Iterator[None]:
    """What `suggest_activation` goes by meanwhile, unless it is told otherwise."""
    before = _BREEDING.set((settings, proposers))
    try:
        yield
    finally:
        _BREEDING.reset(before)


def _key(name: str) -> str:
    if not isinstance(name, str) or not name or ":" in name:
        raise ValueError(f"the name of an activation must be text without ':', got {name!r}")
    return f"activation:{name}"


def _given(trial: BaseTrial, key: str, text: Any, probe: Probe | None) -> Family:
    try:
        f = resolve(text)
    except ValueError as error:
        raise ValueError(f"the user attribute {key!r} of trial {trial.number} is no activation function: {error}") from None
    if isinstance(trial, Trial) and f"{key}:origin" not in trial.user_attrs:
        trial.set_user_attr(f"{key}:origin", {"kind": "given", "fingerprint": screen(f).fingerprint, **_told(probe, f)})
    return f


def _suggest(
    trial: Trial, name: str, settings: Settings, proposers: Mapping[str, Proposer] | None, probe: Probe | None
) -> Proposal:
    key = _key(name)
    history, pending = view(trial.study, key, trial.number)
    rng = _generator(study_seed(trial.study), trial.number, name)
    proposal = propose(history, rng, settings, pending, proposers, probe)
    for failed, reason in proposal.failed.items():
        _LOG.warning("trial %s: the proposer %r was passed over: %s", trial.number, failed, reason)
    origin = {
        "trial": trial.number,
        "proposer": proposal.proposer,
        "kind": proposal.kind,
        "parents": list(proposal.parents),
        "seen": ranges(past.number for past in history),
        "pending": pending,
        "fingerprint": proposal.fingerprint,
        **({"failed": dict(proposal.failed)} if proposal.failed else {}),
        **({"own": sorted(proposers)} if proposers else {}),
        **_told(probe, resolve(proposal.text)),
        **_changed(settings),
    }
    note(trial, {f"{key}:origin": origin, key: proposal.text})  # in this order: a trial that has its text has all
    return proposal


def _told(probe: Probe | None, f: Family) -> dict[str, Any]:
    """For the record, of every candidate, whoever proposed it: the surrogate learns from all."""
    if probe is None:
        return {}
    found = probed(probe, f)
    return {"probed": found if found is None else list(found)}


def _has_twin(trial: Trial, key: str, own: str) -> bool:
    history, pending = view(trial.study, key, trial.number)
    return own in pending or any(past.fingerprint == own for past in history)


def twin(trial: Trial, attributes: Mapping[str, Any], name: str = "activation") -> FrozenTrial | None:
    """A complete trial of the study with the fingerprint of this one's activation, and with these attributes (None: with none)."""
    key = _key(name)
    history, _ = view(trial.study, key, trial.number)
    own = trial.user_attrs.get(f"{key}:origin", {}).get("fingerprint")
    if own not in history.fingerprints or None in attributes.values():
        return None
    trials = trial.study.get_trials(deepcopy=False)
    found = (trials[past.number] for past in history if past.fingerprint == own)
    same = (t for t in found if t.state == TrialState.COMPLETE)
    return next((t for t in same if all(t.user_attrs.get(k) == v for k, v in attributes.items())), None)


def _check_study(study: object) -> None:
    if not isinstance(study, Study):
        raise ValueError(f"study must be an Optuna study, as search and optuna.load_study return one, got {shorten(repr(study))}")


def study_seed(study: Study, wanted: int | None = None) -> int:
    """The seed of the study, written at its first use, and read once: it does not change."""
    seed = _SEEDS[study] if study in _SEEDS else study.user_attrs.get(SEED)
    if seed is None:
        seed = 0 if wanted is None else wanted
        study.set_user_attr(SEED, seed)
    _SEEDS[study] = seed
    if wanted is not None and wanted != seed:
        raise ValueError(f"seed={wanted}, but the study {study.study_name!r} was begun with {seed}; leave it out to go on")
    return seed


def training_seed(study: Study) -> int:
    """The seed of the trainings of a study's task, and of its probe."""
    return digest(study_seed(study), "training") % 2**31


def digest(*words: object) -> int:
    return int.from_bytes(hashlib.sha256(":".join(map(str, words)).encode()).digest()[:8], "big")


def _generator(seed: int, number: int, name: str) -> Random:
    return Random(digest(seed, number, name))


# -- the record ------------------------------------------------------------------------------------------------------------


def _changed(settings: Settings) -> dict[str, Any]:
    """The settings that are not the default, for the record."""

    def differences(value: Any, default: Any) -> dict[str, Any]:
        pairs = ((f.name, getattr(value, f.name), getattr(default, f.name)) for f in dataclasses.fields(value))
        return {name: differences(v, d) if dataclasses.is_dataclass(v) else _plain(v) for name, v, d in pairs if v != d}

    changed = differences(settings, _DEFAULT)
    return {"settings": changed} if changed else {}


def _settings(origin: dict[str, Any]) -> Settings:
    changed = {k: _frozen(v) for k, v in origin.get("settings", {}).items() if k != "space"}
    space = {k: _frozen(v) for k, v in origin.get("settings", {}).get("space", {}).items()}
    return Settings(**changed, space=Space(**space))


def _plain(value: Any) -> Any:
    """Tuples as the lists that JSON makes of them: a study in memory has the same records as one in a database."""
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _frozen(value: Any) -> Any:
    """Lists, which JSON makes of tuples, as tuples again."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def replay(study: Study, proposers: Mapping[str, Proposer] | None = None, probe: Probe | None = None) -> dict[str, str]:
    """Derive every candidate again from the records: {"NUMBER:NAME": text} of those that come out differently, else {}.

    proposers  your own, where trials had some. One that is not given is not called: what it returned is only read again, and
               must have the recorded fingerprint. One that failed is taken to fail again.
    probe      the study's, where it had one; of a task that ships it is found. Without it, what it had a say in is only read again

    Of a trial that was drawn in another study and added to this one, the text says that: only there can it be derived.
    """
    _check_study(study)
    trials = study.get_trials(deepcopy=False)
    seed, sign = study_seed(study), signs(study)
    probe = probe or _probe_of(study)
    different: dict[str, str] = {}
    for t in trials:
        for name in names(t):
            key = _key(name)
            origin = t.user_attrs.get(f"{key}:origin", {})
            if "proposer" in origin and not _was_drawn_here(trials, key, origin):
                different[f"{t.number}:{name}"] = "it was drawn in another study; replay the one that it comes from"
            elif "proposer" in origin:
                history = History(past(trials[n], key, sign) for n in numbers(origin["seen"]))
                rng = _generator(seed, origin["trial"], name)
                again = _again(t.user_attrs[key], origin, history, rng, proposers or {}, probe)
                if again != t.user_attrs[key]:
                    different[f"{t.number}:{name}"] = again
    return different


def _was_drawn_here(trials: list[FrozenTrial], key: str, origin: dict[str, Any]) -> bool:
    """Whether these trials have what the record of one tells of them: the trial that drew it, and those that were seen.

    A trial that is run again has the record of the first; one that was added from another study may speak of numbers that others
    have here.
    """
    drawn, seen = origin["trial"], numbers(origin["seen"])
    if max([drawn, *seen]) >= len(trials) or trials[drawn].user_attrs.get(f"{key}:origin") != origin:
        return False
    return all(key in trials[n].user_attrs for n in seen)


def _probe_of(study: Study) -> Probe:
    """That of a task that ships, with which `search` began the study; another may bear its name."""
    task = TASKS.get(study.user_attrs.get(TASK, ""))
    same = task is not None and study.user_attrs.get(BUDGET, {}).get("network") == network(task)
    return Fisher(task, training_seed(study)) if task is not None and same else _unknown


class _Unknown(Exception):
    """There is no probe to ask."""


def _unknown(f: Family) -> None:
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
        return propose(history, rng, _settings(origin), origin["pending"], own, probe if "probed" in origin else None).text
    except _Unknown:
        return _read_again(text, origin)


def _read_again(text: str, origin: dict[str, Any]) -> str:
    same = screen(resolve(text)).fingerprint == origin["fingerprint"]
    return text if same else f"{text!r} is not what {origin['proposer']!r} proposed"


def _absent(history: History, rng: Random) -> None:
    """A user's proposer that had nothing usable."""


# -- the result ------------------------------------------------------------------------------------------------------------


def leaders(study: Study, n: int = 10, name: str | None = None) -> list[Family]:
    """The best candidates of the study by the first objective, at most n, best first, each function once.

    name   which activation, where trials have several
    """
    if not isinstance(n, int) or n < 0:
        raise ValueError(f"n must be a number of functions, from 0 on, got {shorten(repr(n))}")
    key, complete = _complete(study, name)
    sign = signs(study)
    found: dict[str, str] = {}
    for t in sorted(complete, key=lambda t: (loss(t, sign), t.number)):
        found.setdefault(fingerprint(t, key), t.user_attrs[key])
    return [resolve(text).simplify() for text in list(found.values())[:n]]


def front(study: Study, name: str | None = None) -> list[tuple[Family, tuple[float, ...]]]:
    """The Pareto front of a study with several objectives: the candidates that no other is better than in all, with their values.

    Sorted by the first objective, the best first; of one objective it is the best alone.
    """
    key, complete = _complete(study, name)
    sign = signs(study)
    values = {t.number: tuple(t.values) for t in complete}
    kept = sorted(undominated([past(t, key, sign) for t in complete]), key=lambda p: (p.loss, p.others, p.number))
    found = {(p.loss, p.others): (resolve(p.text).simplify(), values[p.number]) for p in reversed(kept)}
    return list(reversed(found.values()))


def _complete(study: Study, name: str | None) -> tuple[str, list[FrozenTrial]]:
    """The trials that are complete with finite values, and the attribute of the activation in them."""
    complete = finite_trials(study)
    key = _key(name if name is not None else _only_name(complete))
    found = [t for t in complete if key in t.user_attrs]
    if not found:
        raise ValueError(f"the study {study.study_name!r} has no complete trial with {key!r}; {_why_none(study)}")
    return key, found


def _why_none(study: Study) -> str:
    """What became of the trials instead."""
    trials = study.get_trials(deepcopy=False)
    if errors := [t.user_attrs[ERROR] for t in trials if ERROR in t.user_attrs]:
        return f"the last one failed with {errors[-1]}"
    ended = Counter(t.state.name.lower() for t in trials if t.state.is_finished())
    if not ended:
        return "let it finish some first"
    told = ", ".join(f"{count} {state}" for state, count in ended.items())
    return f"of its trials are {told}: let the objective call suggest_activation and return a finite number"


def _only_name(trials: list[FrozenTrial]) -> str:
    found = _names(trials)
    if len(found) > 1:
        raise ValueError(f"the trials have several activations; choose one: name={' or '.join(map(repr, found))}")
    return found[0] if found else "activation"


def activation_names(study: Study) -> list[str]:
    """The names of the activations of the trials that are complete with finite values: one, unless a network has several."""
    return _names(finite_trials(study))


def finite_trials(study: Study) -> list[FrozenTrial]:
    """The trials that are complete, all values finite."""
    _check_study(study)
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [t for t in trials if all(map(math.isfinite, t.values))]


def _names(trials: list[FrozenTrial]) -> list[str]:
    return sorted({name for t in trials for name in names(t)})


def best(study: Study, name: str | None = None) -> Family:
    """The best candidate of the study, as `Activation` and `swap` accept it.

    Where leaders were trained again on fresh seeds (`confirm`, `prove`) and no trial has finished since, the best of them.
    """
    _check_study(study)
    ranking = study.user_attrs.get(RANKING)
    if name is None and ranking is not None and ranking["finished"] == len(finished(study.get_trials(deepcopy=False))):
        return resolve(ranking["leaders"][0]["text"]).simplify()
    return leaders(study, 1, name)[0]
