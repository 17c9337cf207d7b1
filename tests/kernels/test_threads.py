"""Kernels on several threads, in forked and spawned processes: the same bits, and nothing hangs."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from passes import KERNELS, E, passes, same
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import actune
from actune.kernels import dispatch
from actune.kernels.cpu import strips, threads

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # of a child that imports what this file does
PATIENCE = 60  # seconds, after which something hangs


@pytest.fixture(autouse=True)
def _same_number_of_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def normal(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


SHAPES = [
    ((300_007,), (1,)), ((50, 13, 700), (1, 13, 1)), ((3000, 101), (1, 101)), ((1000, 300), (1, 300)), ((3, 100_003), (3, 1)),
    ((5000, 3, 17), (1, 3, 1)), ((2, 120_000), (1, 120_000)),
]  # fmt: skip


@pytest.mark.parametrize("how", KERNELS)
@pytest.mark.parametrize(("shape", "own"), SHAPES, ids=str)
def test_results_do_not_depend_on_the_number_of_threads(shape: tuple[int, ...], own: tuple[int, ...], how: str) -> None:
    x, g = normal(shape, 0), normal(shape, 1)
    p = {"a": normal(own, 2).double(), "b": normal(own, 3).double()}  # so that sums are not rounded to float32
    found = []
    for count in (1, 2, 3, 8):
        torch.set_num_threads(count)
        found += [passes(how, E, x, p, g) for _ in range(2)]
    assert all(same(one, found[0]) for one in found)


def test_torchs_number_of_threads_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    """And small tensors are not shared out."""
    dispatch.activate(E, torch.ones(5), {"a": torch.ones(1), "b": torch.ones(1)})
    submit, given = ThreadPoolExecutor.submit, []
    monkeypatch.setattr(ThreadPoolExecutor, "submit", lambda *work: given.append(work) or submit(*work))
    for count, size, others in ((1, 10**6, 0), (2, 10**6, 1), (4, 10**6, 3), (4, 2 * 10**5, 2), (4, 10**5, 0)):
        given.clear()
        torch.set_num_threads(count)
        dispatch.activate(E, torch.ones(size), {"a": torch.ones(1), "b": torch.ones(1)})
        assert len(given) == others


@pytest.mark.parametrize(
    ("shape", "own"), [((16_000_000,), (1,)), ((80, 64, 56, 56), (1, 64, 1, 1)), ((15_625, 1024), (1, 1024))], ids=str
)
def test_sixteen_threads_get_equal_shares(shape: tuple[int, ...], own: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Planned, on any machine: the thread with the most of 1.6e7 elements is within a tenth of the mean."""
    plans: list[list[int]] = []

    def planned(work: Callable[[int, int], None], units: int, worth: int) -> None:
        count = min(16, units, worth)
        plans.append([units * (i + 1) // count - units * i // count for i in range(count)])
        work(0, units)

    monkeypatch.setattr(strips, "shared_out", planned)
    monkeypatch.setattr(strips, "threads_for", lambda units, worth: 16)
    p = {"a": torch.ones(own), "b": torch.ones(own)}
    dispatch.activate(E, torch.ones(shape), p)
    (shares,) = plans
    assert len(shares) == 16
    assert max(shares) <= 1.1 * sum(shares) / 16


def test_every_part_is_done_once() -> None:
    torch.set_num_threads(5)
    for units in (1, 2, 5, 7, 64):
        done: list[int] = []
        threads.shared_out(lambda start, end, done=done: done.extend(range(start, end)), units, 100)
        assert sorted(done) == list(range(units))


@pytest.mark.parametrize("where", ["first", "last"])
def test_an_error_in_any_thread_arrives_when_all_have_ended(where: str) -> None:
    torch.set_num_threads(3)
    ended: list[int] = []

    def work(start: int, end: int) -> None:
        if (start == 0) == (where == "first"):
            raise ZeroDivisionError
        ended.append(start)

    with pytest.raises(ZeroDivisionError):
        threads.shared_out(work, 3, 3)
    assert len(ended) == (2 if where == "first" else 1)


def test_from_many_threads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With different sizes, so that the pool grows while others use it; with new formulas, so that they compile at once."""
    torch.set_num_threads(4)
    sizes = (150_000, 200_000, 300_000, 1000)
    inputs = [normal((n,), n) for n in sizes]
    formulas = [actune.parse(f"(a + {k})*x*tanh(b*x)") for k in range(4)]
    p = {"a": torch.ones(1), "b": torch.ones(1)}
    wanted = [[dispatch.activate(e, x, p) for x in inputs] for e in formulas]
    ready, errors = threading.Barrier(8), list[str]()

    def work(n: int) -> None:
        ready.wait()
        torch.set_num_threads(2 + n % 3)
        for turn in range(10):
            i, k = (n + turn) % 4, (n * 3 + turn) % 4
            if turn % 8 == 0:
                dispatch.activate(actune.parse(f"x*{n} + {turn}*sin(x)"), inputs[i], {})
            if not torch.equal(dispatch.activate(formulas[k], inputs[i], p), wanted[k][i]):
                errors.append(f"thread {n}, turn {turn}")

    def guarded(n: int) -> None:
        try:
            work(n)
        except Exception as error:
            errors.append(repr(error))

    for _ in range(8):
        monkeypatch.setattr(threads, "_pool", None)
        workers = [threading.Thread(target=guarded, args=(n,), daemon=True) for n in range(8)]
        for t in workers:
            t.start()
        for t in workers:
            t.join(PATIENCE)
        assert not any(t.is_alive() for t in workers)
    assert not errors


# -- processes -------------------------------------------------------------------------------------------------------------

# The child leaves torch's own threads alone: after a fork they hang, as those of any OpenMP program.
FORK = """
import faulthandler, os, threading
import torch
from oracle import asked
from passes import E, actune, forced
from actune.kernels.cpu import fused, llvm

torch.set_num_threads(2)
x = torch.randn(400_000, generator=torch.Generator().manual_seed(0))
p = [torch.ones(1), torch.ones(1)]

def computed(how):
    with forced(how):
        way = fused.cpu_way(asked(E, x, dict(zip("ab", p))))
        return [t.numpy().tobytes() for t in (way.values(x, p), *way.pullback(x, p, x, [True] * 3))]

def compile_more():
    n, kept = 0, []
    while not stop:
        n += 1
        kept += [llvm.compile_assembly(f"define i64 @answer() {{\\n  ret i64 {n}\\n}}", ("answer",))]

before, compiling, stop = BEFORE, COMPILING, False
wanted = computed("interpreted") if before else None
llvm.works(torch.float32)  # Python's own import of the compiler does not bear a fork
if compiling:
    threading.Thread(target=compile_more, daemon=True).start()
seen = []
for turn in range(8 if compiling else 3):
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        faulthandler.dump_traceback_later(10, exit=True)
        found = computed("interpreted")
        if compiling:
            llvm.compile_assembly(f"define i64 @answer() {{\\n  ret i64 {-turn - 1}\\n}}", ("answer",))
        os.write(send, llvm.hashlib.sha256(b"".join(found)).digest())
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status == 0, f"turn {turn}: status {status}"
    seen.append(os.read(receive, 32))
stop = True
found = computed("compiled")
assert wanted in (None, found)
assert set(seen) == {llvm.hashlib.sha256(b"".join(found)).digest()}
print("done")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
@pytest.mark.parametrize("used_before", [False, True])
@pytest.mark.parametrize("compiling", [False, True])
def test_a_forked_child_computes_and_so_does_its_parent(used_before: bool, compiling: bool) -> None:
    """With threads, whether the pool was there before or not, and while another thread compiles."""
    code = FORK.replace("BEFORE", str(used_before)).replace("COMPILING", str(compiling))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=2 * PATIENCE, env=ENVIRONMENT)
    assert run.stdout.strip() == "done", run.stderr[-2000:]


class Activated(TensorDataset):
    """Activates each item where it is loaded."""

    def __getitem__(self, i: int) -> tuple[Tensor, ...]:
        (x,) = super().__getitem__(i)
        return (actune.Activation("mish")(x),)


@pytest.mark.parametrize("context", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork.. was called:RuntimeWarning")  # JAX, where another test has used it: the child does not
def test_in_the_workers_of_a_data_loader(context: str) -> None:
    x = normal((6, 1000), 4)
    wanted = actune.Activation("mish")(x)
    loader = DataLoader(Activated(x), batch_size=2, num_workers=2, multiprocessing_context=context, timeout=PATIENCE)
    assert torch.equal(torch.cat([batch for (batch,) in loader]), wanted)


def _in_a_child(shape: tuple[int, ...]) -> list[list[float]]:
    torch.set_num_threads(2)
    ones = torch.ones(1)
    found = passes("interpreted", E, normal(shape, 5), {"a": ones, "b": ones}, normal(shape, 6))
    return [t.flatten()[-5:].tolist() for t in found]


def test_in_a_spawned_process() -> None:
    shape = (500, 1000)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.map_async(_in_a_child, [shape] * 3).get(PATIENCE)
    assert found == [_in_a_child(shape)] * 3
