"""What a trial of a search does: train the suggested activation on a task, or call the user's own objective."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.pruners import SuccessiveHalvingPruner
from optuna.trial import Trial

from ...catalogue.registry import Family
from ...experiments.identity import training_key
from ...experiments.tasks import Task
from ...experiments.training.loop import Outcome, train
from ..proposers.costs import function_cost
from ..proposers.fisher import Fisher
from ..proposers.history import Proposer
from ..proposers.settings import Budget, Settings
from ..study.attributes import ANSWERED, COURSE, DIVERGED, TRAINED
from ..study.storage.opening import is_pruned_at, set_final_attributes
from ..study.suggest import breeding, find_twin, suggest_activation
from .worker import Objective

__all__ = ["OBJECTIVES", "OwnObjective", "TaskObjective"]


# What a trial of a task can be worth, the smaller the better.
OBJECTIVES: dict[str, Callable[[Outcome, Family], float]] = {
    "loss": lambda outcome, f: outcome.validation_loss,
    "error": lambda outcome, f: 1 - _trial_accuracy(outcome),
    "cost": lambda outcome, f: float(function_cost(f)),
}


def _trial_accuracy(outcome: Outcome) -> float:
    if outcome.validation_accuracy is None:
        raise ValueError("the objective 'error' needs a task with classes, this one has none; say objectives=('loss',)")
    return outcome.validation_accuracy


@dataclass(frozen=True)
class TaskObjective:
    """Train the suggested activation on a task; one seed for all candidates, so that luck is the same for all.

    fisher   the surrogate also goes by the network's Fisher information
    course   keep in the trial how the parameters moved: {"layer.parameter": [[mean, least, largest], …]}, one entry per epoch
    """

    task: Task
    seed: int
    settings: Settings
    budget: Budget
    proposers: Mapping[str, Proposer]
    device: str
    fisher: bool = False
    course: bool = False

    def __call__(self, trial: Trial) -> float | Sequence[float]:
        f = self.suggested(trial)
        if (known := self.answered(trial, f)) is not None:
            return known
        outcome = train(self.task, f, self.seed, report=self.rungs(trial), course=self.course, device=self.device)
        return self.judged(trial, f, outcome)

    def suggested(self, trial: Trial) -> Family:
        """The function that this trial trains."""
        probe = Fisher(self.task, self.seed) if self.fisher else None
        return suggest_activation(trial, settings=self.settings, proposers=self.proposers, probe=probe)

    def answered(self, trial: Trial, f: Family) -> float | Sequence[float] | None:
        """The values of a complete trial whose training was equal, which another training would repeat; None without one."""
        known = find_twin(trial, {TRAINED: self._mark(f)}) if self.settings.screening else None
        if known is None or (self.course and f.params and COURSE not in known.user_attrs):
            return None
        same = {
            name: value for name, value in known.user_attrs.items() if name in ("validation_accuracy", "validation_loss", COURSE)
        }
        set_final_attributes(trial, {ANSWERED: known.number} | same)
        # The twin may be written differently, so its cost is recomputed.
        values = [
            float(function_cost(f)) if name == "cost" else v for name, v in zip(self.budget.objectives, known.values, strict=True)
        ]
        return values if len(values) > 1 else values[0]

    def _mark(self, f: Family) -> str | None:
        return training_key(self.task, self.seed, f)

    def judged(self, trial: Trial, f: Family, outcome: Outcome) -> float | Sequence[float]:
        """The values of a trial after its training; TrialPruned where it diverged or stayed below the floor."""
        facts: dict[str, Any] = {"validation_accuracy": outcome.validation_accuracy, TRAINED: self._mark(f)}
        facts |= {DIVERGED: True} if outcome.diverged else {"validation_loss": outcome.validation_loss}
        if outcome.course is not None:
            facts[COURSE] = {name: _course(values) for name, values in outcome.course.items()}
        set_final_attributes(trial, facts)
        if outcome.diverged:
            raise optuna.TrialPruned("the training diverged")
        accuracy = outcome.validation_accuracy  # None where there are no classes: then there is no floor
        if accuracy is not None and accuracy < self.budget.floor:
            raise optuna.TrialPruned(f"validation accuracy below {self.budget.floor}")
        values = tuple(OBJECTIVES[name](outcome, f) for name in self.budget.objectives)
        return values if len(values) > 1 else values[0]

    def rungs(self, trial: Trial) -> Callable[[int, float], None] | None:
        """The function that prunes, called after each epoch; None without pruning. Only rungs are reported: it is a transaction."""
        first = math.ceil(self.task.recipe.epochs * self.budget.first_rung)
        if first < 1 or len(self.budget.objectives) > 1:
            return None
        rungs = {first * self.budget.reduction**k for k in range(32)} & set(range(1, self.task.recipe.epochs))
        # A study has a pruner only in this process: every worker sets it.
        trial.study.pruner = SuccessiveHalvingPruner(min_resource=first, reduction_factor=self.budget.reduction)

        def report(epoch: int, loss: float) -> None:
            if epoch + 1 in rungs and is_pruned_at(trial, loss, epoch + 1) and trial.number >= self.budget.spared:
                raise optuna.TrialPruned(f"behind the others after {epoch + 1} epochs")

        return report


def _course(values: Sequence[Sequence[float]]) -> list[list[float]]:
    """Mean, least and largest over the channels after each epoch, to four digits."""
    return [[float(f"{x:.4g}") for x in (statistics.fmean(at), min(at), max(at))] for at in values]


@dataclass(frozen=True)
class OwnObjective:
    """A user's objective, whose calls of `suggest_activation` breed as the search was told to."""

    objective: Objective
    settings: Settings
    proposers: Mapping[str, Proposer]

    def __call__(self, trial: Trial) -> float | Sequence[float]:
        with breeding(self.settings, self.proposers):
            return self.objective(trial)
