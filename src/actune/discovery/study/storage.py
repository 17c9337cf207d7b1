"""Where a study lives: a SQLite file, a database, a journal file; and what becomes of the search when that fails for a while.

A call that fails because the disk is full or the database does not answer is repeated for `PATIENCE` seconds, then the search
ends with one line. Every trial bears the name of its worker from the transaction that begins it, so that no death goes unseen.
"""

from __future__ import annotations

import copy
import functools
import json
import logging
import math
import os
import random
import socket
import threading
import time
import uuid
import warnings
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.storages.journal._file import get_lock_file
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, InterfaceError, OperationalError, PendingRollbackError, SQLAlchemyError

__all__ = ["WORKER", "SearchError", "me", "note", "open_storage", "requeue_as"]

WORKER = "actune:worker"  # attribute of a trial
BIRTH = "actune:birth"  # system attribute of a trial: a name for the call that made it
BEGUN = "actune:begun"  # the same of one that waited: who took it, worker and thread
PATIENCE = 60  # seconds
RERUNS = 3  # of a trial whose worker died
_LOG = logging.getLogger(__name__)
_FAILED = dict[str, float]()  # when a storage last could not be opened, time.monotonic()

# What Optuna calls the callback for them, as an argument and as a class; renamed in 4.9.
_RERUN = (
    ("heartbeat_stale_trial_callback", "RetryHeartbeatStaleTrialCallback")
    if hasattr(optuna.storages, "RetryHeartbeatStaleTrialCallback")
    else ("failed_trial_callback", "RetryFailedTrialCallback")
)


class SearchError(RuntimeError):
    """A search that cannot go on; what is finished stays in the study."""


def me() -> str:
    """The name of this process as a worker."""
    return f"{socket.gethostname()}:{os.getpid()}"


def open_storage(
    where: str | Path, heartbeat: int, grace: int, *, worker: str | None = None, patience: float | None = None
) -> BaseStorage:
    """The storage of a study.

    where      the path of a SQLite file, the URL of a database, or `journal:PATH`
    heartbeat  seconds between signs of life in a database; a journal has none
    grace      seconds without one until a trial is run again
    worker     the name that trials begun here bear; default: this machine and process
    patience   seconds for which calls are repeated that fail because the disk is full or the database does not answer;
               default: `PATIENCE`
    """
    text, worker, patience = str(where), worker or me(), PATIENCE if patience is None else patience
    journal = text.removeprefix("journal:") if text.startswith("journal:") else None
    if not text.strip() or journal == "":
        raise ValueError(f"storage={text!r} is empty; give the path of a file, the URL of a database, or journal:PATH")
    try:
        if journal is not None:
            return _Journal(Path(journal), worker, patience)
        opened = _opened(_url(text), heartbeat, grace, worker, patience)
        opened.patience.last = _FAILED.get(text, -math.inf)
        return opened
    except SearchError:
        raise  # says what to do
    except (StorageInternalError, SQLAlchemyError, ImportError, OSError, RuntimeError) as error:
        _FAILED[text] = time.monotonic()
        remedy = _remedy(error, text) or "give the path of a study's file, the URL of a database, or journal:PATH"
        raise ValueError(f"storage={_public(text)!r} cannot be opened ({_reason(error)}); {remedy}") from None


