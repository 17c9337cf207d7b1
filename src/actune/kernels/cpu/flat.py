"""A formula over dense tensors whose parameters are one number each, or one per channel: what is alike in all calls is ready.

A small tensor takes a kernel a microsecond, and each step on the way there as long; after a large one, which has driven all else
out of the nearest caches, each step takes several times that. So two calls go to compiled functions, for a kernel and for the
gradients of parameters, with little more than addresses; single numbers stay Python's, for a tensor of one takes thirty times as
long; backward takes what forward has read; and no call looks up anything twice.
"""

from __future__ import annotations

import functools
import itertools
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..autograd import Way, apply_way
from ..layout import as_flat
from ..request import Request
from . import tiers
from .builtin import BuiltinCall
from .fused import CpuWay, cpu_way, rows_of, slopes
from .native_calls import bind_gradients
from .strips import Cut, FlatCall, Strip, flat_call

__all__ = ["FlatWay", "flat_way"]

Reader = tuple[int, Callable[[float], tuple[float, float]]]
Needed = tuple[bool, ...]  # of x and each tensor of parameters, whether its gradient is


def flat_way(asked: Request) -> FlatWay | None:
    """The way for a request of dense elements, if its parameters are stored in the order of memory.

    Those of one number each are read as plain numbers where their constraints are simple enough.
    """
    if not asked.elements or not asked.is_dense:
        return None
    way = cpu_way(asked)
    if way is None:
        return None
    if not asked.has_single_parameters:
        return FlatWay(way, asked.dtype, asked.strides, None) if way.is_stored_in_order else None
    maps = [(len(names), p.number_map(way.dtype)) for names, p in asked.subject.sources]
    readers = tuple((count, map_) for count, map_ in maps if map_ is not None)
    return FlatWay(way, asked.dtype, asked.strides, readers) if len(readers) == len(maps) else None


