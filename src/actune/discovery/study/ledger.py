"""A cache of a study's finished trials, so that a suggestion reads only the new ones."""

from __future__ import annotations

import math
import threading
import weakref

from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ...catalogue.registry import resolve
from ..proposers.history import FinishedTrial, History
from ..proposers.screening import screen
from .attributes import activation_key, origin_key
from .counting import superseded

__all__ = ["finished_trial", "finished_trials", "names_in", "objective_signs", "trial_fingerprint", "trial_loss"]


def finished_trials(study: Study, key: str, own: int) -> tuple[History, list[str]]:
    """The finished trials with an activation of this name, oldest first, and the fingerprints of the others that have one."""
    return _ledger(study).view(key, own)


class _Ledger:
    """The finished trials of a study by the name of the activation, and those that were not finished at the last look."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._open: list[FrozenTrial] = []
        self._again: set[int] = set()
        self._past: dict[str, History] = {}

    def view(self, key: str, own: int) -> tuple[History, list[str]]:
        with self._lock:
            waiting = [t for t in self._open if key in t.user_attrs and t.number != own and t.number not in self._again]
            return self._past.get(key, History()), sorted(trial_fingerprint(t, key) for t in waiting)

    def update(self, trials: list[FrozenTrial], sign: tuple[float, ...]) -> None:
        """Read what is new: a finished trial never changes, but may turn out to have been run again."""
        with self._lock:
            if len(trials) < self._count:
                return  # another thread has read more since this list was made
            new = [trials[t.number] for t in self._open] + trials[self._count :]
            self._count = len(trials)
            self._open = [t for t in new if not t.state.is_finished()]
            again = superseded(new) - self._again
            self._again |= again
            if again:
                self._past = {key: History(p for p in found if p.number not in again) for key, found in self._past.items()}
            done = [t for t in new if t.state.is_finished() and t.number not in self._again]
            for key in {activation_key(name) for t in done for name in names_in(t)}:
                newer = [finished_trial(t, key, sign) for t in done if key in t.user_attrs]
                self._past[key] = self._past.get(key, History()).plus(newer)


_LEDGERS: weakref.WeakKeyDictionary[Study, _Ledger] = weakref.WeakKeyDictionary()


def _ledger(study: Study) -> _Ledger:
    found = _LEDGERS.setdefault(study, _Ledger())
    found.update(study.get_trials(deepcopy=False), objective_signs(study))
    return found


def objective_signs(study: Study) -> tuple[float, ...]:
    """The sign of each objective: multiplied by it, smaller is better."""
    return tuple(-1.0 if d == StudyDirection.MAXIMIZE else 1.0 for d in study.directions)


def finished_trial(t: FrozenTrial, key: str, sign: tuple[float, ...]) -> FinishedTrial:
    """The record of a finished trial."""
    values = [s * v for s, v in zip(sign, t.values, strict=True)] if t.state == TrialState.COMPLETE and t.values else []
    reported = t.intermediate_values[max(t.intermediate_values)] if t.intermediate_values else math.inf
    last = sign[0] * reported if math.isfinite(reported) else math.inf
    probed = t.user_attrs.get(origin_key(key), {}).get("probed")
    known = None if probed is None else tuple(probed)
    return FinishedTrial(
        t.number, t.user_attrs[key], trial_loss(t, sign), trial_fingerprint(t, key), last, tuple(values[1:]), known
    )


def trial_loss(t: FrozenTrial, sign: tuple[float, ...]) -> float:
    """The first objective, where smaller is better; infinite for a trial that failed, diverged or was pruned."""
    value = sign[0] * t.values[0] if t.state == TrialState.COMPLETE and t.values else math.inf
    return value if math.isfinite(value) else math.inf


def trial_fingerprint(t: FrozenTrial, key: str) -> str:
    """The fingerprint of the trial's activation; "unreadable" where its text is no function."""
    origin = t.user_attrs.get(origin_key(key), {})
    if "fingerprint" in origin:
        return origin["fingerprint"]
    try:  # queued by the user, and not begun
        return screen(resolve(t.user_attrs[key])).fingerprint
    except ValueError:
        return "unreadable"


def names_in(t: FrozenTrial) -> list[str]:
    """The names of the trial's activations."""
    return [key.split(":")[1] for key in t.user_attrs if key.startswith("activation:") and key.count(":") == 1]
