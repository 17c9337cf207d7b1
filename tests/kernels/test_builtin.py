"""Kernels as built-in functions of Python."""

from __future__ import annotations

import gc
import struct
import threading
import time
import weakref

import numpy as np
import pytest
import torch
from torch import Tensor

from actune.kernels.cpu import llvm
from actune.kernels.cpu.fused import slopes
from actune.kernels.cpu.native_calls import bind_gradients
from actune.kernels.cpu.strips import Cut, FlatCall, Strip, flat_call, link_strip
from actune.kernels.cpu.tiers import compile_strip
from actune.language.parser import parse

E = parse("x*b")


def kernel(backward: bool, dtype: torch.dtype = torch.float32) -> Strip:
    return compile_strip(slopes(E, ("b",)) if backward else (E,), ("b",), dtype, False, backward)


def calls(size: int) -> tuple[FlatCall, FlatCall]:
    at = Cut(1, 1, size)
    return flat_call(kernel(False), at, 0, (4, 4)), flat_call(kernel(True), at, 1, (4, 4))


@pytest.mark.parametrize("size", [1, 40, 70_000, 3_000_000])
def test_values_and_sums(size: int) -> None:
    """Up to one group of strips by the built-in function, above that by threads."""
    draw = torch.Generator().manual_seed(0)
    x, g = torch.randn(size, generator=draw), torch.randn(size, generator=draw)
    y, gx = torch.empty(size), torch.empty(size)
    forward, backward = calls(size)
    numbers = struct.pack("f", 3.0)
    assert forward(x.data_ptr(), 0, y.data_ptr(), numbers, x, y) == b""
    for _ in range(2):  # the sums begin at zero each time
        sums = backward(x.data_ptr(), g.data_ptr(), gx.data_ptr(), numbers, x, gx, g)
        each = x.double() * g.double()
        assert sum(struct.unpack(f"{Cut(1, 1, size).groups}d", sums)) == pytest.approx(
            each.sum().item(), rel=0, abs=1e-6 * each.abs().sum().item()
        )
    torch.testing.assert_close(y, 3 * x)
    torch.testing.assert_close(gx, 3 * g)


def test_what_is_no_address_is_an_error() -> None:
    forward, _ = calls(8)
    x = torch.randn(8)
    for wrong in ((1.5, 0, x.data_ptr(), b"1234"), (x.data_ptr(), 0, None, b"1234"), (x.data_ptr(), 0, x.data_ptr(), 3)):
        with pytest.raises(TypeError):
            forward(*wrong)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize(
    ("groups", "distance", "spread"),
    [
        (1, 1, (1, 1, 1)),
        (40, 64, (1, 64, 1)),
        (3, 128, (1, 100, 1)),
        (2, 448, (4, 100, 1)),
        (5, 256, (4, 3, 20)),
        (2, 64, (1, 13, 3)),
    ],
)
def test_sums_become_gradients(double: bool, groups: int, distance: int, spread: tuple[int, int, int]) -> None:
    """What is behind the sums of a row is not read, and what is behind a gradient not written to."""
    (repeats, own, each), places = spread, ((1, 2), (3, 4))
    draw = np.random.default_rng(0)
    sums, slopes = draw.normal(size=(groups, 4, distance)), draw.normal(size=(8, own))
    wanted = sums[:, :, : repeats * own * each].reshape(groups, 4, repeats, own, each).sum((0, 2, 4)) * slopes[[2, 4, 5, 6]]
    sums[:, :, repeats * own * each :] = np.nan
    kind = np.float64 if double else np.float32
    found = [np.full(count * own + 1, 7, kind) for count, _ in places]
    fill = bind_gradients(double, (groups, 4, distance), spread, places)
    assert fill(sums.tobytes(), slopes.tobytes(), *(a.ctypes.data for a in found)) == b""
    assert [a[-1] for a in found] == [7, 7]
    got = np.concatenate([a[:-1] for a in found]).reshape(4, own)
    np.testing.assert_allclose(got, wanted.astype(kind), rtol=0, atol=1e-13 if double else 1e-5)
    for wrong in ((sums.tobytes(), slopes.tobytes(), 1.5, 2.5), (sums.tobytes(), [], 0, 0)):
        with pytest.raises(TypeError):
            fill(*wrong)


def test_code_stays_as_long_as_its_function() -> None:
    library = llvm.compile_assembly(
        "define void @run(ptr %plan, ptr %x, ptr %g, ptr %y, ptr %p, ptr %s, i64 %first, i64 %last) {\n  ret void\n}", ("run",)
    )
    alive = weakref.ref(library)
    call = flat_call(link_strip(library), Cut(1, 1, 8), 0, (4, 4))
    del library
    gc.collect()
    assert alive() is not None
    assert call(0, 0, 0, b"") == b""
    del call
    gc.collect()
    assert alive() is None


def test_other_threads_run_meanwhile() -> None:
    x, y = torch.randn(20_000_000, dtype=torch.float64), torch.empty(20_000_000, dtype=torch.float64)
    call = one_group(kernel(False, torch.float64), x)
    ticks: list[float] = []
    done = threading.Event()

    def tick() -> None:
        while not done.wait(1e-4):
            ticks.append(time.perf_counter())

    thread = threading.Thread(target=tick)
    thread.start()
    begin = time.perf_counter()
    call(x.data_ptr(), 0, y.data_ptr(), struct.pack("d", 3.0))
    took = time.perf_counter() - begin
    done.set()
    thread.join()
    torch.testing.assert_close(y, 3 * x)
    assert any(begin + took / 4 < t < begin + took * 3 / 4 for t in ticks)


def one_group(strip: Strip, x: Tensor) -> FlatCall:
    """The call for a tensor so large that it would be several groups."""
    at = Cut(1, 1, x.numel())
    object.__setattr__(at, "group", at.units)
    return flat_call(strip, at, 0, (8, 8))
