"""A formula over contiguous tensors with parameters of one number each: what is alike in all calls is prepared once.

A small tensor takes a kernel a microsecond, and each step on the way there as long. So numbers stay Python's here, for a tensor of
one number takes thirty times as long; one call goes to the kernel, with little more than addresses; backward takes what forward
has read; and no call looks up anything twice. Large tensors go the same way.
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
from .fused import CpuWay, cpu_way, slopes
from .strips import Cut, FlatCall, Strip, flat_call

__all__ = ["FlatWay", "flat_way"]

Reader = tuple[int, Callable[[float], tuple[float, float]]]
Sums = tuple[tuple[int, int], ...]  # the indices of sums, and of the symbols whose values they are in
Needed = tuple[bool, ...]  # of x and each tensor of parameters, whether its gradient is


def flat_way(asked: Request) -> FlatWay | None:
    """The way for a request of contiguous elements, if the constraints of its parameters are simple enough for plain numbers."""
    if asked.strides is not None or not asked.elements or not asked.has_single_parameters:
        return None
    way = cpu_way(asked)
    if way is None:
        return None
    maps = [(len(names), p.number_map(way.dtype)) for names, p in asked.subject.sources]
    readers = tuple((count, map_) for count, map_ in maps if map_ is not None)
    return FlatWay(way, asked.dtype, asked.elements, readers) if len(readers) == len(maps) else None


@dataclass(frozen=True, eq=False)
class FlatWay:
    """The kernels of a formula for so many elements of this dtype; a `Way` comes of it when parameters are read.

    general   the way for parameters that are kept in another dtype than is computed in
    readers   for each tensor of parameters: its count of numbers, and the map from one to its value and slope
    """

    general: CpuWay
    dtype: torch.dtype
    elements: int
    readers: tuple[Reader, ...]

    def apply(self, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        """The values, differentiable where gradients are recorded."""
        return apply_way(self.at(parameters), x, parameters)

    def at(self, parameters: Sequence[Tensor]) -> Way:
        """The way with the numbers that these parameters have now."""
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
        bits = self._key(*stored)  # which tell 0 from -0
        if known.stored != bits:  # every call finds what the last one has worked out, until a parameter moves
            known = self._known[0] = self._with(bits, stored)
        return known

    def _with(self, bits: bytes, stored: Sequence[float]) -> FlatNumbers:
        maps = [number for count, number in self.readers for _ in range(count)]
        found = [number(n) for number, n in zip(maps, stored, strict=True)]
        return FlatNumbers(self, bits, self._pack(*(value for value, _ in found)), [slope for _, slope in found])

    @functools.cached_property
    def _single(self) -> bool:
        return all(count == 1 for count, _ in self.readers)

    @functools.cached_property
    def _known(self) -> list[FlatNumbers]:
        """The numbers that were read last."""
        return [FlatNumbers(self, b"", b"" if self.readers else self._pack(), [])]

    @functools.cached_property
    def _pack(self) -> Callable[..., bytes]:
        """The function that makes numbers memory of the dtype that is computed in."""
        return struct.Struct(f"={len(self.general.subject.names)}{'d' if self.general.dtype == torch.float64 else 'f'}").pack

    @functools.cached_property
    def _key(self) -> Callable[..., bytes]:
        return struct.Struct(f"={len(self.general.subject.names)}d").pack

    @functools.cached_property
    def forward(self) -> FlatKernel:
        """What computes the values."""
        subject = self.general.subject
        return self._kernel(((subject.e,), subject.names, self.dtype, False, False), ())

    def backward(self, needs: Needed) -> FlatKernel:
        """What computes the pullback to these of (x, *parameters)."""
        found = self._backward.get(needs)
        if found is None:
            subject = self.general.subject
            exprs = slopes(subject.e, tuple(itertools.compress(subject.names, subject.needed(needs[1:]))))
            symbols, sums, places = itertools.count(), itertools.count(), []
            for (count, _), need in zip(self.readers, needs[1:], strict=True):
                own = [next(symbols) for _ in range(count)]
                places.append(tuple((next(sums), j) for j in own if need))
            found = self._backward[needs] = self._kernel((exprs, subject.names, self.dtype, False, True), tuple(places))
        return found

    @functools.cached_property
    def _backward(self) -> dict[Needed, FlatKernel]:
        return {}

    def _kernel(self, asked: tiers.Asked, places: tuple[Sums, ...]) -> FlatKernel:
        kinds = self.dtype.itemsize, self.general.dtype.itemsize
        return FlatKernel(asked, self.elements, self.general.at, kinds, places)


@dataclass(frozen=True, eq=False)
class FlatNumbers:
    """A `FlatWay` with its parameters read.

    stored   the numbers that the parameters hold
    packed   the values of their symbols as kernels read them
    slopes   of these in the former
    """

    way: FlatWay
    stored: bytes
    packed: bytes
    slopes: list[float]

    def values(self, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        kernel, y = self.way.forward, torch.empty_like(x)
        call = kernel.settled or kernel.latest()
        call(x.data_ptr(), 0, y.data_ptr(), self.packed, x, y)
        return y

    def pullback(
        self, x: Tensor, parameters: Sequence[Tensor], g: Tensor, needs: Sequence[bool], spare: Tensor | None = None
    ) -> Sequence[Tensor | None]:
        kernel, dtype = self.way.backward(tuple(needs)), self.way.dtype
        call = kernel.settled or kernel.latest()
        gx = torch.empty_like(x) if spare is None else spare
        if g.dtype is not dtype or not g.is_contiguous() or g.is_neg() or g._is_zerotensor():
            g = as_flat(g, None, dtype)
        found: list[Tensor | None] = [gx if needs[0] else None]
        sums = kernel.unpack(call(x.data_ptr(), g.data_ptr(), gx.data_ptr(), self.packed, x, gx, g))
        # The kernel sums g times the slope in each value; the chain rule leads on to what is stored.
        for p, own in zip(parameters, kernel.places, strict=True):
            if len(own) == 1:
                i, j = own[0]
                found.append(p.new_full(p.shape, sums[i] * self.slopes[j]))
            else:
                found.append(p.new_tensor([sums[i] * self.slopes[j] for i, j in own]).reshape(p.shape) if own else None)
        return found

    def formula(self, x: Tensor, *parameters: Tensor) -> Tensor:
        return self.way.general.formula(x, *parameters)


@dataclass(eq=False)
class FlatKernel:
    """A kernel for tensors of one size.

    asked    what asks for it
    kinds    the bytes per element of x and per parameter
    places   for each tensor of parameters: the sums that a pullback makes for it
    settled  the call of the kernel, once no other will take over from it
    """

    asked: tiers.Asked
    elements: int
    at: Cut
    kinds: tuple[int, int]
    places: tuple[Sums, ...]
    settled: FlatCall | None = None
    _latest: tuple[Strip, FlatCall] | None = None

    def latest(self) -> FlatCall:
        """The call of the kernel that serves now."""
        strip, known = tiers.kernel_for(*self.asked, self.elements), self._latest
        if known is None or known[0] is not strip:
            known = self._latest = strip, flat_call(strip, self.at, self.sums, self.kinds)
        if strip.settled:
            self.settled = known[1]
        return known[1]

    @functools.cached_property
    def unpack(self) -> Callable[[bytes], tuple[float, ...]]:
        """The function that makes the sums in memory numbers of Python."""
        return struct.Struct(f"={self.sums}d").unpack

    @property
    def sums(self) -> int:
        """How many sums a pullback makes."""
        return sum(map(len, self.places))