def requeue_as(limit: int | None = RERUNS) -> Callable[[optuna.Study, FrozenTrial], None]:
    """What queues a failed trial once more, with its user attributes, so that it trains the same candidate."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return getattr(optuna.storages, _RERUN[1])(max_retry=limit)


def note(trial: Trial, attributes: dict[str, Any]) -> None:
    """Set user attributes of a trial; in a database of ours in one transaction, so that a trial has all or none of them."""
    backend = getattr(trial.storage, "_backend", trial.storage)
    if isinstance(backend, _Database):
        backend.set_trial_user_attrs(trial._trial_id, attributes)
        trial._cached_frozen_trial.user_attrs |= attributes
    else:
        for name, value in attributes.items():
            trial.set_user_attr(name, value)


# -- patience --------------------------------------------------------------------------------------------------------------


class _Patience:
    """How long a storage has failed: `wait` after a failure, `answered` after a success."""

    def __init__(self, name: str, seconds: float) -> None:
        self._name, self._seconds = name, seconds
        self._since: float | None = None
        self.last = -math.inf  # time of the last failure

    def wait(self, error: BaseException) -> None:
        self.last = now = time.monotonic()
        if self._since is None:
            self._since = now
            _LOG.warning("storage %r fails (%s); trying again for %g seconds", self._name, _reason(error), self._seconds)
        if now - self._since >= self._seconds:
            raise self.over(error) from None
        time.sleep(min(0.5, self._seconds / 4))

    def answered(self) -> None:
        if self._since is not None:
            _LOG.warning("storage %r answers again", self._name)
            self._since = None

    def over(self, error: BaseException) -> SearchError:
        remedy = _remedy(error, self._name) or "what is finished is kept: put it right and search again to go on"
        return SearchError(f"storage={self._name!r} fails ({_reason(error)}); {remedy}")


def _reason(error: BaseException) -> str:
    """The database's own words, in one line."""
    while isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    told = getattr(error, "orig", None) or error
    return " ".join(str(told).split()) or type(told).__name__


def _remedy(error: BaseException, where: str) -> str:
    """What to do about failures that do not pass."""
    reason, path = _reason(error), _public(where)
    if isinstance(error, ImportError) and "psycopg" in reason:
        return "the driver comes with `pip install 'actune[postgres]'`"
    if any(word in reason for word in ("malformed", "not a database")) and "://" not in path:
        rescue = f"sqlite3 '{path}' .recover | sqlite3 '{path}.new'"
        return f"the file is damaged: restore a copy, or save what can be read with `{rescue}`, and go on with that file"
    return ""


def _passes(error: BaseException) -> bool:
    """Whether it is worth trying again: the disk is full, the database does not answer, others hold a lock.

    Optuna reads trials once more where a reading fails, in the transaction that this ended: hence PendingRollbackError, and
    PostgreSQL's in_failed_sql_transaction.
    """
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    passing = isinstance(cause, OperationalError | InterfaceError | PendingRollbackError)
    ended = getattr(getattr(cause, "orig", None), "sqlstate", None) == "25P02"
    return passing or ended or getattr(cause, "connection_invalidated", False)


def _patient(method: Callable[..., Any], reads: bool = False) -> Callable[..., Any]:
    """Repeat a call of the database that fails for a while; where it had been written, and only the answer was lost, it is done."""

    @functools.wraps(method)
    def call(self: _Database, *args: Any, **named: Any) -> Any:
        again = False
        while True:
            self.call.reads = reads
            try:
                answer = self.repeat(method, *args, **named) if again else method(self, *args, **named)
            except (StorageInternalError, SQLAlchemyError) as error:
                if not _passes(error):
                    raise self.patience.over(error) from None
                self.patience.wait(error)
                again = True
            else:
                self.patience.answered()
                return answer
            finally:
                self.call.reads = False

    return call


# -- databases -------------------------------------------------------------------------------------------------------------


def _url(where: str) -> str:
    if "://" not in where:
        Path(where).parent.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{Path(where).absolute()}"
    for old in ("postgresql://", "postgres://"):  # the driver of our extra, whatever is SQLAlchemy's default
        if where.startswith(old):
            return where.replace(old, "postgresql+psycopg://", 1)
    return where


def _public(where: str) -> str:
    """The storage as a user knows it, without its password."""
    path = where.removeprefix("sqlite:///")
    with suppress(ArgumentError):
        return make_url(where).render_as_string(hide_password=True) if "://" in path else path
    return where


