"""The elements of a strip as vectors: what comes into a kernel and what goes out of it, in LLVM assembly.

Vectors of which not all lanes count are loaded and stored under masks; of several short rows, one vector takes the ends.
"""

from __future__ import annotations

import torch

from . import llvm
from .lanes import LANES, Lanes, Value, vector
from .loops import splat, when

__all__ = [
    "STORED",
    "add_sums",
    "added",
    "is_partial",
    "load_vectors",
    "masks",
    "parameter",
    "read_elements",
    "rounded_elements",
    "store_vector",
    "vectors",
]

STORED = {torch.float32: "float", torch.float64: "double", torch.bfloat16: "i16", torch.float16: "half"}


_LANE = f"{vector('i32')} <{', '.join(f'i32 {i}' for i in range(LANES))}>"


def _spread(name: str, number: str) -> str:
    """A number in every lane."""
    return f"\n  {name}.i32 = trunc i64 {number} to i32{splat(f'{name}.all', 'i32', LANES, f'{name}.i32')}"


def vectors(columns: bool) -> str:
    """How many %vectors a strip has, where rows end (at %row.length), and from which on (%whole) they are not full.

    Columns have one row of vectors, which are all full or all %mask. In rows, the full vectors of all come first; the ends of
    `each.end` rows, %ragged elements of each row, fill one vector.
    """
    if columns:
        return f"""{_spread("%live", "%live")}
  %mask = icmp ult {_LANE}, %live.all
  %short = icmp slt i64 %live, {LANES}
  %row.length = add i64 -1, 0
  %vectors = add i64 %count, 0"""
    return f"""
  %short = icmp slt i64 %live, {LANES}
  %ragged = select i1 %short, i64 %live, i64 0
  %short.one = zext i1 %short to i64
  %row.full = sub i64 %count, %short.one
  %row.length = mul i64 %row.full, {LANES}
  %whole = mul i64 %row.full, %rows
  %live.32 = trunc i64 %live to i32
  %each.32 = udiv i32 {LANES}, %live.32
  %each.end = zext i32 %each.32 to i64
  %rows.up = add i64 %rows, %each.end
  %rows.up.less = sub i64 %rows.up, 1
  %rows.up.32 = trunc i64 %rows.up.less to i32
  %ends.32 = udiv i32 %rows.up.32, %each.32
  %ends.64 = zext i32 %ends.32 to i64
  %ends = select i1 %short, i64 %ends.64, i64 0
  %vectors = add i64 %whole, %ends{_spread("%ragged", "%ragged")}"""


def is_partial(number: str, columns: bool) -> str:
    """Whether the vector with this number is not full."""
    return "and i1 %short, true" if columns else f"icmp uge i64 {number}, %whole"


def masks(dtype: torch.dtype) -> str:
    """The declarations of what `load_vectors` and `store_vector` call."""
    kind, suffix = vector(STORED[dtype]), _suffix(dtype)
    return f"""
declare {kind} @llvm.masked.load.{suffix}(ptr, i32, {vector("i1")}, {kind})
declare void @llvm.masked.store.{suffix}({kind}, ptr, i32, {vector("i1")})"""


def _suffix(dtype: torch.dtype) -> str:
    return f"v{LANES}{'i' if dtype == torch.bfloat16 else 'f'}{8 * dtype.itemsize}.p0"


