"""`export`: an activation function, or a model with some, as source or as a file for a place without actune."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..catalogue.registry import Family, resolve
from ..language.expr import Expr
from ..language.ops import OPS
from ..messages import suggestion
from ..module import Activation
from .baking import TOLERANCE, baked_function, baked_model, check_tolerance, is_costly
from .c import C_OPERATORS, c_source
from .frozen import FrozenFunction, frozen_family, frozen_functions
from .int8 import Int8Table, Range, check_range, int8_source, int8_table
from .javascript import JS_OPERATORS, javascript_source
from .jax import JAX_OPERATORS, jax_source
from .onnx import onnx_error, onnx_example, onnx_program
from .python import python_source

__all__ = ["ENDINGS", "Exported", "export"]

_SOURCES: dict[str, Callable[[Sequence[FrozenFunction]], str]] = {
    "python": python_source, "c": c_source, "jax": jax_source, "javascript": javascript_source,
}  # fmt: skip
_LACKS: dict[str, Callable[[str], bool]] = {
    "python": is_costly,
    "onnx": lambda op: is_costly(op) or OPS[op].onnx is None,
    "c": lambda op: op not in C_OPERATORS,
    "jax": lambda op: op not in JAX_OPERATORS,
    "javascript": lambda op: op not in JS_OPERATORS,
}  # operators for which a function is baked
# The ending of the file of each target.
ENDINGS = {"python": ".py", "onnx": ".onnx", "c": ".c", "jax": ".py", "javascript": ".js", "int8": ".c"}


@dataclass(frozen=True)
class Exported:
    """What `export` made; as text, its source.

    text     the source in Python, C, JAX or JavaScript
    program  torch's ONNXProgram
    path     the file that was written
    errors   the largest error over max(1, |value|): of each baked function on float32 numbers of every size, of each function on
             8-bit integers for inputs in its range, and under "onnxruntime" that of the program there, at the example
    """

    text: str | None = None
    program: Any = None
    path: Path | None = None
    errors: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.text is not None:
            return self.text
        count = len(list(self.program.model.graph))
        return f"a program in ONNX with {count} node{'s' * (count != 1)}"


def export(what: str | Family | Expr | nn.Module, path: str | os.PathLike[str] | None = None, to: str | None = None, *,
           example: Any = None, tolerance: float = TOLERANCE,
           inputs: Range | Mapping[str, Range] | None = None) -> Exported:  # fmt: skip
    """An activation function for a place without actune; its parameters, learned or initial, become constants.

    what       a name, a formula, a Family, an `Activation`, or a model: then each of its activations becomes a function
    path       the file to write; without one, only the answer has the result
    to         "python" (over torch), "onnx", "c" (C99, in double and float, with a test program), "jax", "javascript" (a module of
               ECMAScript), or "int8" (tables of 256 entries in C99, for quantized networks); default: by the ending
    example    for ONNX: the input of a model, a tensor or a tuple of arguments; its first dimension may have any size
    tolerance  the error over max(1, |value|) that is allowed where a function has to be baked (see `bake`)
    inputs     for int8: the lowest and the highest input, (-8, 8), of all functions, or by place, as `card(model, …).ranges()`

    Raises ValueError in one line for a target that does not exist, an input that is missing, or what the target cannot express.
    """
    target = _target(to, path)
    check_tolerance(tolerance)
    if inputs is not None and target != "int8":
        raise ValueError(f"inputs={inputs!r} is for to='int8' only, got to={target!r}; leave it out")
    place = None if path is None else Path(path)
    if target == "onnx":
        module = what if isinstance(what, nn.Module) else Activation(resolve(what))
        arguments = _inputs(module, example)
        baked, errors = baked_model(module, _LACKS["onnx"], tolerance)
        program = onnx_program(baked, arguments)
        if place is not None:
            program.save(place)
        error = onnx_error(program, module, arguments)
        return Exported(program=program, path=place, errors=errors | ({} if error is None else {"onnxruntime": error}))
    frozen = frozen_functions(what) if isinstance(what, nn.Module) else (frozen_family(resolve(what)),)
    if target == "int8":
        tables = _int8_tables(frozen, inputs)
        text, errors = int8_source(tables), {t.function.name: t.relative for t in tables}
    else:
        functions = [baked_function(f, _LACKS[target], tolerance) for f in frozen]
        text, errors = _SOURCES[target](functions), {f.name: f.error for f in functions if f.error is not None}
    if place is not None:
        place.write_text(text, encoding="utf-8")
    return Exported(text, path=place, errors=errors)


def _int8_tables(functions: Sequence[FrozenFunction], inputs: Any) -> list[Int8Table]:
    if inputs is None:
        raise ValueError("to='int8' needs the range of the inputs; give inputs=(low, high), or for a model card(model, …).ranges()")
    if isinstance(inputs, Mapping):
        missing = [f.place for f in functions if f.place not in inputs]
        if missing:
            raise ValueError(f"inputs has no range for {missing[0]!r}; give one for each place, as card(model, …).ranges() does")
    ranges = [inputs[f.place] if isinstance(inputs, Mapping) else inputs for f in functions]
    return [int8_table(f, check_range(r)) for f, r in zip(functions, ranges, strict=True)]


def _target(to: str | None, path: str | os.PathLike[str] | None) -> str:
    if to is None:
        ending = Path(path).suffix.lower() if path is not None else ".py"
        to = next((target for target, e in ENDINGS.items() if e == ending), None)
        if to is None:
            raise ValueError(f"path={str(path)!r} does not say what to write; end it in .py, .onnx, .c or .js, or give to=…")
    if to not in ENDINGS:
        raise ValueError(f"to must be one of {', '.join(ENDINGS)}, got {to!r}{suggestion(str(to), ENDINGS)}")
    return to


def _inputs(module: nn.Module, example: Any) -> tuple[Any, ...]:
    if example is not None:
        return (example,) if isinstance(example, Tensor) else tuple(example)
    if not isinstance(module, Activation):
        raise ValueError(f"a {type(module).__name__} in ONNX needs an example of its input; give example=…")
    return (onnx_example(module),)
