"""Kernels on tensors that end, or start, where memory does: a read beyond them ends this process. Run by test_layouts.py."""

from __future__ import annotations

import ctypes
import math
import mmap
import os

import numpy as np
import torch
from passes import DTYPES, EXTENTS, KERNELS, strip
from torch import Tensor

from actune.kernels.cpu.lanes import LANES
from actune.kernels.cpu.strips import cut, run_strips
from actune.kernels.layout import layout_of

PAGE = mmap.PAGESIZE


class Guarded:
    """Memory between two pages that nobody may read."""

    def __init__(self, size: int):
        self.size = math.ceil(size / PAGE) * PAGE
        self.memory = mmap.mmap(-1, self.size + 2 * PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        for guard in (start, start + PAGE + self.size):
            assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(PAGE), 0) == 0

    def tensor(self, like: Tensor, side: str) -> Tensor:
        """A copy at one end of it."""
        found = torch.frombuffer(
            self.memory, dtype=like.dtype, count=like.numel(), offset=PAGE + (self.size - like.nbytes if side == "end" else 0)
        )
        return found.copy_(like)


def main() -> None:
    most = 8 * max(math.prod(extent) for extent in EXTENTS)
    memories = [Guarded(most) for _ in range(4)]
    for side in ("end", "start"):
        for how in KERNELS:
            for dtype in DTYPES:
                for extent in EXTENTS:
                    at = cut(*layout_of(extent, None, ((1, extent[1], 1),)).extents)
                    assert at is not None
                    x, g, y = (m.tensor(torch.ones(math.prod(extent), dtype=dtype), side) for m in memories[:3])
                    kind = torch.float64 if dtype == torch.float64 else torch.float32
                    width = math.ceil(at.channels / LANES) * LANES if at.columns else at.channels
                    p = memories[3].tensor(torch.ones(2 * width, dtype=kind), side).view(2, width).numpy()
                    run_strips(strip(how, dtype, at.columns, False), at, p, x, y)
                    sums = run_strips(strip(how, dtype, at.columns, True), at, p, x, y, g, 2)
                    assert np.isfinite(sums).all()
        print(side, flush=True)
    os._exit(0)  # without giving the memory back, which tensors still use


if __name__ == "__main__":
    main()