def load_vectors(names: str, dtype: torch.dtype, at: str, some: str, number: str, columns: bool) -> str:
    """Load the vectors %x and %g at this element, and %alive, which lanes there are; in the others x is that of lane 0 and g is 0.

    So the others add nothing to a sum that is finite, without a look at them: the slope is finite where it is in lane 0.
    """
    kind, size, blank = vector(STORED[dtype]), dtype.itemsize, {"x": "%x.blank", "g": "zeroinitializer"}
    places = "".join(f"\n  %{t}.at = getelementptr {STORED[dtype]}, ptr %{t.upper()}, i64 {at}" for t in names)

    def masked(t: str, place: str, mask: str, other: str) -> str:
        return f"call {kind} @llvm.masked.load.{_suffix(dtype)}(ptr {place}, i32 {size}, {vector('i1')} {mask}, {kind} {other})"

    if columns:
        part = _blank(dtype, at) + "".join(f"\n  %{t}.some = {masked(t, f'%{t}.at', '%mask', blank[t])}" for t in names)
        alive, last = "%mask", "get.yes"
    else:
        carried = "".join(f"\n  %{t}.had = phi {kind} [{blank[t]}, %get.yes], [%{t}.some, %get.ends]" for t in names)
        ends = "".join(f"""
  %{t}.end = getelementptr {STORED[dtype]}, ptr %{t.upper()}, i64 %get.place
  %{t}.some = {masked(t, f"%{t}.end", "%get.mask", f"%{t}.had")}""" for t in names)  # fmt: skip
        loaded = _over_ends("get", number, carried, ends, _blank(dtype, "%get.start"))
        part = f"""{loaded}{_spread("%get.filled", "%get.shift.next")}
  %get.alive = icmp ult {_LANE}, %get.filled.all"""
        alive, last = "%get.alive", "get.ended"
    full = "".join(f"\n  %{t}.full = load {kind}, ptr %{t}.at, align {size}" for t in names)
    both = "".join(f"\n  %{t} = phi {kind} [%{t}.some, %{last}], [%{t}.full, %get.no]" for t in names)
    return f"""{places}{when("get", some, part, full)}{both}
  %alive = phi {vector("i1")} [{alive}, %{last}], [splat (i1 true), %get.no]"""


def store_vector(result: Value, dtype: torch.dtype, at: str, some: str, number: str, columns: bool) -> str:
    """Store a vector at this element of Y."""
    kind, size = vector(STORED[dtype]), dtype.itemsize

    def masked(place: str, mask: str) -> str:
        values = f"{kind} {result.name}, ptr {place}, i32 {size}, {vector('i1')} {mask}"
        return f"\n  call void @llvm.masked.store.{_suffix(dtype)}({values})"

    part = masked("%y.at", "%mask") if columns else _over_ends("put", number, "", f"""
  %y.end = getelementptr {STORED[dtype]}, ptr %Y, i64 %put.place{masked("%y.end", "%put.mask")}""")  # fmt: skip
    full = f"\n  store {kind} {result.name}, ptr %y.at, align {size}"
    return f"\n  %y.at = getelementptr {STORED[dtype]}, ptr %Y, i64 {at}{when('put', some, part, full)}"


def _blank(dtype: torch.dtype, at: str) -> str:
    """The x at this element in every lane."""
    stored = STORED[dtype]
    return f"""
  %x.first.at = getelementptr {stored}, ptr %X, i64 {at}
  %x.first = load {stored}, ptr %x.first.at, align {dtype.itemsize}{splat("%x.blank", stored, LANES, "%x.first")}"""


def _over_ends(name: str, number: str, carried: str, body: str, before: str = "") -> str:
    """The body for each row whose end is in the vector with this number: with the lanes of that end, and where lane 0 would be."""
    return f"""
  %{name}.end = sub i64 {number}, %whole
  %{name}.first = mul i64 %{name}.end, %each.end
  %{name}.left = sub i64 %rows, %{name}.first
  %{name}.rows = call i64 @llvm.smin.i64(i64 %{name}.left, i64 %each.end)
  %{name}.row = mul i64 %{name}.first, %pitch
  %{name}.start = add i64 %{name}.row, %row.length{before}
  br label %{name}.ends
{name}.ends:
  %{name}.k = phi i64 [0, %{name}.yes], [%{name}.k.next, %{name}.ends]
  %{name}.shift = phi i64 [0, %{name}.yes], [%{name}.shift.next, %{name}.ends]
  %{name}.place = phi i64 [%{name}.start, %{name}.yes], [%{name}.place.next, %{name}.ends]{carried}
  {_spread(f"%{name}.s", f"%{name}.shift").lstrip()}
  %{name}.lane = sub {_LANE}, %{name}.s.all
  %{name}.mask = icmp ult {vector("i32")} %{name}.lane, %ragged.all{body}
  %{name}.k.next = add i64 %{name}.k, 1
  %{name}.shift.next = add i64 %{name}.shift, %ragged
  %{name}.place.step = add i64 %{name}.place, %pitch
  %{name}.place.next = sub i64 %{name}.place.step, %ragged
  %{name}.more = icmp ult i64 %{name}.k.next, %{name}.rows
  br i1 %{name}.more, label %{name}.ends, label %{name}.ended
{name}.ended:"""


