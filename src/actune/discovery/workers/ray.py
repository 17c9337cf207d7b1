"""Workers of a Ray cluster: each trial is a Ray task, so that scheduling, shares of GPUs and retries are Ray's.

A task bears a ticket, which is part of its worker's name: when Ray runs it again, because its process or its node died, the new
attempt queues what the old one had begun. The study, on a storage that all nodes reach, remains the only state.
"""

from __future__ import annotations

import logging
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import optuna

from ..study.counting import RERUNS, this_worker
from ..study.storage.patience import SearchError
from .processes import WorkOrder, open_study
from .requeueing import quiet_optuna, requeue
from .tally import Tally, TrialProgress
from .worker import run_trials

__all__ = ["Cluster", "run_ray"]

CRASHES = 3  # in a row, each after Ray's own retries, end the search


@dataclass(frozen=True)
class Cluster:
    """Where tasks run.

    address  of a cluster ("HOST:PORT", "auto", "ray://…"), or "local": one that is started here for this search
    gpus     the share of a GPU per worker: 0.5 puts two on one
    """

    address: str = "local"
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if not self.address.strip():
            raise ValueError(f"ray={self.address!r} is empty; give the address of a cluster, or 'local'")
        if not 0 <= self.gpus < float("inf"):
            raise ValueError(f"gpus_per_worker must be a number ≥ 0, such as 0.5, got {self.gpus!r}")


def run_ray(
    job: WorkOrder, study: optuna.Study, trials: int, workers: int | None, progress: TrialProgress | None, cluster: Cluster
) -> None:
    """Run trials as Ray tasks until the study has the asked number of finished ones.

    workers  tasks at a time; None: as many as the cluster has room for
    """
    with _connected(cluster.address) as ray:
        room = _room(ray, cluster)
        _check_reach(ray, job.storage)
        flying: dict[Any, str] = {}  # task -> ticket
        task = ray.remote(_one_trial).options(num_cpus=1, num_gpus=cluster.gpus, max_retries=RERUNS)
        sent = ray.put(job)
        tally = Tally(study, trials, progress, own=lambda name: _ticket(name) in flying.values())
        crashes = 0
        try:
            while (seen := tally.look())[0] > 0 or flying:
                free = min(workers or room, seen[0] - seen[1]) - len(flying)
                for _ in range(free):
                    ticket = uuid.uuid4().hex
                    flying[task.remote(sent, ticket)] = ticket
                crashes = _listen_to_tasks(ray, flying, study, crashes)
                if not flying:  # others run what is missing, or have died of it
                    requeue(study)
        except _StopSignal:
            return
        finally:
            _cancel(ray, flying, study)


class _StopSignal(Exception):
    """The objective called `study.stop()`."""


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Ray, connected; a connection that was there before is used and left."""
    try:
        import ray
    except ImportError as error:
        raise ValueError(f"ray={address!r} needs Ray ({error}); it comes with `pip install 'actune[ray]'`") from None
    if ray.is_initialized():
        yield ray
        return
    try:
        local: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **local)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"ray={address!r} cannot be reached ({reason}); start it with `ray start --head`, or say 'local'"
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _room(ray: Any, cluster: Cluster) -> int:
    """How many workers the cluster has room for."""
    has = ray.cluster_resources()
    cpus, gpus = has.get("CPU", 0), has.get("GPU", 0)
    room = int(min(cpus, gpus / cluster.gpus) if cluster.gpus else cpus)
    if room < 1:
        raise ValueError(f"gpus_per_worker={cluster.gpus:g}: the cluster {cluster.address!r} has {cpus:g} CPUs and {gpus:g} GPUs, "
                         "no room for one worker; give less, or add nodes")  # fmt: skip
    return room


def _check_reach(ray: Any, storage: str) -> None:
    """Refuse a SQLite file where the cluster has other machines."""
    hosts = {node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    if hosts - {socket.gethostname()} and ("://" not in storage or storage.startswith("sqlite")) and "journal:" not in storage:
        raise ValueError(f"storage={storage!r} is a file of this machine, and the cluster has others ({', '.join(sorted(hosts))}); "
                         "give the URL of a database: postgresql://USER:PASSWORD@HOST/NAME")  # fmt: skip


def _listen_to_tasks(ray: Any, flying: dict[Any, str], study: optuna.Study, crashes: int) -> int:
    """Learn which tasks have ended. Returns how many crashed in a row."""
    if not flying:
        time.sleep(1)
        return crashes
    ended, _ = ray.wait(list(flying), timeout=1)
    for ref in ended:
        ticket = flying.pop(ref)
        try:
            word = ray.get(ref)
        except ray.exceptions.RayError as error:
            crashes += 1
            requeue(study, gone=lambda name, ticket=ticket: _ticket(name) == ticket)  # type: ignore[misc]
            if crashes >= CRASHES:
                raise SearchError(f"{crashes} Ray tasks in a row crashed, the last one with {_failure_reason(error)}") from None
        else:
            if word == "stopped":
                raise _StopSignal
            if word:
                raise SearchError(f"a worker failed with {word}")
            crashes = 0
    return crashes


def _failure_reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"


def _cancel(ray: Any, flying: dict[Any, str], study: optuna.Study) -> None:
    """End what still runs, and queue it once more."""
    for ref in flying:
        ray.cancel(ref, force=True)
    if flying:
        ray.wait(list(flying), num_returns=len(flying), timeout=10)
    tickets = set(flying.values())
    requeue(study, gone=lambda name: _ticket(name) in tickets)


# -- in the task -----------------------------------------------------------------------------------------------------------


def _task_name(ticket: str) -> str:
    host, _, pid = this_worker().rpartition(":")
    return f"{host}/{ticket}:{pid}"


def _ticket(name: str) -> str:
    """The ticket of a worker, by its name."""
    return name.rpartition(":")[0].rpartition("/")[2] if "/" in name else ""


def _one_trial(job: WorkOrder, ticket: str) -> str:
    """Run one trial. Returns an empty text, or why the search is to end."""
    name, begun, stopped = _task_name(ticket), False, False

    def may_begin() -> bool:
        nonlocal begun, stopped
        first, begun, stopped = not begun, True, begun and study._stop_flag
        return first

    try:
        study = _study(replace(job, objective=None))  # type: ignore[arg-type]
        backend: Any = study._storage if hasattr(study._storage, "worker") else study._storage._backend  # type: ignore[attr-defined]
        backend.worker = name
        with quiet_optuna():
            requeue(study, gone=lambda other: other != name and _ticket(other) == ticket)  # an earlier attempt's
        run_trials(study, job.objective, may_begin, name)
        return "stopped" if stopped else ""
    except Exception as error:
        return str(error) if isinstance(error, SearchError) else f"{type(error).__name__}: {error}"


@lru_cache(maxsize=1)
def _study(job: WorkOrder) -> optuna.Study:
    """The study, kept by a process of Ray for its next task."""
    with quiet_optuna():
        return open_study(job)
