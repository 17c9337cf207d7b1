"""Where the trials of a search run: in this process, in more of this machine, or on a Ray cluster."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

from optuna.study import Study

from ...experiments.training.loop import check_device
from .objective import TaskObjective
from .processes import WorkOrder, run_workers
from .ray import Cluster, run_ray
from .tally import TrialProgress
from .together import run_batches
from .worker import run_here

__all__ = ["Workers", "as_workers", "check_counts", "run_search"]


@dataclass(frozen=True)
class Workers:
    """Where the trials of a search run.

    count      processes on this machine (default: one, this), each with one thread; with more than one the objective must be
               importable, and a script must search below `if __name__ == "__main__":`. With `ray` trials at a time, anywhere in
               the cluster (default: as many as it has room for)
    together   trials of which this process trains the networks side by side (see `train_together`); a task on the CPU only. They
               are suggested before the first of them is trained, as those of so many workers are
    device     where a task's networks are trained: "cpu", "cuda", …
    ray        trials run as tasks of this Ray cluster: its address, or "local" for one of this machine
    gpus_per_worker  with `ray`: a trial's share of GPUs; 0.5 trains two on one (and say device="cuda")
    heartbeat  seconds between signs of life in a database
    grace      seconds without one until a trial is run again

    Wrong values raise ValueError in one line.
    """

    count: int | None = None
    together: int = 1
    device: str = "cpu"
    ray: str | None = None
    gpus_per_worker: float = 0.0
    heartbeat: int = 10
    grace: int = 30

    def __post_init__(self) -> None:
        check_counts(workers=1 if self.count is None else self.count)
        check_counts(together=self.together, heartbeat=self.heartbeat, grace=self.grace)
        if self.ray is None and self.gpus_per_worker:
            raise ValueError(
                f"gpus_per_worker={self.gpus_per_worker} is for Ray; give its address, ray='HOST:PORT', or ray='local'"
            )
        if self.together > 1 and (self.are_several or self.device != "cpu"):
            raise self._only_alone()
        _ = self.cluster  # checks what it is made of

    @property
    def cluster(self) -> Cluster | None:
        """The Ray cluster; None for this machine."""
        return None if self.ray is None else Cluster(self.ray, self.gpus_per_worker)

    @property
    def are_several(self) -> bool:
        """Whether trials run in processes that open the study by themselves."""
        return self.ray is not None or (self.count or 1) > 1

    def check(self, for_task: bool, is_open: bool) -> None:
        """Refuse what these workers cannot run.

        for_task   what is searched is a task, and no objective of the user's own
        is_open    the study or its storage is an object of this process
        """
        if self.are_several and is_open:
            who = f"workers={self.count}" if self.ray is None else f"ray={self.ray!r}"
            raise ValueError(f"{who} needs a storage that processes can open by themselves; give a path or a URL")
        if self.together > 1 and not for_task:
            raise self._only_alone()
        if self.ray is None:
            check_device(self.device)  # of Ray's machines they tell

    def _only_alone(self) -> ValueError:
        return ValueError(f"together={self.together} is for one worker, device='cpu' and a task; leave it out for anything else")


def as_workers(workers: int | Workers | None) -> Workers:
    """The workers that are meant: a number is one of processes on this machine."""
    return workers if isinstance(workers, Workers) else Workers(workers)


def check_counts(**counts: int) -> None:
    """Raise ValueError, with the name, for a value that is not a positive whole number."""
    for name, n in counts.items():
        if not isinstance(n, int) or isinstance(n, bool) or n < 1:
            raise ValueError(f"{name} must be a positive whole number, got {n!r}")


def run_search(workers: Workers, order: WorkOrder, study: Study, trials: int, progress: TrialProgress | None) -> None:
    """Run trials where the workers are, until the study has the asked number of finished ones."""
    if workers.cluster is not None:
        run_ray(order, study, trials, workers.count, progress, workers.cluster)
    elif workers.are_several:
        _check_sendable(order)
        run_workers(order, study, trials, workers.count or 1, progress)
    elif workers.together > 1 and isinstance(order.objective, TaskObjective):
        run_batches(study, order.objective, trials, workers.together, progress)
    else:
        run_here(study, order.objective, trials, progress)


def _check_sendable(order: WorkOrder) -> None:
    try:
        pickle.dumps(order)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(f"workers cannot be sent what they are to run ({error}); "
                         "define objective, task and proposers at the top of a module, or say workers=1") from None  # fmt: skip
