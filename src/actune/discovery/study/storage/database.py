"""A study in a database, SQLite or a server: every trial bears its worker from the transaction that begins it.

It builds on private parts of Optuna's RDBStorage (`models`, `_create_new_trial`, `_get_prepared_new_trial`,
`_set_trial_attr_without_commit`, `_get_stale_trial_ids` and others): a new version of Optuna needs a run of tests/discovery.
"""

from __future__ import annotations

import copy
import functools
import json
import random
import threading
import time
import uuid
import warnings
import weakref
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.exceptions import ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from ..attributes import WORKER
from ..counting import RERUN_NAMES, requeue_as
from .patience import Patience, is_passing, without_password

__all__ = ["Database", "open_database", "sqlalchemy_url"]

BIRTH = "actune:birth"  # system attribute of a trial: a name for the call that made it
BEGUN = "actune:begun"  # system attribute of a trial that waited: who took it, worker and thread


def sqlalchemy_url(where: str) -> str:
    """The URL that SQLAlchemy opens, for a path or a URL as the user gave it."""
    if "://" not in where:
        Path(where).parent.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{Path(where).absolute()}"
    for old in ("postgresql://", "postgres://"):  # the driver of our extra, whatever is SQLAlchemy's default
        if where.startswith(old):
            return where.replace(old, "postgresql+psycopg://", 1)
    return where


def open_database(url: str, *arguments: Any) -> Database:
    """Open the database; where other processes make its tables at this moment, once they have made them."""
    for _ in range(20):
        try:
            return Database(url, *arguments)
        except (SQLAlchemyError, RuntimeError) as error:
            if not isinstance(error, IntegrityError | RuntimeError) and "already exists" not in str(error):
                raise
            time.sleep(random.uniform(0.05, 0.3))
    return Database(url, *arguments)


# A call fails in one of two ways: nothing was written, or all was written and only the answer was lost (the connection was cut
# after the commit). Nobody can tell which, so a repeated call first looks whether its work is done. For example, a worker takes
# trial 5: the database commits RUNNING and the answer is lost. A plain repetition would find that 5 no longer waits, and the trial
# would be left to nobody. `repeat` finds the worker's own name in `BEGUN` and returns True. A new trial is found by its `BIRTH`.


def _patient(method: Callable[..., Any], reads: bool = False) -> Callable[..., Any]:
    """The method, repeated while the database fails; it does nothing twice where only the answer was lost."""

    @functools.wraps(method)
    def call(self: Database, *args: Any, **named: Any) -> Any:
        again = False
        while True:
            self.call.reads = reads
            try:
                answer = self.repeat(method, *args, **named) if again else method(self, *args, **named)
            except (StorageInternalError, SQLAlchemyError) as error:
                if not is_passing(error):
                    raise self.patience.over(error) from None
                self.patience.wait(error)
                again = True
            else:
                self.patience.answered()
                return answer
            finally:
                self.call.reads = False

    return call


