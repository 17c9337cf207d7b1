"""`actune export`: a function as source, or as a file in ONNX, for a place without actune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .terminal import Json, err, out, print_json, read_function, writable_path

__all__ = ["export_command"]

_WHAT = {"onnxruntime": "in onnxruntime", "int8": "of the table, for inputs in the range"}


def export_command(
    function: Annotated[str, typer.Argument(help="A name, a formula, or a FILE.json of a search.")],
    to: Annotated[
        str | None,
        typer.Option(help="python, onnx, c, jax, javascript or int8 (a table in C); left out, the ending of --output says it."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file to write; else the source is printed.")] = None,
    tolerance: Annotated[
        float, typer.Option(help="The error over max(1, |value|) that is allowed where a function must be baked.")
    ] = 1e-6,
    inputs: Annotated[str | None, typer.Option("--range", help="For int8: the lowest and the highest input, such as -8,8.")] = None,
    as_json: Json = False,
) -> None:
    """Write a function as Python over torch, ONNX, C99, JAX, JavaScript, or a table in int8; its parameters become constants."""
    from ..export.exporting import ENDINGS, export

    if output is None and to == "onnx":
        raise ValueError("--to onnx needs a file to write; give --output FILE.onnx")
    if (to == "int8") != (inputs is not None):
        raise ValueError("--to int8 and --range LOW,HIGH belong together; give both, or none")
    if output is not None:
        writable_path(output, "--output", (ENDINGS[to],) if to in ENDINGS else tuple(dict.fromkeys(ENDINGS.values())))
    done = export(read_function(function), output, to, tolerance=tolerance, inputs=_range(inputs))
    if as_json:
        print_json({"path": None if output is None else str(output), "source": done.text, "errors": dict(done.errors)})
        return
    if output is None:
        print(done.text, end="")  # nothing but the source, which may go into a pipe
    else:
        out.print(f"{output}: {'written' if done.text else done}", highlight=False, soft_wrap=True)
    for where, error in done.errors.items():
        what = _WHAT.get(where if where == "onnxruntime" else to or "", "of the baked function, on float32 numbers of every size")
        (err if output is None else out).print(f"error {what}: {error:.1e} of max(1, |value|)", highlight=False, soft_wrap=True)


def _range(text: str | None) -> tuple[float, float] | None:
    """The two numbers of LOW,HIGH."""
    from ..export.int8 import check_range

    if text is None:
        return None
    try:
        return check_range(text.split(","))
    except ValueError:
        raise ValueError(f"--range must be the lowest and the highest input, such as -8,8, got {text!r}") from None
