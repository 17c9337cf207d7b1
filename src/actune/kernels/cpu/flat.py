"""A formula over contiguous tensors with parameters of one number each: what is alike in all calls is prepared once.

A small tensor takes a kernel a microsecond, and each step on the way there as long. So numbers stay Python's here, for a tensor of
one number takes thirty times as long; one call goes to the kernel, with little more than addresses; and no call looks up anything
twice. Large tensors go the same way.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..layout import as_flat
from ..request import Request
from . import tiers
from .fused import CpuWay, cpu_way, slopes
from .strips import FlatCall

__all__ = ["FlatWay", "flat_way"]

Reader = tuple[int, Callable[[float], tuple[float, float]]]
Needed = tuple[bool, ...]  # for each tensor of parameters, whether its gradient is


class ReadNumbers(NamedTuple):
    """Parameters as they are stored, the values of their symbols as a kernel reads them, and the slopes of these in the former."""

    stored: bytes
    packed: bytes
    slopes: list[float]


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
    """The kernels of a formula for so many elements of this dtype, as a `Way`.

    general   the way for parameters that are kept in another dtype than is computed in
    readers   for each tensor of parameters: its count of numbers, and the map from one to its value and slope
    """

    general: CpuWay
    dtype: torch.dtype
    elements: int
    readers: tuple[Reader, ...]

    def values(self, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        numbers = self._read(parameters)
        if numbers is None:
            return self.general.values(x, parameters)
        y = torch.empty_like(x)
        self._call(self._forward, 0, None)(numbers.packed, x, y)
        return y

    def pullback(
        self, x: Tensor, parameters: Sequence[Tensor], g: Tensor, needs: Sequence[bool], spare: Tensor | None = None
    ) -> Sequence[Tensor | None]:
        numbers = self._read(parameters)
        if numbers is None:
            return self.general.pullback(x, parameters, g, needs, spare)
        needed = tuple(needs[1:])
        key, learned = self._backward(needed)
        gx = torch.empty_like(x) if spare is None else spare
        if g.dtype != self.dtype or not g.is_contiguous() or g.is_neg() or g._is_zerotensor():
            g = as_flat(g, None, self.dtype)
        sums = self._call(key, len(learned), needed)(numbers.packed, x, gx, g)
        # The kernel sums g times the slope in each value; the chain rule leads on to what is stored.
        stored = [total * numbers.slopes[i] for total, i in zip(sums, learned, strict=True)]
        found: list[Tensor | None] = [gx if needs[0] else None]
        for p, (count, _), need in zip(parameters, self.readers, needs[1:], strict=True):
            if not need:
                found.append(None)
            elif count == 1:
                found.append(p.new_full(p.shape, stored.pop(0)))
            else:
                found.append(p.new_tensor(stored[:count]).reshape(p.shape))
                del stored[:count]
        return found

    def formula(self, x: Tensor, *parameters: Tensor) -> Tensor:
        return self.general.formula(x, *parameters)

    def _read(self, parameters: Sequence[Tensor]) -> ReadNumbers | None:
        """The numbers of all symbols; None where the parameters have another dtype."""
        known = self._known[0]
        if not self.readers:
            return known
        stored: list[float] = []
        for p, (count, _) in zip(parameters, self.readers, strict=True):
            if p.dtype is not self.general.dtype:
                return None
            stored += (p.item(),) if count == 1 else p.flatten().tolist()
        bits = self._key(*stored)  # which tell 0 from -0
        if known.stored != bits:  # backward finds what forward has worked out, and so does every call until a parameter moves
            maps = [number for count, number in self.readers for _ in range(count)]
            found = [number(n) for number, n in zip(maps, stored, strict=True)]
            known = ReadNumbers(bits, self._pack(*(value for value, _ in found)), [slope for _, slope in found])
            self._known[0] = known
        return known

    @functools.cached_property
    def _known(self) -> list[ReadNumbers]:
        """What was worked out last."""
        return [ReadNumbers(b"", self._pack() if not self.readers else b"", [])]

    @functools.cached_property
    def _pack(self) -> Callable[..., bytes]:
        """The function that makes numbers memory of the dtype that is computed in."""
        return struct.Struct(f"={len(self.general.subject.names)}{'d' if self.general.dtype == torch.float64 else 'f'}").pack

    @functools.cached_property
    def _key(self) -> Callable[..., bytes]:
        return struct.Struct(f"={len(self.general.subject.names)}d").pack

    @functools.cached_property
    def _forward(self) -> tiers.Asked:
        subject = self.general.subject
        return (subject.e,), subject.names, self.dtype, False, False

    def _backward(self, needs: Needed) -> tuple[tiers.Asked, list[int]]:
        """What asks for the pullback to these parameters, and the indices of the symbols that are in them."""
        found = self._pulled.get(needs)
        if found is None:
            subject = self.general.subject
            learned = [i for i, need in enumerate(subject.needed(needs)) if need]
            exprs = slopes(subject.e, tuple(subject.names[i] for i in learned))
            found = self._pulled[needs] = (exprs, subject.names, self.dtype, False, True), learned
        return found

    def _call(self, asked: tiers.Asked, sums: int, needed: Needed | None) -> FlatCall:
        """What computes the values (needed: None) or a pullback; its kernel is asked for anew until none will take over from it."""
        found = self._calls.get(needed)
        if found is None or not found.strip.settled:
            strip = tiers.kernel_for(*asked, self.elements)
            if found is None or found.strip is not strip:
                kinds = self.dtype.itemsize, self.general.dtype.itemsize
                found = self._calls[needed] = FlatCall(strip, self.general.at, sums, kinds)
        return found

    @functools.cached_property
    def _pulled(self) -> dict[Needed, tuple[tiers.Asked, list[int]]]:
        return {}

    @functools.cached_property
    def _calls(self) -> dict[Needed | None, FlatCall]:
        return {}