def added(lanes: Lanes, counted: Value | None, g: Value, other: Value, total: str) -> Value:
    """The sum with g times the other in the lanes that count, all or these."""
    before = Value(lanes.code, lanes.kind, total)
    after = lanes.fma(g, other, before)
    return after if counted is None else lanes.where(counted, after, before)


def read_elements(lanes: Lanes, dtype: torch.dtype, name: str) -> Value:
    """The elements that were loaded under this name, in the kind that is computed in."""
    code = lanes.code
    if dtype == torch.float16:
        return Value(code, lanes.kind, code.emit(f"fpext {vector('half')} %{name} to {vector('float')}"))
    if dtype == torch.bfloat16:  # the upper half of a float32
        bits = Value(code, "i32", code.emit(f"zext {vector('i16')} %{name} to {vector('i32')}"))
        return lanes.from_bits(bits << 16)
    return Value(code, lanes.kind, f"%{name}")


def rounded_elements(lanes: Lanes, dtype: torch.dtype, result: Value, flushed: bool = False) -> Value:
    """The elements as they are stored, rounded to the nearest; those that are subnormal become 0, if they are not `flushed` yet."""
    code = lanes.code
    if dtype == torch.float16:
        return Value(code, "half", code.emit(f"fptrunc {vector('float')} {result.name} to {vector('half')}"))
    if dtype == torch.bfloat16:
        if "avx512bf16" in llvm.cpu_features():
            return lanes.brief(result)
        return _upper(lanes, result if flushed else lanes.normal(result))
    return result if flushed else lanes.normal(result)


def _upper(lanes: Lanes, a: Value) -> Value:
    """The upper half of a float32, rounded: a bfloat16."""
    bits = lanes.bits(a)
    upper = (bits + ((bits >> 16) & 1) + 0x7FFF) >> 16  # halves to the even one
    upper = lanes.where(lanes.isnan(a), Value(lanes.code, "i32", "splat (i32 32704)"), upper)
    return Value(lanes.code, "i16", lanes.code.emit(f"trunc {vector('i32')} {upper.name} to {vector('i16')}"))


def parameter(kind: str, name: str, index: str, columns: bool) -> str:
    """Load the parameter of this index: one for all lanes, or one each."""
    name, size = f"%{name}", {"float": 4, "double": 8}[kind]
    place = f"""
  {name}.i = mul i64 %distance, {index}
  {name}.at = getelementptr {kind}, ptr %P, i64 {name}.i"""
    if columns:
        return f"""{place}
  {name} = load {vector(kind)}, ptr {name}.at, align {size}"""
    return f"""{place}
  {name}.number = load {kind}, ptr {name}.at, align {size}{splat(name, kind, LANES, f"{name}.number")}"""


def add_sums(lanes: Lanes, name: str, total: str, index: str, columns: bool) -> str:
    """Add the sum in each lane to the float64 of this index, or to one for each lane."""
    name = f"%{name}"
    text = f"""
  {name}.i = mul i64 %distance, {index}
  {name}.at = getelementptr double, ptr %S, i64 {name}.i"""
    if not lanes.double:
        text += f"\n  {name} = fpext {vector('float')} {total} to {vector('double')}"
    last, size = total if lanes.double else name, LANES
    while not columns and size > 1:  # the upper half onto the lower one
        half, kind = size // 2, f"<{size} x double>"
        low, high = (", ".join(f"i32 {i}" for i in at) for at in (range(half), range(half, size)))
        text += f"""
  {name}.low.{half} = shufflevector {kind} {last}, {kind} poison, <{half} x i32> <{low}>
  {name}.high.{half} = shufflevector {kind} {last}, {kind} poison, <{half} x i32> <{high}>
  {name}.{half} = fadd <{half} x double> {name}.low.{half}, {name}.high.{half}"""
        last, size = f"{name}.{half}", half
    kind = f"<{size} x double>"
    return f"""{text}
  {name}.before = load {kind}, ptr {name}.at, align 8
  {name}.after = fadd {kind} {name}.before, {last}
  store {kind} {name}.after, ptr {name}.at, align 8"""
