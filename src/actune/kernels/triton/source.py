"""A formula as the source of a kernel in Triton: its values, or its pullback with the sums for the gradients of parameters.

A program of the kernel computes a tile of rows and columns of a tensor that is seen as (outer, channels, inner):

    by channels   the rows are some of outer, the columns some of inner, of one channel; a flat tensor is one channel with one row
    by columns    the rows are some of outer, the columns some of channels*inner, each with parameters of its own

It writes the results of its tile, and backward a number for each learned parameter: the sum over its tile, or over the rows of each
column. These parts are added up afterwards, in an order that does not change.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from ...language.expr import Expr
from ..cpu.lanes import Value
from .lanes import TritonCode, TritonLanes, TritonValue
from .operators import triton_values

__all__ = ["IMPORTS", "SUM", "TILE", "kernel_source", "written_tensors"]

# Where a tile is, and what of it there is. Tiles are counted along a row first, then by channels, then along outer.
TILE = """\
    width = inner
    if BY_COLUMNS:
        width = channels * inner
    across = tl.cdiv(width, COLUMNS)
    column = (tile % across) * COLUMNS
    rest = tile // across
    channel = tile * 0
    first = rest * ROWS
    if not BY_COLUMNS:
        channel = rest % channels
        first = rest // channels * ROWS
    row = tl.arange(0, ROWS)[:, None]
    col = tl.arange(0, COLUMNS)[None, :]
    alive = (row < outer - first) & (col < width - column)
    place = (first.to(tl.int64) * channels + channel) * inner + column
    at = row.to(tl.int64) * channels * inner + col
    own = channel
    if BY_COLUMNS:
        own = tl.minimum((column + col) // inner, channels - 1)
"""

IMPORTS = """import triton
import triton.language as tl
from triton.language.extra import libdevice
"""

_HEAD = '''"""{title}; written by actune from its table of primitives."""

{imports}

@triton.jit
def run({arguments}):
    tile = tl.program_id(0)
{tile}    x = tl.load(X + place + at, mask=alive, other=1.0).to(tl.float32)
'''

SUM = """    part = tl.where(alive, g * {value}, 0.0)
    if BY_COLUMNS:
        here = column + tl.arange(0, COLUMNS)
        tl.store(S + ({k} * (tiles // across) + rest).to(tl.int64) * width + here, tl.sum(part, 0), mask=here < width)
    else:
        tl.store(S + {k} * tiles + tile, tl.sum(part))
"""


@functools.lru_cache(maxsize=512)
def kernel_source(e: Expr, names: tuple[str, ...], wanted: tuple[int, ...] | None, brief: bool = False) -> str:
    """A module of Python with the kernel `run`, of the values (wanted: None) or of the gradients of these inputs.

    names    of the inputs, x first
    brief    for half precision: computed in float32 with fewer instructions, and rounded once

    Its arguments: X; G, the gradient, and Y, the result for x, and S, the parts of the sums, where there are such; the parameters
    P1, P2, ... with their steps, 1 from one channel to the next or 0; outer, channels, inner; the number of tiles; then constants.
    """
    exprs = (e,) if wanted is None else tuple(e.diff(names[i]) for i in wanted)
    lanes = TritonLanes(TritonCode(brief=brief))
    count = range(1, len(names))
    inputs: dict[str, Value] = {name: TritonValue(lanes.code, "float", f"p{i}" if i else "x") for i, name in enumerate(names)}
    found = triton_values(lanes, exprs, inputs)
    arguments = ["X", *(f"P{i}" for i in count), *(f"step{i}" for i in count), "outer", "channels", "inner", "tiles"]
    arguments += [f"{name}: tl.constexpr" for name in ("ROWS", "COLUMNS", "BY_COLUMNS")]
    loads = [f"p{i} = tl.load(P{i} + own * step{i}).to(tl.float32)" for i in count]
    if wanted is not None:
        loads.append("g = tl.load(G + place + at, mask=alive, other=0.0).to(tl.float32)")
    head = _HEAD.format(
        imports=IMPORTS, tile=TILE, title=_title(e, names, wanted), arguments=", ".join([*written_tensors(wanted), *arguments])
    )
    return head + "".join(f"    {line}\n" for line in (*loads, *lanes.code.lines)) + _stores(found, wanted)


def written_tensors(wanted: tuple[int, ...] | None) -> list[str]:
    """The tensors among the arguments besides the inputs: the gradient, the result for x, and the parts of the sums."""
    if wanted is None:
        return ["Y"]
    return ["G", *["Y"] * (0 in wanted), *["S"] * any(wanted)]


def _title(e: Expr, names: tuple[str, ...], wanted: tuple[int, ...] | None) -> str:
    text = str(e)
    what = "The values" if wanted is None else f"The gradients of {', '.join(names[i] for i in wanted)}"
    return f"{what} of {text if len(text) < 80 else text[:76] + ' ...'}"


def _stores(found: Sequence[Value], wanted: tuple[int, ...] | None) -> str:
    """Write the results. What parameters alone decide is not in the shape of the tile yet."""
    values = [f"tl.broadcast_to({found[0].name}, [ROWS, COLUMNS])"] if wanted is None else [f"g * {value.name}" for value in found]
    text, k = "", 0
    for i, value, product in zip(wanted or (0,), found, values, strict=True):
        if i == 0:
            text += f"    tl.store(Y + place + at, ({product}).to(Y.dtype.element_ty), mask=alive)\n"
        else:
            text += SUM.format(value=value.name, k=k)
            k += 1
    return text
