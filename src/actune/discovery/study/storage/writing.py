"""What is written of a trial in Optuna's tables, in as few statements as it takes.

Whoever writes of a trial reads its row first and locks it until the transaction ends. So nobody else writes of it meanwhile, and a
record replaces another by deleting what may be there: no look at each, as Optuna has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import Connection, Table, bindparam, delete, func, insert, select, update

from .reading import clock_attribute

__all__ = ["add_trial", "find_trial", "lock_trial", "write_attributes", "write_sign", "write_state", "write_step", "write_values"]

_STUDIES: Table = models.StudyModel.__table__
_TRIALS: Table = models.TrialModel.__table__
_VALUES: Table = models.TrialValueModel.__table__
_STEPS: Table = models.TrialIntermediateValueModel.__table__
_SIGNS: Table = models.TrialHeartbeatModel.__table__
_USER: Table = models.TrialUserAttributeModel.__table__
_SYSTEM: Table = models.TrialSystemAttributeModel.__table__

_KEYS = {_VALUES: "objective", _STEPS: "step", _USER: "key", _SYSTEM: "key"}
_INSERT = {table: insert(table) for table in (_TRIALS, _SIGNS, *_KEYS)}
_DELETE = {
    table: delete(table).where(table.c.trial_id == bindparam("trial"), table.c[key].in_(bindparam("keys", expanding=True)))
    for table, key in _KEYS.items()
}
_CHANGE = update(_TRIALS).where(_TRIALS.c.trial_id == bindparam("trial"))
_LOCK = select(_TRIALS.c.state, _TRIALS.c.number).where(_TRIALS.c.trial_id == bindparam("trial")).with_for_update()
_LOCK_STUDY = select(_STUDIES.c.study_id).where(_STUDIES.c.study_id == bindparam("study")).with_for_update()
_COUNT = select(func.count(_TRIALS.c.trial_id)).where(_TRIALS.c.study_id == bindparam("study"))
_NAMED = (
    select(_TRIALS.c.trial_id)
    .join(_SYSTEM, _SYSTEM.c.trial_id == _TRIALS.c.trial_id)
    .where(_TRIALS.c.study_id == bindparam("study"), _SYSTEM.c.key == bindparam("name"), _SYSTEM.c.value_json == bindparam("text"))
)


def add_trial(
    connection: Connection, study: int, begin: datetime, user: Mapping[str, Any], system: Mapping[str, Any]
) -> tuple[int, int]:
    """Add a trial that runs, with attributes and a sign of life: its id and its number. KeyError without the study.

    Until the transaction ends, nobody else adds one: its number is that of the trials before it.
    """
    if connection.execute(_LOCK_STUDY, {"study": study}).first() is None:
        raise KeyError(models.NOT_FOUND_MSG)
    number = connection.execute(_COUNT, {"study": study}).scalar_one()
    row = {"study_id": study, "number": number, "state": TrialState.RUNNING, "datetime_start": _stored(begin)}
    key: Any = connection.execute(_INSERT[_TRIALS], row).inserted_primary_key
    trial = int(key[0])
    for table, attributes in ((_USER, user), (_SYSTEM, system)):
        connection.execute(_INSERT[table], [{"trial_id": trial, **record} for record in _records(attributes)])
    write_sign(connection, trial)
    return trial, number


def find_trial(connection: Connection, study: int, attribute: str, value: Any) -> int | None:
    """The id of the trial of a study with this value of a system attribute; None without one."""
    return connection.execute(_NAMED, {"study": study, "name": attribute, "text": json.dumps(value)}).scalars().first()


def lock_trial(connection: Connection, trial: int) -> TrialState:
    """The state of a trial, of which nobody else writes until the transaction ends.

    UpdateFinishedTrialError where it has finished, KeyError without it.
    """
    found = connection.execute(_LOCK, {"trial": trial}).first()
    if found is None:
        raise KeyError(models.NOT_FOUND_MSG)
    if found.state.is_finished():
        raise UpdateFinishedTrialError(f"Trial#{found.number} has already finished and can not be updated.")
    return found.state


def write_state(connection: Connection, trial: int, state: TrialState, at: datetime) -> None:
    """Let a trial begin or finish at this time."""
    clock = "datetime_complete" if state.is_finished() else "datetime_start"
    connection.execute(_CHANGE, {"trial": trial, "state": state, clock: _stored(at)})


def write_sign(connection: Connection, trial: int) -> None:
    """Write the first sign of life of a trial."""
    connection.execute(_INSERT[_SIGNS], {"trial_id": trial})


def write_values(connection: Connection, trial: int, values: Sequence[float]) -> None:
    """Write what a trial is worth, a value for each objective."""
    stored = map(models.TrialValueModel.value_to_stored_repr, values)
    _write(connection, _VALUES, trial, [{"objective": i, "value": v, "value_type": kind} for i, (v, kind) in enumerate(stored)])


def write_step(connection: Connection, trial: int, step: int, value: float) -> None:
    """Write what a trial reports at a step."""
    stored, kind = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
    _write(connection, _STEPS, trial, [{"step": step, "intermediate_value": stored, "intermediate_value_type": kind}])


def write_attributes(connection: Connection, trial: int, attributes: Mapping[str, Any], system: bool = False) -> None:
    """Write attributes of a trial, the user's or those of the system."""
    _write(connection, _SYSTEM if system else _USER, trial, _records(attributes))


def _records(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]


def _write(connection: Connection, table: Table, trial: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write records of a trial, in place of those of equal keys."""
    if rows:
        connection.execute(_DELETE[table], {"trial": trial, "keys": [row[_KEYS[table]] for row in rows]})
        connection.execute(_INSERT[table], [{"trial_id": trial, **row} for row in rows])


def _stored(at: datetime) -> datetime | None:
    """A local time as the trial's columns have it."""
    stored: datetime | None = getattr(models.TrialModel(datetime_start=at), clock_attribute())
    return stored
