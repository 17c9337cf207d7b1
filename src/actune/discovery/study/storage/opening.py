"""Open the storage of a study, by its path or its URL."""

from __future__ import annotations

import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import Trial
from sqlalchemy.exc import SQLAlchemyError

from ....messages import shorten, suggestion
from ..counting import this_worker
from .database import Database, open_database, sqlalchemy_url
from .journal import Journal
from .patience import PATIENCE, SearchError, reason_of, remedy_for, without_password
from .writing import write_attributes, write_step

__all__ = ["existing_study", "is_pruned_at", "open_storage", "set_attributes", "set_final_attributes"]

_FAILED = dict[str, float]()  # when a storage last could not be opened, time.monotonic()


def open_storage(
    where: str | Path, heartbeat: int, grace: int, *, worker: str | None = None, patience: float | None = None
) -> BaseStorage:
    """Open the storage of a study.

    where      the path of a SQLite file, the URL of a database, or `journal:PATH`
    heartbeat  seconds between signs of life in a database; a journal has none
    grace      seconds without one until a trial is run again
    worker     the name that trials begun here bear; default: this machine and process
    patience   seconds for which calls are repeated that fail because the disk is full or the database does not answer;
               default: `PATIENCE`
    """
    text, worker, patience = str(where), worker or this_worker(), PATIENCE if patience is None else patience
    journal = text.removeprefix("journal:") if text.startswith("journal:") else None
    if not text.strip() or journal == "":
        raise ValueError(f"storage={text!r} is empty; give the path of a file, the URL of a database, or journal:PATH")
    try:
        if journal is not None:
            return Journal(Path(journal), worker, patience)
        opened = open_database(sqlalchemy_url(text), heartbeat, grace, worker, patience)
        opened.patience.last = _FAILED.get(text, -math.inf)
        return opened
    except SearchError:
        raise  # says what to do
    except (StorageInternalError, SQLAlchemyError, ImportError, OSError, RuntimeError) as error:
        _FAILED[text] = time.monotonic()
        remedy = remedy_for(error, text) or "give the path of a study's file, the URL of a database, or journal:PATH"
        raise ValueError(f"storage={without_password(text)!r} cannot be opened ({reason_of(error)}); {remedy}") from None


def existing_study(where: str, name: str | None = None) -> Study:
    """The study of this name in a storage, or the only one; ValueError says which there are.

    where   as `open_storage` takes it
    """
    path = Path(where.removeprefix("journal:").removeprefix("sqlite:///"))
    if "://" not in str(path) and not path.exists():
        raise ValueError(f"storage={where!r}: there is no such file; name the one that `actune search --storage` wrote")
    storage = open_storage(where, heartbeat=10, grace=30)  # of workers, and here is none
    names = optuna.get_all_study_names(storage)
    if not names:
        raise ValueError(f"storage={without_password(where)!r} has no study yet")
    if name is None and len(names) > 1:
        raise ValueError(f"the storage has several studies; choose one: --study {shorten(' or '.join(map(repr, names)), 300)}")
    if name is not None and name not in names:
        raise ValueError(f"no study is called {name!r}{suggestion(name, names)} (there are {shorten(', '.join(names), 300)})")
    return optuna.load_study(study_name=name or names[0], storage=storage)


def set_attributes(trial: Trial, attributes: dict[str, Any]) -> None:
    """Set user attributes of a trial; in a database of ours in one transaction, so that a trial has all or none of them."""
    if (database := _database(trial)) is not None:
        database.set_trial_user_attrs(trial._trial_id, attributes)
        trial._cached_frozen_trial.user_attrs |= attributes
    else:
        for name, value in attributes.items():
            trial.set_user_attr(name, value)


def set_final_attributes(trial: Trial, attributes: dict[str, Any]) -> None:
    """Set user attributes of a trial that now ends; in a database of ours they are written in the transaction that ends it."""
    if (database := _database(trial)) is not None:
        database.write_later(trial._trial_id, partial(write_attributes, attributes=attributes))
        trial._cached_frozen_trial.user_attrs |= attributes
    else:
        set_attributes(trial, attributes)


def is_pruned_at(trial: Trial, value: float, step: int) -> bool:
    """Whether the study's pruner ends the trial, which is worth this at this step.

    In a database of ours the value is written with what the pruner writes of it.
    """
    if (database := _database(trial)) is not None and math.isfinite(value):  # what is not finite a pruner may leave unwritten
        database.write_later(trial._trial_id, partial(write_step, step=step, value=value))
        trial._cached_frozen_trial.intermediate_values[step] = value
    else:
        trial.report(value, step)
    return trial.should_prune()


def _database(trial: Trial) -> Database | None:
    storage = getattr(trial.storage, "_backend", trial.storage)
    return storage if isinstance(storage, Database) else None