class Database(RDBStorage):
    """Optuna's database, which also signs trials and is patient."""

    def __init__(self, url: str, heartbeat: int, grace: int, worker: str, patience: float) -> None:
        self.worker, self.call = worker, threading.local()
        self.signed = set[int]()  # trials whose first heartbeat came with their beginning
        self.patience = Patience(without_password(url), patience)
        sqlite = url.startswith("sqlite")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                super().__init__(
                    url,
                    engine_kwargs={"connect_args": {"timeout": 60}} if sqlite else {"pool_pre_ping": True},
                    heartbeat_interval=heartbeat,
                    grace_period=grace,
                    **{RERUN_NAMES[0]: requeue_as()},  # type: ignore[arg-type]
                )
        finally:
            if hasattr(self, "engine"):
                weakref.finalize(self, self.engine.dispose)  # closes the connections
        if sqlite and make_url(url).database not in (None, "", ":memory:"):
            self._serialise()

    def _serialise(self) -> None:
        """Let every transaction that may write take the write lock at its start: by default SQLite lets two workers read that a
        trial waits, and both take it. What only reads keeps nobody else from reading."""
        call = self.call  # and not self, which the engine would keep alive, whose connections close with it

        def begin(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN" if getattr(call, "reads", False) else "BEGIN IMMEDIATE")

        event.listen(self.engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
        event.listen(self.engine, "begin", begin)
        self.engine.dispose()  # connections from before

    def _sign(self, trial: Any, session: Any) -> None:
        self._set_trial_attr_without_commit(session, models.TrialUserAttributeModel, trial.trial_id, WORKER, self.worker)
        session.add(models.TrialHeartbeatModel(trial_id=trial.trial_id))
        self.signed.add(trial.trial_id)

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        """Make a trial whose birth has a name. All who find the same trial dead choose the same name, so that it is queued once."""
        call = self.call  # of this thread
        call.birth, call.tried = uuid.uuid4().hex, False
        if template_trial is not None:
            template_trial = copy.copy(template_trial)
            if template_trial.state == TrialState.WAITING and (died := template_trial.system_attrs.get("retry_history")):
                call.birth, call.tried = f"{study_id}, again {died[-1]}", True
            template_trial.system_attrs = template_trial.system_attrs | {BIRTH: call.birth}
        return self._born(study_id, template_trial)

    def _born(self, study_id: int, template_trial: FrozenTrial | None) -> FrozenTrial:
        return super()._create_new_trial(study_id, template_trial)

    def _get_prepared_new_trial(self, study_id: int, template_trial: FrozenTrial | None, session: Any) -> models.TrialModel:
        """Make the trial unless it is there: Optuna or we call this again where an answer was lost."""
        if self.call.tried and (there := self._by_birth(study_id, session)) is not None:
            return there
        self.call.tried = True
        trial: Any = super()._get_prepared_new_trial(study_id, template_trial, session)
        if template_trial is None:
            self._sign(trial, session)
            self._set_trial_attr_without_commit(session, models.TrialSystemAttributeModel, trial.trial_id, BIRTH, self.call.birth)
        return trial

    def _by_birth(self, study_id: int, session: Any) -> Any:
        name = models.TrialSystemAttributeModel
        named = (name.key == BIRTH, name.value_json == json.dumps(self.call.birth), models.TrialModel.study_id == study_id)
        return session.query(models.TrialModel).join(name, name.trial_id == models.TrialModel.trial_id).filter(*named).first()

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        if state != TrialState.RUNNING:
            return super().set_trial_state_values(trial_id, state, values)
        with _create_scoped_session(self.scoped_session) as session:
            trial: Any = models.TrialModel.find_or_raise_by_id(trial_id, session, for_update=True)
            self.check_trial_is_updatable(trial_id, trial.state)
            if trial.state != TrialState.WAITING:
                return False
            trial.state, trial.datetime_start = TrialState.RUNNING, datetime.now()
            self._sign(trial, session)
            self._set_trial_attr_without_commit(session, models.TrialSystemAttributeModel, trial_id, BEGUN, self._taker())
        return True

    def _taker(self) -> str:
        return f"{self.worker}/{threading.get_ident()}"

    def set_trial_user_attrs(self, trial_id: int, attributes: dict[str, Any]) -> None:
        with _create_scoped_session(self.scoped_session, True) as session:
            for name, value in attributes.items():
                self._set_trial_attr_without_commit(session, models.TrialUserAttributeModel, trial_id, name, value)

    def repeat(self, method: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Call once more, unless the first call was written and only its answer was lost.

        It may also be written at this very moment, by the connection that was cut: then the database lets this call wait for the
        first one, which is found to be done afterwards.
        """
        if method.__name__ != "set_trial_state_values":
            return method(self, *args, **named)
        written = functools.partial(self._in_state, *args, **named)
        try:
            return written() or method(self, *args, **named) or written()
        except UpdateFinishedTrialError:
            if written():
                return True
            raise

    def _in_state(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Whether a trial is finished like this, or is this thread's to run."""
        trial = RDBStorage.get_trial(self, trial_id)  # not with patience of its own: a success would end that with the call
        mine = state == TrialState.RUNNING and trial.system_attrs.get(BEGUN) == self._taker()
        return trial.state == state and (mine or state.is_finished())

    def record_heartbeat(self, trial_id: int) -> None:
        if trial_id in self.signed:
            self.signed.remove(trial_id)
            return
        try:
            super().record_heartbeat(trial_id)
        except (StorageInternalError, SQLAlchemyError):  # the next one may succeed; the trial's own calls tell
            self.patience.last = time.monotonic()

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        """The trials without signs of life; none just after the database was unreachable, when heartbeats could not be written."""
        begin = time.monotonic()
        found = super()._get_stale_trial_ids(study_id)
        if time.monotonic() - begin > (self.heartbeat_interval or 0):
            self.patience.last = time.monotonic()
        return [] if time.monotonic() - self.patience.last < (self.grace_period or 0) else found


_WRITE = (
    *("create_new_study", "set_study_user_attr", "set_study_system_attr", "_born", "set_trial_param", "_set_trial_param"),
    *("set_trial_state_values", "set_trial_intermediate_value", "set_trial_user_attr", "set_trial_user_attrs"),
    *("set_trial_system_attr", "_get_stale_trial_ids"),  # the last reads, but waits as signs of life wait
)
_READ = (
    *("get_study_id_from_name", "get_study_name_from_id", "get_study_directions", "get_all_studies", "get_study_user_attrs"),
    *("get_study_system_attrs", "get_trial_id_from_study_id_trial_number", "get_trial", "get_all_trials", "_get_trials"),
    "_get_best_trial_id",
)
for _name in (*_WRITE, *_READ):
    setattr(Database, _name, _patient(getattr(Database, _name), reads=_name in _READ))
