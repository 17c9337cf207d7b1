"""The next candidate: proposers mixed by weight, and what a user's own return read as text, screened, never executed."""

from __future__ import annotations

import importlib
import os
import sysconfig
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Any

from ...catalogue.registry import Family, resolve
from ...messages import shorten, suggestion
from .evolution import draw_family, draw_random, evolve
from .history import Draft, FinishedTrial, History, Probe, Proposer, without_constraints
from .screening import Screening, screen
from .settings import Settings
from .space import fits
from .surrogate import draw_promising

__all__ = ["PROPOSERS", "Proposal", "check_proposers", "find_function", "propose"]

# Ours; with the settings and the probe given, each is a proposer as a user's own is: (history, rng) -> Draft.
PROPOSERS: dict[str, Callable[[History, Random, Settings, Probe | None], Draft | None]] = {
    "random": draw_random, "catalogue": draw_family, "evolution": evolve, "surrogate": draw_promising,
}  # fmt: skip


@dataclass(frozen=True)
class Proposal:
    """The next candidate, and how it came about.

    kind         what the proposer says that it did
    parents      the numbers of the trials that it was made from
    fingerprint  see `screen`
    proposer     the name of the proposer
    failed       a user's proposers that were drawn and had nothing usable, with the reason
    """

    function: Family
    kind: str
    parents: tuple[int, ...]
    fingerprint: str
    proposer: str
    failed: Mapping[str, str] = field(default_factory=dict)


def propose(
    history: Sequence[FinishedTrial],
    rng: Random,
    settings: Settings,
    pending: Collection[str] = (),
    proposers: Mapping[str, Proposer] | None = None,
    probe: Probe | None = None,
) -> Proposal:
    """The next candidate: with screening, never one whose fingerprint is in the history or pending.

    history    the finished trials, oldest first
    pending    the fingerprints of the trials that have begun and not finished
    proposers  a user's own by name: functions (history, rng) -> text. Their weight is 1, unless the settings give them another.
               One that raises, or returns nothing usable, is passed over for this candidate; `failed` says why.
    probe      tells the surrogate more of a function than its outputs do, where the history has the same of the past
    The same arguments and the same state of the generator give the same candidate.
    """
    history = history if isinstance(history, History) else History(history)
    own = proposers or {}
    weights = check_proposers(settings, own)
    failed: dict[str, str] = {}
    for _ in range(settings.attempts):
        name = rng.choices(list(weights), list(weights.values()))[0]
        ours = partial(_from_ours, probe if settings.probing else None)
        source: Callable[..., Proposal | str | None] = partial(_from_outside, own[name]) if name in own else ours
        found = source(name, history, Random(rng.getrandbits(64)), pending, settings)
        if isinstance(found, Proposal):
            return replace(found, failed=failed)
        if found is not None:
            del weights[name]  # nothing more from there: another steps in
            weights = weights or {"evolution": 1.0}
            failed |= {name: found} if name in own else {}
    raise RuntimeError(f"no new candidate in attempts={settings.attempts} draws; widen the space of the search, or end it here")


def _from_ours(
    probe: Probe | None, name: str, history: History, rng: Random, pending: Collection[str], settings: Settings
) -> Proposal | str | None:
    """A candidate; None where another draw may give one; text: the reason why this proposer has nothing more."""
    draft = PROPOSERS[name](history, rng, settings, probe)
    if draft is None:
        return "nothing left to propose"
    screening = screen(draft.function)
    if settings.screening and _unfit(screening, history, pending) is not None:
        return None
    return Proposal(draft.function, draft.kind, draft.parents, screening.fingerprint, name)


def _from_outside(
    draw: Proposer, name: str, history: History, rng: Random, pending: Collection[str], settings: Settings
) -> Proposal | str:
    """A candidate, or the reason why there is none. What comes from outside is screened whatever the settings say."""
    try:
        drawn = draw(history, rng)
        if drawn is None:
            return "it returned None"
        draft = drawn if isinstance(drawn, Draft) else Draft(resolve(drawn), name)
        f = without_constraints(resolve(draft.function))
        told = shorten(drawn if isinstance(drawn, str) else str(f))
        if not f.is_declared and not fits(f.expr, settings.space):
            return f"{told!r} is larger than the space of the search allows (size={settings.space.size})"
        screening = screen(f)
        reason = _unfit(screening, history, pending)
        if reason is not None:
            return f"{told!r} {reason}"
        return Proposal(f, str(draft.kind) or name, tuple(map(int, draft.parents)), screening.fingerprint, name)
    except (Exception, SystemExit) as error:
        return shorten(" ".join(f"{type(error).__name__}: {error}".split()), 200)


def _unfit(screening: Screening, history: History, pending: Collection[str]) -> str | None:
    """Why this is no new candidate, or None."""
    if screening.reason is not None:
        return f"cannot be trained: {screening.reason}"
    known = history.has_seen(screening.fingerprint) or screening.fingerprint in pending
    return "was tried before" if known else None


def check_proposers(settings: Settings, own: Mapping[str, Proposer]) -> dict[str, float]:
    """The proposers with a positive weight; ValueError in one line for an unknown name or a wrong weight."""
    clash = sorted(set(own) & set(PROPOSERS))
    if clash:
        raise ValueError(f"proposers has the name {clash[0]!r}, which is one of ours ({', '.join(PROPOSERS)}); choose another")
    weights = dict.fromkeys(own, 1.0) | dict(settings.proposers)
    for name, weight in weights.items():
        if name not in PROPOSERS and name not in own:
            known = [*PROPOSERS, *own]
            raise ValueError(f"unknown proposer {name!r}{suggestion(name, known)} (known: {', '.join(known)})")
        if not 0 <= weight < float("inf"):
            raise ValueError(f"the weight of the proposer {name!r} must be a finite number from 0, got {weight!r}")
    positive = {name: weight for name, weight in weights.items() if weight > 0}
    if not positive:
        raise ValueError(f"no proposer has a positive weight in {weights}; give one, such as ('evolution', 1.0)")
    return positive


def _place(error: BaseException) -> str | None:
    """Where in the user's code an import failed, `FILE:LINE`; None if no code of a module has run."""
    if isinstance(error, SyntaxError) and os.path.isfile(error.filename or ""):
        return f"{error.filename}:{error.lineno}"
    calls = traceback.extract_tb(error.__traceback__)[1:]  # after the one of `find_function`
    calls = [call for call in calls if not call.filename.startswith(("<frozen importlib", importlib.__file__))]
    installed = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
    last = ([call for call in calls if not call.filename.startswith(installed)] or calls)[-1:]
    return f"{last[0].filename}:{last[0].lineno}" if last else None


def find_function(name: str, argument: str = "proposer", example: str = "mymodule:propose") -> Callable[..., Any]:
    """The function that `module:function` names, given as this argument; a module that fails is named with the error's place."""
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function) if module and function else None
    except (Exception, SystemExit) as error:  # the module is the user's: it may raise anything
        said, place = shorten(" ".join(f"{type(error).__name__}: {error}".split()), 200), _place(error)
        if place is not None:
            raise ValueError(f"{argument}={name!r}: importing {module!r} failed at {place} with {said}; mend it there") from error
        raise ValueError(
            f"{argument}={name!r} cannot be imported ({said}); write it as {example}, with {example.partition(':')[0]} on the path"
        ) from None
    if not callable(found):
        raise ValueError(f"{argument}={name!r} is no function; write it as {example}")
    return found
