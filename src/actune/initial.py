"""Whether parameters still have their initial values, so that a simpler formula gives the same numbers."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .catalogue.registry import Param

__all__ = ["InitialValues"]


@dataclass
class InitialValues:
    """What was last seen of the parameters of one module.

    Off the CPU reading a value waits for the device, so it is read again only after a write, which a tensor's version counts.
    Tensors without values (of an exporter, or on the meta device) get what was seen last.

    versions   of the parameters off the CPU, when they were looked at
    hold       whether all had their initial values then
    """

    versions: tuple[Any, ...] = ()
    hold: bool = True

    def look(self, params: Iterable[Param], tensors: Sequence[Tensor]) -> bool:
        """Whether nobody trains these tensors and they store the initial values."""
        if any(t.requires_grad for t in tensors) or any(torch._C._functorch.is_functorch_wrapped_tensor(t) for t in tensors):
            return False
        try:
            versions = tuple((id(t), t.data_ptr(), t._version) for t in tensors if t.device.type != "cpu")
        except RuntimeError:  # made in inference mode, by a copy for example: its writes are not counted
            versions = ()
        has_values = not any(t.is_meta or hasattr(t, "fake_mode") for t in tensors)
        if has_values and (not versions or versions != self.versions):
            with _untraced():
                self.versions, self.hold = versions, all(_is_initial(p, t) for p, t in zip(params, tensors, strict=True))
        return self.hold


def _is_initial(p: Param, stored: Tensor) -> bool:
    start = _stored_numbers(p, stored.dtype)
    if stored.numel() == 1 and isinstance(start, float):  # four microseconds less than the tensors below
        return bool(stored.item() == start)
    return torch.equal(stored, stored.new_tensor(start).reshape(-1, *(1,) * (stored.ndim - 1)).expand_as(stored))


@functools.cache
def _stored_numbers(p: Param, dtype: torch.dtype) -> Any:
    return p.stored().to(dtype).tolist()


@contextlib.contextmanager
def _untraced() -> Iterator[None]:
    """What is done here is no part of what torch.jit.trace records, and may look at values."""
    state = torch._C._get_tracing_state()
    torch._C._set_tracing_state(None)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch._C._set_tracing_state(state)  # type: ignore[attr-defined]
