"""Which activation functions are gates: what they give multiplies or weighs another tensor, or is what the model returns.

A gate says how much of something passes, between nothing and all. Another function in its place makes nonsense of the model, so
`swap` keeps gates unless it is told otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from ..module import Activation

__all__ = ["GateWatch", "can_be_gate", "tensors_in"]

_GATES = frozenset({"sigmoid", "expit", "special_expit", "hardsigmoid", "hardsigmoidme", "hard_sigmoid", "tanh", "softplus"})
_PRODUCTS = frozenset({
    "mul", "rmul", "imul", "multiply", "matmul", "rmatmul", "bmm", "mm", "mv", "dot", "inner", "outer", "einsum", "baddbmm",
    "addcmul", "lerp", "scaled_dot_product_attention",
})  # fmt: skip
_MATRIX_PRODUCTS = frozenset({"matmul", "rmatmul", "mm", "mv", "einsum"})
# What a gate may go through on its way: other shapes, and 1 - z.
_PASSING = frozenset({
    "bfloat16", "broadcast_to", "chunk", "clamp", "clip", "clone", "contiguous", "detach", "div", "double", "dropout", "exp",
    "expand", "expand_as", "flatten", "float", "gather", "get", "getitem", "half", "log", "movedim", "narrow", "neg", "permute",
    "pow", "rdiv", "repeat", "repeat_interleave", "reshape", "select", "softmax", "split", "squeeze", "t", "tile", "to", "topk",
    "transpose", "truediv", "type", "type_as", "unbind", "unflatten", "unsqueeze", "view", "view_as",
})  # fmt: skip
_SUMS = frozenset({"add", "radd", "iadd", "sub", "rsub", "isub"})  # with a number; a sum with another tensor is no gate any more


def can_be_gate(function: str | nn.Module) -> bool:
    """Whether this is a function that gates have: a sigmoid, tanh or softplus, by its name or as a module."""
    if isinstance(function, Activation):
        return function.family.name.lower() in _GATES
    return (function if isinstance(function, str) else type(function).__name__).lower().strip("_") in _GATES


class GateWatch:
    """Follows what gate-like functions give through a run of a model, and tells those that turn out to be gates.

    tell   called with the key of a function and the reason
    """

    def __init__(self, tell: Callable[[int, str], None]):
        self._tell = tell
        self._made: WeakTensorKeyDictionary = WeakTensorKeyDictionary()  # tensor -> {key: the function's input}

    def mark(self, output: object, key: int, given: Tensor | None) -> None:
        """Follow this output of a function whose input was `given`."""
        if isinstance(output, Tensor):
            self._made[output] = {**self._made.get(output, {}), key: given}

    def see(self, name: str, args: object, output: object) -> None:
        """Take note of a call of one of torch's functions, by its name without underscores."""
        if name not in _PRODUCTS and name not in _PASSING and name not in _SUMS:
            return
        tensors = list(tensors_in(args))
        marked = [t for t in tensors if t in self._made]
        for t in marked:
            others = [o for o in tensors if o is not t and not _is_constant(o)]
            if name in _PRODUCTS and others:
                for key, given in self._made[t].items():
                    own = all(o is given for o in others)
                    self._tell(
                        key,
                        "it multiplies its own input, a function written by hand"
                        if own
                        else "a gate: it multiplies another tensor",
                    )
            elif name not in _MATRIX_PRODUCTS and not (name in _SUMS and others):
                for made in tensors_in(output):
                    self._made[made] = {**self._made.get(made, {}), **self._made[t]}

    def returned(self, outputs: object) -> None:
        """Tell those functions whose output is what the model returns."""
        for tensor in tensors_in(outputs):
            for key in self._made.get(tensor, {}):
                self._tell(key, "it is what the model returns")


def _is_constant(tensor: Tensor) -> bool:
    """Whether this is no computed signal: a parameter, a mask or a number."""
    return isinstance(tensor, nn.Parameter) or tensor.dtype == torch.bool or tensor.ndim == 0


def tensors_in(value: object) -> Iterator[Tensor]:
    """The tensors in arguments or outputs, in containers of any depth."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for v in value.values():
            yield from tensors_in(v)
    elif isinstance(value, list | tuple):
        for v in value:
            yield from tensors_in(v)
    elif is_dataclass(value) and not isinstance(value, type):
        for f in fields(value):
            yield from tensors_in(getattr(value, f.name))
