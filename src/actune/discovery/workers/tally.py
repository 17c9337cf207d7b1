"""How far a search is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import optuna
from optuna.storages._heartbeat import is_heartbeat_enabled
from optuna.trial import FrozenTrial, TrialState

from ..study.attributes import ERROR_MESSAGE, WORKER
from ..study.counting import finished
from ..study.storage.patience import SearchError
from .requeueing import is_this_process

__all__ = ["FAILURES", "Tally", "TrialProgress"]


FAILURES = 10  # in a row stop the search


TrialProgress = Callable[[optuna.Study, FrozenTrial], None]


@dataclass
class Tally:
    """Counts how far a search is, reports trials that have finished, and ends it when trials only fail.

    own   whether a worker, by its name, is one of this search
    """

    study: optuna.Study
    trials: int
    progress: TrialProgress | None = None
    own: Callable[[str], bool] = is_this_process
    _before: set[int] = field(init=False)
    _shown: set[int] = field(init=False)

    def __post_init__(self) -> None:
        self._before = {t.number for t in finished(self.study.get_trials(deepcopy=False))}
        self._shown = set(self._before)

    def look(self) -> tuple[int, int]:
        """The numbers of missing trials and of trials that other searches run; SearchError where its last ones all failed."""
        trials = self.study.get_trials(deepcopy=False)
        done = finished(trials)
        for t in done:
            if self.progress is not None and t.number not in self._shown:
                self.progress(self.study, t)
            self._shown.add(t.number)
        last = [t for t in done if t.number not in self._before][-FAILURES:]
        if len(last) == FAILURES and all(t.state == TrialState.FAIL for t in last):
            message = last[-1].user_attrs.get(ERROR_MESSAGE, "its worker died, as did those that ran it again")
            raise SearchError(f"{FAILURES} trials in a row failed, the last one (number {last[-1].number}) with {message}")
        return self.trials - len(done), self._elsewhere(trials)

    def _elsewhere(self, trials: Sequence[FrozenTrial]) -> int:
        """The number of trials that workers of other searches run; 0 for a storage without heartbeats, where nobody can tell."""
        if not is_heartbeat_enabled(self.study._storage):
            return 0
        names = [t.user_attrs[WORKER] for t in trials if t.state == TrialState.RUNNING and WORKER in t.user_attrs]
        return sum(not self.own(name) for name in names)
