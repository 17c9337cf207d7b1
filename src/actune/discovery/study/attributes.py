"""Under which names a study keeps what the search knows: user attributes of the study and of its trials."""

from __future__ import annotations

from optuna.study import Study

from ...messages import shorten

__all__ = [
    "ANSWERED",
    "BUDGET",
    "COMMANDS",
    "COURSE",
    "DIVERGED",
    "ERROR_MESSAGE",
    "INTERRUPTED",
    "PROOF",
    "RANKING",
    "SEED",
    "TASK",
    "TRAINED",
    "WORKER",
    "activation_key",
    "check_study",
    "origin_key",
]

# Of a study.
SEED = "actune:seed"  # of its candidates and trainings
TASK = "actune:task"  # the name of the task, unless the objective is the user's own
BUDGET = "actune:budget"  # how the task trains, what a trial is worth, and a digest of the network
RANKING = "actune:ranking"  # the leaders, trained again on fresh seeds
PROOF = "actune:proof"  # the comparison of what was found, without the course of its trainings
COMMANDS = "actune:commands"  # the command lines that searched: what was typed, when, on what

# Of a trial.
WORKER = "actune:worker"  # who runs it, HOST:PID
DIVERGED = "actune:diverged"  # True where its training diverged
ERROR_MESSAGE = "actune:error"  # the message of the exception with which it failed
INTERRUPTED = "actune:interrupted"  # its number, where Ctrl-C ended it
TRAINED = "actune:trained"  # what its training depended on, as a digest
ANSWERED = "actune:answered"  # the number of the trial that trained the same, whose values it took
COURSE = "actune:course"  # how the parameters moved


def activation_key(name: str) -> str:
    """The attribute of a trial that holds its activation of this name, as text."""
    if not isinstance(name, str) or not name or ":" in name:
        raise ValueError(f"the name of an activation must be text without ':', got {name!r}")
    return f"activation:{name}"


def check_study(study: object) -> None:
    """Refuse what is no Optuna study."""
    if not isinstance(study, Study):
        raise ValueError(f"study must be an Optuna study, as search and optuna.load_study return one, got {shorten(repr(study))}")


def origin_key(key: str) -> str:
    """The attribute that says how the activation in the attribute `key` came about; see `origin.py`."""
    return f"{key}:origin"
