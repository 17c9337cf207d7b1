"""Formulas of 16-bit numbers as exhaustive tables: one value per number, of all 65,536 or of those of ordinary size.

The formula's own kernel fills a table, so what is looked up is bit for bit what the kernel computes. An element costs two loads and
a store, whatever the formula; inputs of ordinary size touch a few KiB. Tables are kept by the values of the parameters. To fill one
takes as long as the kernel does for so many elements; where that does not pay at once, it is done when the parameters come again.

The entry of a number is at a distance of its bits, as an unsigned integer, from an address. So the tables of x < 0 begin 2^15
entries behind those of x >= 0, and where a table has 2^15/n entries of each sign, those of n channels lie side by side. Where
numbers have no entry, the kernel computes them and some more.
"""

from __future__ import annotations

import functools
import itertools
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...language.expr import Expr
from ...tensors import Array
from ..autograd import Way, apply_way
from ..cpu import tiers
from ..cpu.flat import flat_way
from ..cpu.fused import CpuWay, cpu_way, slopes
from ..cpu.steps import instruction_count, kernel_cost, kernel_form
from ..cpu.strips import Strip, cut, run_strips
from ..layout import as_flat, fill_in_order
from ..request import Request
from .indexed import HALF, has_quick_gathers, look_up_channels, look_up_one
from .slopes import slope_strip, slope_tables

__all__ = ["SLOPE_TABLES", "VALUE_TABLES", "Exhaustive", "Patterns", "exhaustive_way", "ordinary"]

SMALLEST = 32_768  # elements of a tensor from which a table pays
CHEAP = 20  # instructions that a look-up is worth: a formula of fewer is computed as fast
_KEPT, _SEEN = 2**26, 4096  # bytes of all tables; parameters that are remembered
_REST = 15  # calls that are left to the kernel after one that missed much


WayOf = Callable[[Sequence[Tensor]], Way]  # by the parameters


