"""A study in a journal file, which machines with a common folder can share."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.storages.journal._file import get_lock_file
from optuna.trial import FrozenTrial, TrialState

from ..attributes import WORKER
from .patience import Patience, SearchError

__all__ = ["Journal"]


class _Lines(JournalFileBackend):
    """A file of whole lines: a line that a dead writer or a full disk has torn is cut off before the next is written."""

    def __init__(self, path: Path, patience: float) -> None:
        self.patience = Patience(f"journal:{path}", patience)
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
    """Write all lines or none."""
    end = _whole_lines(file)
    try:
        file.truncate(end)
        file.seek(end)
        while lines:
            lines = lines[file.write(lines) :]
        os.fsync(file.fileno())
    except OSError:
        file.truncate(end)
        raise


def _whole_lines(file: Any) -> int:
    """The position where the last whole line ends."""
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


class Journal(JournalStorage):
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