def _opened(url: str, *arguments: Any) -> _Database:
    """The database; where others make its tables at this moment, as they have made them."""
    for _ in range(20):
        try:
            return _Database(url, *arguments)
        except (SQLAlchemyError, RuntimeError) as error:
            if not isinstance(error, IntegrityError | RuntimeError) and "already exists" not in str(error):
                raise
            time.sleep(random.uniform(0.05, 0.3))
    return _Database(url, *arguments)


class _Database(RDBStorage):
    """A database of Optuna that signs trials, and is patient."""

    def __init__(self, url: str, heartbeat: int, grace: int, worker: str, patience: float) -> None:
        self.worker, self.call = worker, threading.local()
        self.signed = set[int]()  # trials whose first heartbeat came with their beginning
        self.patience = _Patience(_public(url), patience)
        sqlite = url.startswith("sqlite")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                super().__init__(
                    url,
                    engine_kwargs={"connect_args": {"timeout": 60}} if sqlite else {"pool_pre_ping": True},
                    heartbeat_interval=heartbeat,
                    grace_period=grace,
                    **{_RERUN[0]: requeue_as()},  # type: ignore[arg-type]
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
        """With a name for the birth. Of a trial that is run again all who find it dead would choose the same: it is queued once."""
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
        """Called again where an answer was lost, by Optuna or by us: then the trial may be there, and is not made twice."""
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
        """The call once more, unless it had been written and only its answer was lost; or is written just now, by a connection
        that was cut: then the database lets this call wait for that one, which is then found to have been first."""
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
        """None for a while after the database failed, or let us wait: nobody could give a sign of life then."""
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
    setattr(_Database, _name, _patient(getattr(_Database, _name), reads=_name in _READ))


# -- the journal -----------------------------------------------------------------------------------------------------------


class _Lines(JournalFileBackend):
    """A file of whole lines: a line that a dead writer or a full disk has torn is cut off before the next is written."""

    def __init__(self, path: Path, patience: float) -> None:
        self.patience = _Patience(f"journal:{path}", patience)
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(str(path), JournalFileSymlinkLock(str(path), grace_period=10))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        while True:
            try:
                with get_lock_file(self._lock), open(self._file_path, "r+b", buffering=0) as file:
                    _append(file, lines)
            except OSError as error:
                self.patience.wait(error)
            else:
                self.patience.answered()
                return

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:  # type: ignore[override]
        try:
            yield from super().read_logs(log_number_from)
        except ValueError:
            lines = Path(self._file_path).read_bytes().splitlines()
            line = next((n for n, text in enumerate(lines, 1) if not _readable(text)), len(lines))
            saved = f"head -n {line - 1} '{self._file_path}' > '{self._file_path}.new'"
            raise SearchError(f"storage='journal:{self._file_path}' is damaged in line {line}; restore a copy, "
                              f"or save what is before that line with `{saved}`, and go on with that file") from None  # fmt: skip


def _append(file: Any, lines: bytes) -> None:
    """Write all or nothing."""
    end = _whole(file)
    try:
        file.truncate(end)
        file.seek(end)
        while lines:
            lines = lines[file.write(lines) :]
        os.fsync(file.fileno())
    except OSError:
        file.truncate(end)
        raise


def _whole(file: Any) -> int:
    """Where the last whole line ends."""
    end = file.seek(0, os.SEEK_END)
    tail = b""
    while end > 0 and b"\n" not in tail:
        size = min(4096, end)
        end -= size
        file.seek(end)
        tail = file.read(size)
    return end + tail.rfind(b"\n") + 1


def _readable(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


class _Journal(JournalStorage):
    """A journal of Optuna that signs trials."""

    def __init__(self, path: Path, worker: str, patience: float) -> None:
        self.worker = worker
        super().__init__(_Lines(path, patience))

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        signed = optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs={WORKER: self.worker})
        return super().create_new_trial(study_id, template_trial or signed)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        done = super().set_trial_state_values(trial_id, state, values)
        if done and state == TrialState.RUNNING:
            self.set_trial_user_attr(trial_id, WORKER, self.worker)
        return done
