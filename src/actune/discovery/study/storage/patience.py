"""Patience with a storage that fails for a while: the disk is full, the database does not answer.

A call is repeated for `PATIENCE` seconds, then the search ends with one line that says what to do.
"""

from __future__ import annotations

import logging
import math
import time

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import InterfaceError, OperationalError, PendingRollbackError

from ....messages import hidden_password

__all__ = ["PATIENCE", "Patience", "SearchError", "is_passing", "reason_of", "remedy_for", "without_password"]

PATIENCE = 60  # seconds
_LOG = logging.getLogger(__name__)


class SearchError(RuntimeError):
    """A search that cannot go on; what is finished stays in the study."""


class Patience:
    """Knows how long a storage has failed: call `wait` after a failure, `answered` after a success."""

    def __init__(self, name: str, seconds: float) -> None:
        self._name, self._seconds = name, seconds
        self._since: float | None = None
        self.last = -math.inf  # time of the last failure

    def wait(self, error: BaseException) -> None:
        """Sleep until the next attempt; SearchError where the failures have lasted too long."""
        self.last = now = time.monotonic()
        if self._since is None:
            self._since = now
            _LOG.warning("storage %r fails (%s); trying again for %g seconds", self._name, reason_of(error), self._seconds)
        if now - self._since >= self._seconds:
            raise self.over(error) from None
        time.sleep(min(0.5, self._seconds / 4))

    def answered(self) -> None:
        if self._since is not None:
            _LOG.warning("storage %r answers again", self._name)
            self._since = None

    def over(self, error: BaseException) -> SearchError:
        """The error that ends the search."""
        remedy = remedy_for(error, self._name) or "what is finished is kept: put it right and search again to go on"
        return SearchError(f"storage={self._name!r} fails ({reason_of(error)}); {remedy}")


def reason_of(error: BaseException) -> str:
    """The message of the database itself, in one line."""
    while isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    told = getattr(error, "orig", None) or error
    return " ".join(str(told).split()) or type(told).__name__


def remedy_for(error: BaseException, where: str) -> str:
    """What to do about failures that do not pass by themselves; empty where nothing is known."""
    reason, path = reason_of(error), without_password(where)
    if isinstance(error, ImportError) and "psycopg" in reason:
        return "the driver comes with `pip install 'actune[postgres]'`"
    if any(word in reason for word in ("malformed", "not a database")) and "://" not in path:
        rescue = f"sqlite3 '{path}' .recover | sqlite3 '{path}.new'"
        return f"the file is damaged: restore a copy, or save what can be read with `{rescue}`, and go on with that file"
    return ""


def is_passing(error: BaseException) -> bool:
    """Whether the failure may pass: the disk is full, the database does not answer, others hold a lock.

    Optuna reads trials once more where a reading fails, in the transaction that this ended: hence PendingRollbackError, and
    PostgreSQL's in_failed_sql_transaction.
    """
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    passing = isinstance(cause, OperationalError | InterfaceError | PendingRollbackError)
    ended = getattr(getattr(cause, "orig", None), "sqlstate", None) == "25P02"
    return passing or ended or getattr(cause, "connection_invalidated", False)


def without_password(where: str) -> str:
    """The storage as a user knows it, without its password."""
    return hidden_password(where.removeprefix("sqlite:///"))
