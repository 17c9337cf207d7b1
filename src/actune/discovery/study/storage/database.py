"""A study in a database, SQLite or a server: every trial bears its worker from the transaction that begins it.

What a search does in every trial are our own statements on Optuna's tables (`reading.py`, `writing.py`); the rest is Optuna's. That
builds on private parts of its RDBStorage (`models`, `_create_new_trial`, `_get_prepared_new_trial`, `_get_stale_trial_ids` and
others): a new version of Optuna needs a run of tests/discovery.
"""

from __future__ import annotations

import copy
import functools
import random
import threading
import time
import uuid
import warnings
import weakref
from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.exceptions import ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from ..attributes import WORKER
from ..counting import RERUN_NAMES, requeue_as
from .patience import Patience, is_passing, without_password
from .reading import read_newer, read_signs, read_trial
from .writing import add_trial, find_trial, lock_trial, write_attributes, write_sign, write_state, write_step, write_values

__all__ = ["Database", "open_database", "sqlalchemy_url"]

Write = Callable[[Connection, int], None]  # writes something of the trial with this id
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
        if method.__name__ != "get_trial":
            self.call.born = None
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


class _Call(threading.local):
    """What a thread asks of the database at the moment, or has just asked.

    reads         whether that only reads
    birth, tried  the name of a trial that it makes, and whether it may be there already
    born          the trial that the last call has made
    """

    reads: bool = False
    birth: str = ""
    tried: bool = False
    born: FrozenTrial | None = None


class Database(RDBStorage):
    """Optuna's database, which also signs trials and is patient."""

    def __init__(self, url: str, heartbeat: int, grace: int, worker: str, patience: float) -> None:
        self.worker, self.call = worker, _Call()
        self.signed = set[int]()  # trials whose first heartbeat came with their beginning
        self._later = defaultdict[int, list[Write]](list)  # what is written of a trial with what comes next, by its id
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
            connection.exec_driver_sql("BEGIN" if call.reads else "BEGIN IMMEDIATE")

        event.listen(self.engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
        event.listen(self.engine, "begin", begin)
        self.engine.dispose()  # connections from before

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
        """Make the trial unless it is there: this is called again where an answer was lost."""
        if template_trial is not None:
            return super()._create_new_trial(study_id, template_trial)
        with self.engine.begin() as connection:
            if self.call.tried and (there := find_trial(connection, study_id, BIRTH, self.call.birth)) is not None:
                return read_trial(connection, there)
            self.call.tried, begin = True, datetime.now()
            user, system = {WORKER: self.worker}, {BIRTH: self.call.birth}
            trial, number = add_trial(connection, study_id, begin, user, system)
        self.signed.add(trial)
        self.call.born = FrozenTrial(number, TrialState.RUNNING, None, begin, None, {}, {}, user, system, {}, trial)
        return copy.deepcopy(self.call.born)

    def _get_prepared_new_trial(self, study_id: int, template_trial: FrozenTrial | None, session: Any) -> models.TrialModel:
        """Make a trial that is queued or copied, likewise unless it is there: Optuna calls this again, too."""
        if self.call.tried and (there := find_trial(session.connection(), study_id, BIRTH, self.call.birth)) is not None:
            return session.get(models.TrialModel, there)
        self.call.tried = True
        return super()._get_prepared_new_trial(study_id, template_trial, session)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        return self._take(trial_id) if state == TrialState.RUNNING else self._end(trial_id, state, values or ())

    def _take(self, trial_id: int) -> bool:
        with self.engine.begin() as connection:
            if lock_trial(connection, trial_id) != TrialState.WAITING:
                return False
            write_state(connection, trial_id, TrialState.RUNNING, datetime.now())
            write_sign(connection, trial_id)
            write_attributes(connection, trial_id, {WORKER: self.worker})
            write_attributes(connection, trial_id, {BEGUN: self._taker()}, system=True)
        self.signed.add(trial_id)
        return True

    def _end(self, trial_id: int, state: TrialState, values: Sequence[float]) -> bool:
        with self._writing(trial_id) as connection:
            write_values(connection, trial_id, values)
            write_state(connection, trial_id, state, datetime.now())
        return True

    def _taker(self) -> str:
        return f"{self.worker}/{threading.get_ident()}"

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        with self._writing(trial_id) as connection:
            write_step(connection, trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.set_trial_user_attrs(trial_id, {key: value})

    def set_trial_user_attrs(self, trial_id: int, attributes: dict[str, Any]) -> None:
        with self._writing(trial_id) as connection:
            write_attributes(connection, trial_id, attributes)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        with self._writing(trial_id) as connection:
            write_attributes(connection, trial_id, {key: value}, system=True)

    def write_later(self, trial_id: int, write: Write) -> None:
        """Write this in the transaction that comes next of this trial, for what means nothing before: its end comes at the latest.

        Where the worker dies before that, it is lost, and the trial is run again.
        """
        self._later[trial_id].append(write)

    @contextmanager
    def _writing(self, trial_id: int) -> Iterator[Connection]:
        """A transaction in which a trial that has not finished is written."""
        with self.engine.begin() as connection:
            lock_trial(connection, trial_id)
            for write in self._later.get(trial_id, ()):
                write(connection, trial_id)
            yield connection
        self._later.pop(trial_id, None)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        born, self.call.born = self.call.born, None
        if born is not None and born._trial_id == trial_id:
            return born  # Optuna makes a trial and then asks what it has made
        with self.engine.begin() as connection:
            return read_trial(connection, trial_id)

    def _get_trials(
        self, study_id: int, states: Container[TrialState] | None, included_trial_ids: set[int], trial_id_greater_than: int
    ) -> list[FrozenTrial]:
        with self.engine.begin() as connection:
            found = read_newer(connection, study_id, trial_id_greater_than, included_trial_ids)
        return [t for t in found if states is None or t.state in states]

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
        with self.engine.begin() as connection:  # and not `get_trial`, whose patience a success would end, with that of the call
            trial = read_trial(connection, trial_id)
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
        begin, grace = time.monotonic(), self.grace_period or 0
        with self.engine.begin() as connection:
            signs = read_signs(connection, study_id)
        if time.monotonic() - begin > (self.heartbeat_interval or 0):
            self.patience.last = time.monotonic()
        return [] if time.monotonic() - self.patience.last < grace else [trial for trial, silent in signs if silent > grace]


_WRITE = (
    *("create_new_study", "set_study_user_attr", "set_study_system_attr", "_born", "set_trial_param", "_set_trial_param"),
    *("set_trial_state_values", "set_trial_intermediate_value", "set_trial_user_attrs"),
    *("set_trial_system_attr", "_get_stale_trial_ids"),  # the last reads, but waits as signs of life wait
)
_READ = (
    *("get_study_id_from_name", "get_study_name_from_id", "get_study_directions", "get_all_studies", "get_study_user_attrs"),
    *("get_study_system_attrs", "get_trial_id_from_study_id_trial_number", "get_trial", "get_all_trials", "_get_trials"),
    "_get_best_trial_id",
)
for _name in (*_WRITE, *_READ):
    setattr(Database, _name, _patient(getattr(Database, _name), reads=_name in _READ))
