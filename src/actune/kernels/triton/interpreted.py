"""Triton's interpreter, by which kernels run on the CPU in tests, with what it lacks.

It has no functions of the device's library, cuts bfloat16 off where a processor rounds, and cannot count with newer NumPy.
Torch's operators and Python's numbers stand for all that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

__all__ = ["is_interpreted", "mend"]

_FUNCTIONS: dict[str, Callable[..., torch.Tensor]] = {
    "exp": torch.exp, "expm1": torch.expm1, "log": torch.log, "log1p": torch.log1p, "sin": torch.sin, "cos": torch.cos,
    "sinh": torch.sinh, "cosh": torch.cosh, "tanh": torch.tanh, "asinh": torch.asinh, "atan": torch.atan, "erf": torch.erf,
    "erfc": torch.erfc, "hypot": torch.hypot, "pow": torch.pow, "rint": torch.round,
    # the product of two float32 is a float64
    "fma": lambda a, b, c: (a.double() * b.double() + c.double()).float(),
}  # fmt: skip


def is_interpreted() -> bool:
    """Whether kernels of Triton are interpreted in this process (TRITON_INTERPRET=1)."""
    import triton

    return bool(triton.knobs.runtime.interpret)


def mend(space: dict[str, Any]) -> None:
    """Let the functions of a module run in the interpreter, if that is what runs them."""
    if is_interpreted():
        from triton.runtime import interpreter

        interpreter.interpreter_builder.create_fp_trunc = _rounded
        space["libdevice"], space["range"] = _Library(), _counted


class _Library:
    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = _FUNCTIONS[name]

        def call(*arguments: Any) -> Any:
            import triton.language as tl
            from triton.runtime.interpreter import TensorHandle

            given = [torch.from_numpy(np.array(a.handle.data, np.float32)) for a in arguments]
            found = function(*given).numpy()
            kind = tl.block_type(tl.float32, list(found.shape)) if any(a.type.is_block() for a in arguments) else tl.float32
            return tl.tensor(TensorHandle(found, tl.float32), kind)

        return call


def _counted(*limits: Any) -> range:
    return range(*(int(n.handle.data.item()) if hasattr(n, "handle") else int(n) for n in limits))


def _rounded(source: Any, kind: Any) -> Any:
    """A narrower floating-point number, rounded to the nearest, halves to the even one."""
    import triton.language as tl
    from triton.runtime.interpreter import TensorHandle, _get_np_dtype

    if kind.scalar != tl.bfloat16:
        with np.errstate(all="ignore"):
            return TensorHandle(source.data.astype(_get_np_dtype(kind)), kind.scalar)
    narrow = torch.from_numpy(np.ascontiguousarray(source.data)).to(torch.bfloat16)
    return TensorHandle(narrow.view(torch.int16).numpy().view(np.uint16), kind.scalar)
