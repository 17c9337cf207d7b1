"""A measurement in a process of its own, with sleeping OpenMP threads and empty caches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import IO, Any

from ..experiments.training.loop import check_device
from ..results import provenance
from .contenders import absent
from .measure import measure_steps, starting
from .plan import Plan
from .timing import PASSIVE

__all__ = ["StepProgress", "run", "serve"]

StepProgress = Callable[[int, int, str], None]  # (steps done, steps in all, what was measured last)


def run(plan: Plan | None = None, *, progress: StepProgress | None = None, command: str = "actune.bench.run()") -> dict[str, Any]:
    """Measure what the plan says, and give plain data for `json.dumps`: settings, versions, and a record per contender.

    The measuring process sees no compiled function of an earlier one, so that first calls cost what they cost a new user.
    command   how the result says that it was made
    Raises ChildProcessError if that process dies, which it does when memory runs out.
    """
    plan = Plan() if plan is None else plan
    check_device(plan.device)
    records: list[dict[str, Any]] = []
    start: dict[str, Any] = {}
    done, last = 0, "the start"
    with _child() as process:
        for message in _talk(process, plan):
            if "starting" in message:
                start = message
            else:
                records += message["records"]
                done, last = done + 1, records[-1]["function"]
            if progress is not None:
                progress(done, len(plan), last if done else "")
    if process.returncode or done < len(plan):
        raise ChildProcessError(f"the measuring process ended with exit code {process.returncode} after {last}; "
                                "if its memory ran out, ask for smaller sizes")  # fmt: skip
    return provenance(command, asdict(plan)) | start | {"records": records}


@contextmanager
def _child() -> Iterator[subprocess.Popen[str]]:
    with tempfile.TemporaryDirectory(prefix="actune-bench-") as caches:
        folders = {name: os.path.join(caches, name) for name in ("ACTUNE_CACHE", "TORCHINDUCTOR_CACHE_DIR")}
        # Compilers that run beside the measurement would disturb it.
        environment = os.environ | PASSIVE | folders | {"TORCHINDUCTOR_COMPILE_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
        command = [sys.executable, "-m", "actune.bench"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()


def _talk(process: subprocess.Popen[str], plan: Plan) -> Iterator[dict[str, Any]]:
    """The messages of the measuring process, line by line, until it ends."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError), process.stdin as line:  # one that has died already says so below
        json.dump(asdict(plan), line)
    yield from map(json.loads, process.stdout)
    process.wait()


def serve() -> None:
    """Be the measuring process: read a plan, write a line per step. What libraries print goes to the error stream."""
    given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in json.load(sys.stdin).items()}
    plan = Plan(**given)
    with os.fdopen(os.dup(1), "w") as line:
        os.dup2(2, 1)
        _say(line, {"starting": starting(plan), "absent": absent() if "peers" in plan.beside else []})
        for records in measure_steps(plan):
            _say(line, {"records": records})


def _say(line: IO[str], message: dict[str, Any]) -> None:
    line.write(json.dumps(message) + "\n")
    line.flush()