@dataclass(frozen=True, eq=False)
class FlatWay:
    """The kernels of a formula for elements of this dtype; a `Way` comes of it when parameters are read.

    general   the way for parameters that are kept in another dtype than is computed in, or not as they should
    strides   of x; None: it is contiguous
    readers   for each tensor of parameters: its count of numbers, and the map from one to its value and slope; None: they have a
              number per channel
    """

    general: CpuWay
    dtype: torch.dtype
    strides: tuple[int, ...] | None
    readers: tuple[Reader, ...] | None

    def apply(self, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        """The values, differentiable where gradients are recorded."""
        return apply_way(self.at(parameters), x, parameters)

    def at(self, parameters: Sequence[Tensor]) -> Way:
        """The way with the numbers that these parameters have now."""
        if self.readers is None:
            return self._at_channels(parameters)
        known, own, single = self._known[0], self.general.dtype, self._single
        if not self.readers:
            return known
        stored: list[float] = []
        for p in parameters:
            if p.dtype is not own:
                return self.general
            if single:
                stored.append(p.item())
            else:
                stored += p.flatten().tolist()
        bits = self._pack_double(*stored)  # which tell 0 from -0
        if known.stored != bits:  # every call finds what the last one has worked out, until a parameter moves
            known = self._known[0] = self._with(bits, stored, self.readers)
        return known

    def _with(self, bits: bytes, stored: Sequence[float], readers: tuple[Reader, ...]) -> FlatNumbers:
        maps = [number for count, number in readers for _ in range(count)]
        values, steps = zip(*(number(n) for number, n in zip(maps, stored, strict=True)), strict=True)
        return FlatNumbers(self, bits, self._pack(*values), self._pack_double(*steps))

    def _at_channels(self, parameters: Sequence[Tensor]) -> Way:
        found, known = self.general.bits_in_order(parameters), self._known[0]
        if found is None or found[0] is not self.general.dtype:
            return self.general
        bits = found[1]
        if known.stored != bits:
            rows = rows_of(self.general, *found)
            known = self._known[0] = FlatNumbers(self, bits, rows.numbers.tobytes(), rows.slopes.tobytes())
        return known

    @functools.cached_property
    def _single(self) -> bool:
        return all(count == 1 for count, _ in self.readers or ())

    @functools.cached_property
    def _known(self) -> list[FlatNumbers]:
        """The numbers that were read last."""
        return [FlatNumbers(self, b"", b"", b"")]

    @functools.cached_property
    def _pack(self) -> Callable[..., bytes]:
        """The function that makes numbers memory of the dtype that is computed in."""
        return struct.Struct(f"={len(self.general.subject.names)}{'d' if self.general.dtype == torch.float64 else 'f'}").pack

    @functools.cached_property
    def _pack_double(self) -> Callable[..., bytes]:
        return struct.Struct(f"={len(self.general.subject.names)}d").pack

    def is_alike(self, g: Tensor) -> bool:
        """Whether the memory of a gradient is laid out as that of x."""
        alike = g.is_contiguous() if self.strides is None else g.stride() == self.strides
        return alike and g.dtype is self.dtype and not g.is_neg() and not g._is_zerotensor()

    @functools.cached_property
    def forward(self) -> FlatKernel:
        """What computes the values."""
        subject = self.general.subject
        return self._kernel(((subject.e,), subject.names, self.dtype, self.general.at.columns, False), ())

    def backward(self, needs: Needed) -> FlatKernel:
        """What computes the pullback to these of (x, *parameters)."""
        found = self._backward.get(needs)
        if found is None:
            subject = self.general.subject
            exprs = slopes(subject.e, tuple(itertools.compress(subject.names, subject.needed(needs[1:]))))
            counts = [len(names) for names, _ in subject.sources]
            places = zip(counts, itertools.accumulate(counts, initial=0), strict=False)
            asked = (exprs, subject.names, self.dtype, self.general.at.columns, True)
            found = self._backward[needs] = self._kernel(asked, tuple(itertools.compress(places, needs[1:])))
        return found

    @functools.cached_property
    def _backward(self) -> dict[Needed, FlatKernel]:
        return {}

    def _kernel(self, asked: tiers.Asked, places: tuple[tuple[int, int], ...]) -> FlatKernel:
        kinds = self.dtype.itemsize, self.general.dtype.itemsize
        return FlatKernel(asked, self.general.at, kinds, places)


@dataclass(frozen=True, eq=False)
class FlatNumbers:
    """A `FlatWay` with its parameters read.

    stored   the numbers that the parameters hold
    packed   the values of their symbols as kernels read them, (symbols, width of the cut)
    slopes   of these in the former, float64, (symbols, own channels)
    """

    way: FlatWay
    stored: bytes
    packed: bytes
    slopes: bytes

    def values(self, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        kernel, y = self.way.forward, torch.empty_like(x)
        call = kernel.settled or kernel.latest()
        call(x.data_ptr(), 0, y.data_ptr(), self.packed, x, y)
        return y

    def pullback(
        self, x: Tensor, parameters: Sequence[Tensor], g: Tensor, needs: Sequence[bool], spare: Tensor | None = None
    ) -> Sequence[Tensor | None]:
        way = self.way
        kernel = way.backward(tuple(needs))
        call = kernel.settled or kernel.latest()
        gx = torch.empty_like(x) if spare is None else spare
        if not way.is_alike(g):
            g = as_flat(g, way.general.layout.order, way.dtype)
        sums = call(x.data_ptr(), g.data_ptr(), gx.data_ptr(), self.packed, x, gx, g)
        found: list[Tensor | None] = [gx if needs[0] else None]
        if kernel.places:
            # The kernel sums g times the slope in each value; the chain rule leads on to what is stored.
            for p, need in zip(parameters, needs[1:], strict=True):
                found.append(torch.empty_like(p) if need else None)
            kernel.gradients(sums, self.slopes, *[t.data_ptr() for t in found[1:] if t is not None])
        else:
            found += [None] * len(parameters)
        return found

    def formula(self, x: Tensor, *parameters: Tensor) -> Tensor:
        return self.way.general.formula(x, *parameters)


@dataclass(eq=False)
class FlatKernel:
    """A kernel for tensors of one size.

    asked    what asks for it
    kinds    the bytes per element of x and per parameter
    places   for each tensor of parameters whose gradient is needed: how many symbols it has, and the first of them
    settled  the call of the kernel, once no other will take over from it
    """

    asked: tiers.Asked
    at: Cut
    kinds: tuple[int, int]
    places: tuple[tuple[int, int], ...]
    settled: FlatCall | None = None
    _latest: tuple[Strip, FlatCall] | None = None

    def latest(self) -> FlatCall:
        """The call of the kernel that serves now."""
        strip, known = tiers.kernel_for(*self.asked, self.at.elements), self._latest
        if known is None or known[0] is not strip:
            known = self._latest = strip, flat_call(strip, self.at, self._sums, self.kinds)
        if strip.settled:
            self.settled = known[1]
        return known[1]

    @functools.cached_property
    def gradients(self) -> BuiltinCall:
        """The function of (sums, slopes, addresses) that fills the gradients of these tensors."""
        at = self.at
        spread = (at.repeats, at.own, at.spread)
        return bind_gradients(self.kinds[1] == 8, (at.groups, self._sums, at.width), spread, self.places)

    @property
    def _sums(self) -> int:
        """How many sums a pullback makes."""
        return sum(count for count, _ in self.places)
