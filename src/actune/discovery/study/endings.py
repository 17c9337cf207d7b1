"""How the trials of a study ended, and why, in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from ...messages import shorten
from .attributes import ANSWERED, DIVERGED, ERROR_MESSAGE
from .counting import is_left, superseded

__all__ = ["TRIAL_ENDINGS", "Ending", "trial_endings"]

# In the order in which they are listed.
TRIAL_ENDINGS = ("complete", "answered", "pruned", "failed", "left", "running", "waiting")
_REASON = 160  # characters of a message


@dataclass(frozen=True)
class Ending:
    """How a trial ended: one of `TRIAL_ENDINGS`, and why, as words that trials of one cause share; empty where nothing is to say.

    answered   complete with the values of an earlier trial, whose training was equal
    left       its worker died, or it was interrupted: it is run again, or was
    """

    kind: str
    why: str = ""


def trial_endings(trials: Sequence[FrozenTrial], budget: Mapping[str, Any]) -> list[Ending]:
    """The ending of each trial; `budget` is what the study of a task says of its trainings."""
    again = superseded(trials)
    return [_ending(t, again, float(budget.get("floor", 0.0))) for t in trials]


def _ending(t: FrozenTrial, again: Iterable[int], floor: float) -> Ending:
    if t.state == TrialState.COMPLETE:
        if not all(map(math.isfinite, t.values)):
            return Ending("failed", "the objective returned an infinite value")
        return Ending("answered", "an earlier trial had trained the same") if ANSWERED in t.user_attrs else Ending("complete")
    if t.state == TrialState.PRUNED:
        return Ending("pruned", _why_pruned(t, floor))
    if t.state == TrialState.FAIL and (is_left(t) or t.number in again):
        return Ending("left", "interrupted, or its worker died")
    if t.state == TrialState.FAIL:
        return Ending("failed", shorten(str(t.user_attrs.get(ERROR_MESSAGE, "no message was kept")), _REASON))
    return Ending(t.state.name.lower())


def _why_pruned(t: FrozenTrial, floor: float) -> str:
    accuracy = t.user_attrs.get("validation_accuracy")
    if t.user_attrs.get(DIVERGED):
        return "the training diverged"
    if accuracy is not None and accuracy < floor:
        return f"validation accuracy below {floor:g}"
    if t.intermediate_values:
        step = max(t.intermediate_values)
        return f"behind the others after {step} epoch{'s'[: step != 1]}"
    return "by the objective"