class Patterns(NamedTuple):
    """What a table has entries for: of each sign so many bit patterns, a power of two, from `low` on."""

    low: int
    number: int

    def sides(self, channels: int) -> int:
        """How many tables of one sign there are for so many channels, with those that only fill up the last block."""
        together = HALF // self.number
        return -(-channels // together) * 2 * together

    def entries(self, channels: int) -> int:
        return self.sides(channels) * self.number


EVERY = Patterns(0, HALF)


@functools.cache
def ordinary(dtype: torch.dtype) -> Patterns:
    """The numbers of size 2^-12 to below 16. Zero is not among them."""
    low, end = torch.tensor([2.0**-12, 16.0], dtype=dtype).view(torch.int16).tolist()
    return Patterns(low, end - low)


def exhaustive_way(asked: Request) -> Callable[..., Tensor | None] | None:
    """Tables for large tensors of 16-bit numbers, one per set of parameters, if the formula has a kernel that is slower."""
    if asked.dtype.itemsize != 2 or asked.elements < SMALLEST:
        return None
    kernels, cost = cpu_way(asked), kernel_cost(asked.subject.e) or 0
    if kernels is None or kernels.at.columns or cost <= CHEAP:
        return None
    patterns = EVERY if kernels.at.channels == 1 else ordinary(asked.dtype)
    if patterns.entries(kernels.at.channels) > asked.elements and patterns is not EVERY:
        return None
    flat = flat_way(asked)
    otherwise: WayOf = (lambda parameters: kernels) if flat is None else flat.at
    return functools.partial(apply_way, Exhaustive(kernels, otherwise, asked.dtype, patterns, cost))


@dataclass(eq=False)
class Exhaustive:
    """The values of a formula by exhaustive tables, its gradients too where one set of parameters serves all; the rest by kernels.

    kernels    of the formula
    otherwise  the way where there are no tables
    cost       instructions of the kernel
    rests      so many calls more are left to the kernel
    """

    kernels: CpuWay
    otherwise: WayOf
    dtype: torch.dtype
    patterns: Patterns
    cost: int
    rests: int = 0

    def values(self, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        if self.rests:
            self.rests -= 1
            return self.otherwise(parameters).values(x, parameters)
        tables = self._tables(x.numel(), parameters)
        if tables is None:
            return self.otherwise(parameters).values(x, parameters)
        y, order = torch.empty_like(x), self.kernels.layout.order
        elements, kernel = as_flat(x, order, x.dtype), self._kernel(0)
        missed = fill_in_order(y, order, x.dtype, lambda out: tables.look_up(elements, out, self.kernels.at.inner, kernel))
        if missed > x.numel() // 8:
            self.rests = _REST
        return y

    def _tables(self, elements: int, parameters: Sequence[Tensor]) -> Tables | None:
        """The tables of these parameters; None: to fill them pays if they come again."""
        key, channels = (self._kind, *self.kernels.bits(parameters)), self.kernels.at.channels
        found, seen = VALUE_TABLES.find(key)
        looks = 1 if channels == 1 else 2  # that of a channel is not in the nearest cache when a row of it begins
        if found is None and (seen or _pays_at_once(elements, self.patterns.entries(channels), self.cost, looks)):
            found = self._filled(parameters, elements)
            VALUE_TABLES.keep(key, found)
        return found

    def pullback(
        self, x: Tensor, parameters: Sequence[Tensor], g: Tensor, needs: Sequence[bool], spare: Tensor | None = None
    ) -> Sequence[Tensor | None]:
        subject = self.kernels.subject
        exprs = slopes(subject.e, tuple(itertools.compress(subject.names, subject.needed(needs[1:]))))
        if self.kernels.at.channels > 1 or joint_cost(exprs) <= CHEAP * _looks(exprs):
            return self.otherwise(parameters).pullback(x, parameters, g, needs, spare)
        return self.kernels.pullback(x, parameters, g, needs, spare, self._pass_back)

    def formula(self, x: Tensor, *parameters: Tensor) -> Tensor:
        return self.kernels.formula(x, *parameters)

    def _pass_back(
        self, x: Tensor, g: Tensor, numbers: Array, learned: tuple[str, ...], spare: Tensor | None
    ) -> tuple[Tensor, Array]:
        """What `CpuWay.pass_back` gives, for one set of parameters, from tables of the slopes."""
        found = self._slopes(x.numel(), numbers, learned)
        if found is None:
            return self.kernels.pass_back(x, g, numbers, learned, spare)
        gx, order, at = torch.empty_like(x) if spare is None else spare, self.kernels.layout.order, self.kernels.at
        strip, elements, gradients = slope_strip(found, self.dtype), as_flat(x, order, x.dtype), as_flat(g, order, x.dtype)

        def write(out: Tensor) -> Array:
            return run_strips(strip, at, numbers[:0], elements, out, gradients, len(learned))

        sums = fill_in_order(gx, order, x.dtype, write)
        return gx, sums

    def _slopes(self, elements: int, numbers: Array, learned: tuple[str, ...]) -> Tensor | None:
        """Tables of the slopes; None: to fill them pays if the numbers come again."""
        exprs = slopes(self.kernels.subject.e, learned)
        key = (self._kind, learned, numbers.tobytes())
        found, seen = SLOPE_TABLES.find(key)
        if found is None and (seen or _pays_at_once(elements, EVERY.entries(1) * len(exprs), joint_cost(exprs), _looks(exprs))):
            found = slope_tables(exprs, self.kernels.subject.names, self.dtype, numbers, elements)
            SLOPE_TABLES.keep(key, found)
        return found

    @functools.cached_property
    def _kind(self) -> object:
        """One object for all that a table depends on beside the parameters."""
        k = self.kernels
        order = () if k.at.channels == 1 else (k.at.channels, k.shapes, k.layout.order)
        return _one_object(k.subject, self.dtype, self.patterns, order)

    def _kernel(self, elements: int) -> Strip:
        subject = self.kernels.subject
        return tiers.kernel_for((subject.e,), subject.names, self.dtype, False, False, elements)

    def _filled(self, parameters: Sequence[Tensor], elements: int) -> Tables:
        """Tables filled by the kernel, which counts the elements that are wanted: few are computed, but soon again."""
        numbers, patterns, channels = self.kernels.numbers(parameters), self.patterns, self.kernels.at.channels
        sides, together = patterns.sides(channels), HALF // patterns.number
        # A gather reads 32 bits: one entry more.
        memory = torch.empty(sides * patterns.number + 1, dtype=self.dtype, device="cpu")
        values = memory[:-1].view(sides, patterns.number)
        padded = np.ones((len(numbers), sides // 2), np.float32)
        padded[:, :channels] = numbers
        each = padded.reshape(len(numbers), sides // (2 * together), 1, together).repeat(2, axis=2).reshape(len(numbers), sides)
        arguments = _arguments(self.dtype, patterns, sides)
        run_strips(self._kernel(elements), cut(1, sides, patterns.number), each, arguments, values)
        block, place = np.divmod(np.arange(channels), together)
        first = 2 * HALF * block + patterns.number * place - patterns.low
        return Tables(patterns, values, values.data_ptr() + values.element_size() * first, numbers)


def _looks(exprs: tuple[Expr, ...]) -> int:
    """How many look-ups of values the gathers of so many slopes are worth."""
    return len(exprs) * (1 if has_quick_gathers() else 2)


def _pays_at_once(elements: int, entries: int, cost: int, looks: int) -> bool:
    """Whether to fill so many entries and look up each element so often takes less than a kernel of this cost.

    One thread fills a table while the others wait.
    """
    own = elements / torch.get_num_threads()
    return (own - entries) * cost > looks * CHEAP * own


@functools.lru_cache(maxsize=512)
def joint_cost(exprs: tuple[Expr, ...]) -> int:
    """The instructions of a kernel that computes all these formulas."""
    return instruction_count(*kernel_form(exprs))


@functools.lru_cache(maxsize=4096)
def _one_object(*of: object) -> object:
    return object()


@dataclass(frozen=True, eq=False)
class Tables:
    """Filled tables.

    values      (blocks * 2 * channels of a block, entries): those of x >= 0, and of x < 0, of the channels of each block
    addresses   of each channel: where the entry of 0 is, or would be
    parameters  of the kernel: (names, channels)
    """

    patterns: Patterns
    values: Tensor
    addresses: NDArray[np.int64]
    parameters: Array

    @property
    def nbytes(self) -> int:
        return self.values.nbytes

    def look_up(self, x: Tensor, y: Tensor, inner: int, kernel: Strip) -> int:
        """Write the values at x to y, both contiguous, whose channels are rows of `inner` elements.

        Returns how many were left to the kernel.
        """
        words = (self.addresses.ctypes.data, self.parameters.ctypes.data, len(self.addresses), *self.patterns)
        if len(self.addresses) == 1:
            return look_up_one(words, kernel, x, y, self)
        return look_up_channels(words, kernel, x, y, inner, self)


@functools.lru_cache(maxsize=16)
def _arguments(dtype: torch.dtype, patterns: Patterns, sides: int) -> Tensor:
    """The numbers of the entries: (sides, count)."""
    together = HALF // patterns.number
    sizes = patterns.low + np.arange(patterns.number)
    signs = np.array([0, HALF]).repeat(together)[:, None]
    bits = np.tile(signs + sizes, (sides // (2 * together), 1)).astype(np.uint16)
    return torch.from_numpy(bits.view(np.int16)).view(dtype)


class _Kept(Protocol):
    @property
    def nbytes(self) -> int: ...


_T = TypeVar("_T", bound=_Kept)


@dataclass
class _Store(Generic[_T]):
    """Tables by all that they depend on, up to so many bytes; those unused for the longest time go."""

    most: int
    bytes: int = 0
    filled: int = 0
    _tables: OrderedDict[object, _T | None] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, key: object) -> tuple[_T | None, bool]:
        """The tables of this key, if there are any, and whether it was asked for before."""
        with self._lock:
            seen = key in self._tables
            found = self._tables.setdefault(key, None)
            self._tables.move_to_end(key)
            self._forget()
        return found, seen

    def keep(self, key: object, tables: _T) -> None:
        with self._lock:
            if self._tables.get(key) is None:  # no other thread was sooner
                self.filled += 1
                self.bytes += tables.nbytes
                self._tables[key] = tables
                self._forget()

    def _forget(self) -> None:
        while self.bytes > self.most or len(self._tables) > _SEEN:
            _, oldest = self._tables.popitem(last=False)
            self.bytes -= 0 if oldest is None else oldest.nbytes

    def restart(self) -> None:
        """Forget everything, also that another thread is at work: in a forked child there is none."""
        self.bytes, self.filled, self._tables, self._lock = 0, 0, OrderedDict(), threading.Lock()


VALUE_TABLES, SLOPE_TABLES = _Store[Tables](_KEPT), _Store[Tensor](_KEPT)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=VALUE_TABLES.restart)
    os.register_at_fork(after_in_child=SLOPE_TABLES.restart)
