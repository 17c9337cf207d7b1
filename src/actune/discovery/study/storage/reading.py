"""Trials as Optuna's tables hold them, each reading in two statements at most.

Optuna loads an object for each row, and each kind of a trial's records by itself.
"""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from optuna.distributions import json_to_distribution
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Float, String, Table, bindparam, cast, func, inspect, literal_column, null, select, union_all

__all__ = ["clock_attribute", "read_newer", "read_signs", "read_trial"]

_STUDIES: Table = models.StudyModel.__table__
_TRIALS: Table = models.TrialModel.__table__
_SIGNS: Table = models.TrialHeartbeatModel.__table__
_MANY = 150  # trials per statement: it names each five times, and some databases take no more than 999 parameters
_TRIAL = (_TRIALS.c.trial_id, _TRIALS.c.number, _TRIALS.c.state, _TRIALS.c.datetime_start, _TRIALS.c.datetime_complete)
_IDS: Any = bindparam("ids", expanding=True)
_Records: TypeAlias = dict[str, list[Any]]  # of one trial, by their kind, each as (row, name, text, number)


def _details(kind: str, model: Any, key: str, text: str | None, number: str | None) -> Any:
    """The records of one kind: (kind, trial, row, name, text, number), what a kind does not have is NULL."""
    c = model.__table__.c
    (row,) = model.__table__.primary_key
    words = null() if text is None else c[text]
    parts = (cast(c[key], String), cast(words, String), cast(null(), Float(53)) if number is None else c[number])
    named = (part.label(name) for part, name in zip(parts, ("name", "text", "number"), strict=True))
    return select(literal_column(f"'{kind}'").label("kind"), c.trial_id, row.label("row"), *named).where(c.trial_id.in_(_IDS))


# Numbers come first: the columns of the first one are the columns of all.
_DETAILS = union_all(
    _details("value", models.TrialValueModel, "objective", "value_type", "value"),
    _details("step", models.TrialIntermediateValueModel, "step", "intermediate_value_type", "intermediate_value"),
    _details("parameter", models.TrialParamModel, "param_name", "distribution_json", "param_value"),
    _details("user", models.TrialUserAttributeModel, "key", "value_json", None),
    _details("system", models.TrialSystemAttributeModel, "key", "value_json", None),
)
_ONE = select(*_TRIAL).where(_TRIALS.c.trial_id == bindparam("trial"))
# From the study, so that one without new trials gives a row, and a deleted one none. In two parts: an "or" makes SQLite look at
# all trials.
_NEWER = union_all(
    select(*_TRIAL)
    .select_from(_STUDIES)
    .outerjoin(_TRIALS, (_TRIALS.c.study_id == _STUDIES.c.study_id) & (_TRIALS.c.trial_id > bindparam("after")))
    .where(_STUDIES.c.study_id == bindparam("study")),
    select(*_TRIAL).where(_TRIALS.c.trial_id.in_(_IDS)),
)
_LIFE = (
    select(func.now(), _SIGNS.c.trial_id, _SIGNS.c.heartbeat)
    .join(_TRIALS, _TRIALS.c.trial_id == _SIGNS.c.trial_id)
    .where(_TRIALS.c.state == TrialState.RUNNING, _TRIALS.c.study_id == bindparam("study"))
)


def read_newer(connection: Connection, study: int, after: int, others: Collection[int]) -> list[FrozenTrial]:
    """The trials of a study whose id is greater, and those with these ids, in the order of their ids; KeyError without a study."""
    older = [trial for trial in others if trial <= after]
    few = len(older) <= _MANY  # else all are read, and chosen from here
    found = connection.execute(_NEWER, {"study": study, "after": after if few else -1, "ids": older if few else []}).all()
    if not found:
        raise KeyError(models.NOT_FOUND_MSG)
    rows = sorted(row for row in found if row[0] is not None and (few or row[0] > after or row[0] in others))
    return [t for i in range(0, len(rows), _MANY) for t in _frozen(connection, rows[i : i + _MANY])]


def read_trial(connection: Connection, trial: int) -> FrozenTrial:
    """The trial with this id; KeyError without one."""
    rows = connection.execute(_ONE, {"trial": trial}).all()
    if not rows:
        raise KeyError(models.NOT_FOUND_MSG)
    return _frozen(connection, rows)[0]


def read_signs(connection: Connection, study: int) -> list[tuple[int, float]]:
    """The trials that run, by their ids, and the seconds since their last sign of life; without those that never gave one."""
    found = connection.execute(_LIFE, {"study": study})
    return [(trial, (now.replace(tzinfo=None) - last).total_seconds()) for now, trial, last in found]


def _frozen(connection: Connection, rows: Sequence[Any]) -> list[FrozenTrial]:
    records: dict[int, _Records] = defaultdict(lambda: defaultdict(list))
    for kind, trial, *record in connection.execute(_DETAILS, {"ids": [row[0] for row in rows]}):
        records[trial][kind].append(record)
    return [_trial(row, records[row[0]]) for row in rows]


def _trial(row: Any, records: _Records) -> FrozenTrial:
    trial, number, state, begin, end = row
    values, steps = models.TrialValueModel, models.TrialIntermediateValueModel
    parameters = [(name, json_to_distribution(text), stored) for _, name, text, stored in sorted(records["parameter"])]
    return FrozenTrial(
        number=number,
        state=state,
        value=None,
        values=[
            values.stored_repr_to_value(stored, values.TrialValueType[kind])
            for _, _, kind, stored in sorted(records["value"], key=lambda record: int(record[1]))
        ]
        or None,
        datetime_start=_local(begin),
        datetime_complete=_local(end),
        params={name: distribution.to_external_repr(stored) for name, distribution, stored in parameters},
        distributions={name: distribution for name, distribution, _ in parameters},
        user_attrs=_attributes(records["user"]),
        system_attrs=_attributes(records["system"]),
        intermediate_values={
            int(step): steps.stored_repr_to_intermediate_value(stored, steps.TrialIntermediateValueType[kind])
            for _, step, kind, stored in sorted(records["step"])
        },
        trial_id=trial,
    )


def _attributes(records: Iterable[Any]) -> dict[str, Any]:
    return {key: json.loads(text) for _, key, text, _ in sorted(records)}


@functools.cache
def clock_attribute() -> str:
    """The attribute of Optuna's trials for the column of the time at which one begins: from version 5 it is in UTC there."""
    return str(inspect(models.TrialModel).get_property_by_column(_TRIALS.c.datetime_start).key)


def _local(stored: datetime | None) -> datetime | None:
    """The local time that a trial's column means."""
    if stored is None:
        return None
    trial = models.TrialModel()
    setattr(trial, clock_attribute(), stored)
    return trial.datetime_start
