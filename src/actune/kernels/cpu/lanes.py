"""Many lanes at a time: LLVM instructions as Python values, over which the kernel column of the table is written.

A `Lanes` is a namespace of functions on values of `LANES` numbers, float32 or float64; Python's operators work on them. What they
do is recorded as instructions, each once. Nothing is assumed about nan, infinity or the order of operations, and nothing is
contracted but where `fma` says so: a formula gives the same bits wherever it is computed from the same functions.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

__all__ = ["LANES", "NO_SUBNORMALS", "Code", "Lanes", "Value", "constant"]

# Four registers of a processor with AVX-512, which has 32 of them, or of 256 bits: while one waits for a result the others go on.
LANES = 64 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 32
# Of every function with arithmetic: constants are folded as the processor computes, without subnormal numbers (see `subnormal`).
NO_SUBNORMALS = '"denormal-fp-math"="preserve-sign,preserve-sign"'
_BITS = {"float": 32, "double": 64, "i32": 32, "i64": 64}
_SHORT = {"float": "f32", "double": "f64", "i32": "i32", "i64": "i64"}
_INTEGER = {"float": "i32", "double": "i64"}
_FRACTION = {"float": 23, "double": 52}
_BIAS = {"float": 127, "double": 1023}


@dataclass(eq=False)
class Code:
    """A straight line of instructions, each recorded once, with what they need from outside.

    wide512   whether the processor has the AVX-512 instructions of which some functions make use
    outside   declarations, tables and functions, for the module around it
    negated   names of numbers, with the names of those that they are the opposites of
    """

    wide512: bool = False
    lines: list[str] = field(default_factory=list)
    outside: dict[str, None] = field(default_factory=dict)
    negated: dict[str, str] = field(default_factory=dict)
    _known: dict[str, str] = field(default_factory=dict)

    NAME, LINE = "%v{}", "  {} = {}"  # as LLVM writes them

    def emit(self, text: str) -> str:
        """The name of the result of an instruction."""
        name = self._known.get(text)
        if name is None:
            name = self._known[text] = self.NAME.format(len(self._known))
            self.lines.append(self.LINE.format(name, text))
        return name

    def declare(self, text: str) -> None:
        self.outside[text] = None

    def text(self, first: int = 0, end: int | None = None) -> str:
        """The instructions from this one to before that one, for a function."""
        return "".join(f"\n{line}" for line in self.lines[first:end])

    def outer_text(self) -> str:
        """What they need from outside, for the module around that."""
        return "".join(f"{line}\n" for line in self.outside)

    def take_lines(self) -> str:
        """The text of the instructions so far, for a place that comes before all others; results stay known."""
        text = self.text()
        self.lines.clear()
        return text


def vector(kind: str) -> str:
    return f"<{LANES} x {kind}>"


@dataclass(frozen=True, eq=False)
class Value:
    """Numbers of one kind, one a lane: float, double, i32, i64, or i1, the truth values."""

    code: Code
    kind: str
    name: str
    number: float | None = None  # of a constant, every lane

    def _with(self, other: Any) -> Value:
        return other if isinstance(other, Value) else constant(self.code, self.kind, other)

    def _two(self, op: str, other: Any, reverse: bool = False) -> Value:
        a, b = self, self._with(other)
        if reverse:
            a, b = b, a
        return Value(self.code, self.kind, self.code.emit(f"{op} {vector(self.kind)} {a.name}, {b.name}"))

    def _compare(self, ordered: str, signed: str, other: Any) -> Value:
        op = f"fcmp {ordered}" if self.kind in _INTEGER else f"icmp {signed}"
        return Value(self.code, "i1", self.code.emit(f"{op} {vector(self.kind)} {self.name}, {self._with(other).name}"))

    def _arithmetic(self, op: str, other: Any, reverse: bool = False) -> Value:
        return self._two("f" + op if self.kind in _INTEGER else op, other, reverse)

    def __add__(self, other: Any) -> Value:
        return self._arithmetic("add", other)

    def __radd__(self, other: Any) -> Value:
        return self._arithmetic("add", other, True)

    def __sub__(self, other: Any) -> Value:
        return self._arithmetic("sub", other)

    def __rsub__(self, other: Any) -> Value:
        return self._arithmetic("sub", other, True)

    def __mul__(self, other: Any) -> Value:
        other = self._with(other)
        if (other.number or 0.0) < 0:  # so that what follows of a*b and a*(-b) may be shared
            return -self._arithmetic("mul", -other)
        if (self.number or 0.0) < 0:
            return -(-self)._arithmetic("mul", other)
        return self._arithmetic("mul", other)

    def __rmul__(self, other: Any) -> Value:
        return self * other

    def __truediv__(self, other: Any) -> Value:
        return self._two("fdiv", other)

    def __rtruediv__(self, other: Any) -> Value:
        return self._two("fdiv", other, True)

    def __neg__(self) -> Value:
        if self.kind not in _INTEGER:
            return 0 - self
        if self.number is not None:
            return constant(self.code, self.kind, -self.number)
        name = self.code.emit(f"fneg {vector(self.kind)} {self.name}")
        self.code.negated[name] = self.name
        return Value(self.code, self.kind, name)

    def __and__(self, other: Any) -> Value:
        return self._two("and", other)

    def __or__(self, other: Any) -> Value:
        return self._two("or", other)

    def __xor__(self, other: Any) -> Value:
        return self._two("xor", other)

    def __invert__(self) -> Value:
        return self._two("xor", True if self.kind == "i1" else -1)

    def __lshift__(self, other: Any) -> Value:
        return self._two("shl", other)

    def __rshift__(self, other: Any) -> Value:
        """Bits move down and zeros come in."""
        return self._two("lshr", other)

    def __lt__(self, other: Any) -> Value:
        return self._compare("olt", "slt", other)

    def __le__(self, other: Any) -> Value:
        return self._compare("ole", "sle", other)

    def __gt__(self, other: Any) -> Value:
        return self._compare("ogt", "sgt", other)

    def __ge__(self, other: Any) -> Value:
        return self._compare("oge", "sge", other)

    def __eq__(self, other: object) -> Value:  # type: ignore[override]
        return self._compare("oeq", "eq", other)

    def __ne__(self, other: object) -> Value:  # type: ignore[override]
        return self._compare("une", "ne", other)

    __hash__ = object.__hash__


def constant(code: Code, kind: str, number: Any) -> Value:
    """A number, rounded to this kind, in every lane."""
    if kind == "i1":
        return Value(code, kind, f"splat (i1 {'true' if number else 'false'})")
    if kind not in _INTEGER:
        return Value(code, kind, f"splat ({kind} {int(number)})")
    return Value(code, kind, f"splat ({kind} {_hex(kind, number)})", float(number))


def _hex(kind: str, number: Any) -> str:
    """A number as LLVM writes it: also a float32 in the bits of a float64."""
    number = float(number)
    if kind == "float":
        try:
            number = struct.unpack("<f", struct.pack("<f", number))[0]
        except OverflowError:
            number = float("inf") if number > 0 else float("-inf")
    return f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}"


class Lanes:
    """The functions on values of one kind of floating-point number.

    double   whether that is float64; else float32
    wide     the same for float64 (of float32: for what needs more digits)
    """

    def __init__(self, code: Code, double: bool = False):
        self.code, self.double = code, double
        self.kind = "double" if double else "float"
        self._type, self._suffix = vector(self.kind), f"v{LANES}{_SHORT[self.kind]}"

    def quick(self, count: int) -> bool:
        """Whether to pick one of so many numbers is an instruction or two."""
        return self.code.wide512 and count <= self.choose(32, 16)

    @property
    def wide(self) -> Lanes:
        return self if self.double else Lanes(self.code, True)

    def const(self, number: Any) -> Value:
        return constant(self.code, self.kind, number)

    def choose(self, single: Any, double: Any) -> Any:
        """One of two Python values, by the kind of number: coefficients, say."""
        return double if self.double else single

    def _of(self, a: Any) -> Value:
        return a if isinstance(a, Value) else self.const(a)

    def _call(self, name: str, *arguments: Any) -> Value:
        values = [self._of(a).name for a in arguments]
        function = f"@llvm.{name}.{self._suffix}"
        self.code.declare(f"declare {self._type} {function}({', '.join([self._type] * len(values))})")
        return Value(
            self.code, self.kind, self.code.emit(f"call {self._type} {function}({', '.join(f'{self._type} {v}' for v in values)})")
        )

    # Arithmetic
    def fma(self, a: Any, b: Any, c: Any) -> Value:
        """a*b + c, rounded once."""
        return self._call("fma", a, b, c)

    def sqrt(self, a: Value) -> Value:
        return self._call("sqrt", a)

    def abs(self, a: Value) -> Value:
        """|a|; that of -a is the same instruction."""
        return self._call("fabs", Value(self.code, self.kind, self.code.negated.get(a.name, a.name)))

    def floor(self, a: Value) -> Value:
        return self._call("floor", a)

    def fraction(self, a: Value) -> Value:
        """a - floor(a), in [0, 1]."""
        if not self.code.wide512:
            return a - self.floor(a)
        bits, size, mask = self.choose(("ps", 16, "i16 -1"), ("pd", 8, "i8 -1"))
        name, kind = f"llvm.x86.avx512.mask.reduce.{bits}.512", f"<{size} x {self.kind}>"
        parts = [(kind, self._part(a, start, size)) for start in range(0, LANES, size)]
        return self._joined(self.kind, [self._call512(name, self.kind, [p, ("i32", "9"), p], (mask, "i32 4")) for p in parts])

    def round(self, a: Value) -> Value:
        """To the nearest integer, halves to the even one."""
        return self._call("nearbyint", a)

    def copysign(self, size: Any, sign: Value) -> Value:
        return self._call("copysign", size, sign)

    def polynomial(self, t: Value, coefficients: Sequence[Any]) -> Value:
        """c[0] + c[1] t + c[2] t^2 + ..., by Horner's rule with fma."""
        return self.horner(t, reversed(coefficients))

    def horner(self, t: Value, coefficients: Iterator[Any]) -> Value:
        """`polynomial` from the highest coefficient down, each asked for when the one before it is in."""
        total = self._of(next(coefficients))
        for c in coefficients:
            total = self.fma(total, t, c)
        return total

    def estrin(self, t: Value, coefficients: Sequence[Any]) -> Value:
        """`polynomial` of two coefficients or more by Estrin's scheme: sooner done, and hardly less exact."""
        power, terms = t, list(coefficients[1:])
        while len(terms) > 1:
            pairs = [self.fma(high, power, low) for low, high in zip(terms[::2], terms[1::2], strict=False)]
            terms = pairs + terms[len(terms) - len(terms) % 2 :]
            power = power * power if len(terms) > 1 else power
        return self.fma(t, terms[0], coefficients[0])

    def normal(self, a: Value) -> Value:
        """a, and 0 with its sign where that is subnormal: what choices and signs alone have made is not flushed otherwise."""
        return self._call("canonicalize", a)

    # Choice. None of them looks at what it does not choose.
    def where(self, condition: Value, a: Any, b: Any) -> Value:
        a, b = self._of(a), self._of(b)
        kind = a.kind
        return Value(self.code, kind, self.code.emit(
            f"select {vector('i1')} {condition.name}, {vector(kind)} {a.name}, {vector(kind)} {b.name}"))  # fmt: skip

    def least(self, a: Any, b: Any) -> Value:
        """b where a is not below it: of nan and b, b. One instruction."""
        a, b = self._of(a), self._of(b)
        return self.where(a < b, a, b)

    def most(self, a: Any, b: Any) -> Value:
        """b where a is not above it: of nan and b, b. One instruction."""
        a, b = self._of(a), self._of(b)
        return self.where(a > b, a, b)

    def isnan(self, a: Value) -> Value:
        return Value(self.code, "i1", self.code.emit(f"fcmp uno {self._type} {a.name}, {a.name}"))

    def rarely(self, condition: Value, seldom: Callable[..., Value], usual: Value, *arguments: Value) -> Value:
        """seldom(K, *arguments) where the condition holds, else `usual`: with a branch around it, taken if any lane needs it."""
        return self.rarely_each(condition, lambda K, *values: [seldom(K, *values)], [usual], *arguments)[0]

    def rarely_each(
        self, condition: Value, seldom: Callable[..., Sequence[Value]], usual: Sequence[Value], *arguments: Value
    ) -> list[Value]:
        """`rarely` for several values of this kind with one branch."""
        inner, kind, each = Code(self.code.wide512, outside=self.code.outside), self._type, range(len(usual))
        names = [f"%x{i}" for i in range(len(arguments))]
        found = seldom(Lanes(inner, self.double), *(Value(inner, a.kind, n) for a, n in zip(arguments, names, strict=True)))
        together = f"{{{', '.join([kind] * len(usual))}}}"
        kinds = [vector("i1"), *[kind] * len(usual), *(vector(a.kind) for a in arguments)]
        given = ", ".join(f"{k} {n}" for k, n in zip(kinds, ["%c", *(f"%u{i}" for i in each), *names], strict=True))
        body = "\n".join([
            "entry:", f"  %m = bitcast {vector('i1')} %c to i{LANES}", f"  %z = icmp eq i{LANES} %m, 0",
            "  %e = call i1 @llvm.expect.i1(i1 %z, i1 true)", "  br i1 %e, label %done, label %seldom", "seldom:", *inner.lines,
            *(f"  %s{i} = select {vector('i1')} %c, {kind} {v.name}, {kind} %u{i}" for i, v in enumerate(found)),
            "  br label %done", "done:", *(f"  %y{i} = phi {kind} [ %u{i}, %entry ], [ %s{i}, %seldom ]" for i in each),
            *(f"  %r{i} = insertvalue {together} {f'%r{i - 1}' if i else 'poison'}, {kind} %y{i}, {i}" for i in each),
            f"  ret {together} %r{len(usual) - 1}", "}",
        ])  # fmt: skip
        name = f"@seldom_{hashlib.sha256((given + body).encode()).hexdigest()[:16]}"
        self.code.declare("declare i1 @llvm.expect.i1(i1, i1)")
        self.code.declare(f"define internal {together} {name}({given}) alwaysinline {NO_SUBNORMALS} {{\n{body}")
        values = ", ".join(f"{k} {v.name}" for k, v in zip(kinds, [condition, *usual, *arguments], strict=True))
        all_ = self.code.emit(f"call {together} {name}({values})")
        return [Value(self.code, self.kind, self.code.emit(f"extractvalue {together} {all_}, {i}")) for i in each]

    # Bits
    def bits(self, a: Value) -> Value:
        """The bits of a, as integers."""
        kind = _INTEGER[self.kind]
        return Value(self.code, kind, self.code.emit(f"bitcast {self._type} {a.name} to {vector(kind)}"))

    def from_bits(self, i: Value) -> Value:
        return Value(self.code, self.kind, self.code.emit(f"bitcast {vector(i.kind)} {i.name} to {self._type}"))

    def signbit(self, a: Value) -> Value:
        return self.bits(a) < 0

    def to_int(self, a: Value) -> Value:
        """An integral number as an integer of the same width; anything outside its range gives anything."""
        kind = _INTEGER[self.kind]
        # freeze: a number out of range would otherwise let LLVM assume whatever it likes about the rest
        found = self.code.emit(f"fptosi {self._type} {a.name} to {vector(kind)}")
        return Value(self.code, kind, self.code.emit(f"freeze {vector(kind)} {found}"))

    def from_int(self, i: Value) -> Value:
        return Value(self.code, self.kind, self.code.emit(f"sitofp {vector(i.kind)} {i.name} to {self._type}"))

    def power_of_two(self, k: Value) -> Value:
        """2^k for an integral number k of a normal exponent (-126 to 127, or -1022 to 1023)."""
        return self.from_bits((self.to_int(k) + _BIAS[self.kind]) << _FRACTION[self.kind])

    def ldexp(self, a: Value, k: Value) -> Value:
        """a * 2^floor(k) for a k of at most twice a normal exponent; what is too small or large is rounded as usual, once."""
        if self.code.wide512:
            bits, mask = ("pd", "i8") if self.double else ("ps", "i16")
            name = f"llvm.x86.avx512.mask.scalef.{bits}.512"
            return self._native(name, [a, k, a], f"{mask} -1", "i32 4")
        k = self.floor(k)
        half = self.floor(k * 0.5)
        return a * self.power_of_two(half) * self.power_of_two(k - half)

    def _native(self, name: str, values: Sequence[Value], *rest: str) -> Value:
        """An instruction of 512 bits, once for each part of so many."""
        size = self.choose(16, 8)
        parts = [
            self._call512(name, self.kind, [(f"<{size} x {v.kind}>", self._part(v, start, size)) for v in values], rest)
            for start in range(0, LANES, size)
        ]
        return self._joined(self.kind, parts)

    def brief(self, a: Value) -> Value:
        """A float32 as the bits of a bfloat16, by the instruction for that, which takes a subnormal number for zero anyway."""
        parts = [[("<16 x float>", self._part(a, start, 16))] for start in range(0, LANES, 16)]
        found = [self._call512("llvm.x86.avx512bf16.cvtneps2bf16.512", "bfloat", part, ()) for part in parts]
        bits = [self.code.emit(f"bitcast <16 x bfloat> {part} to <16 x i16>") for part in found]
        return self._joined("i16", bits)

    def _joined(self, kind: str, parts: list[str]) -> Value:
        while len(parts) > 1:  # two and two together
            size = LANES // len(parts)
            part, mask = f"<{size} x {kind}>", ", ".join(f"i32 {i}" for i in range(2 * size))
            parts = [
                self.code.emit(f"shufflevector {part} {low}, {part} {high}, <{2 * size} x i32> <{mask}>")
                for low, high in zip(parts[::2], parts[1::2], strict=True)
            ]
        return Value(self.code, kind, parts[0])

    def _part(self, a: Value, start: int, size: int) -> str:
        if a.name[0] != "%" or size == LANES:  # a constant of as many lanes as are asked for
            return a.name
        mask = ", ".join(f"i32 {start + j}" for j in range(size))
        return self.code.emit(f"shufflevector {vector(a.kind)} {a.name}, {vector(a.kind)} poison, <{size} x i32> <{mask}>")

    def _call512(self, name: str, kind: str, values: Sequence[tuple[str, str]], rest: Sequence[str]) -> str:
        result = f"{values[0][0].partition('x')[0]}x {kind}>"
        kinds = ", ".join([k for k, _ in values] + [r.split()[0] for r in rest])
        self.code.declare(f"declare {result} @{name}({kinds})")
        return self.code.emit(f"call {result} @{name}({', '.join([f'{k} {v}' for k, v in values] + list(rest))})")

    def split(self, a: Value) -> tuple[Value, Value]:
        """(m, k) with a = m * 2^k and m in [sqrt(1/2), sqrt(2)), for positive normal numbers; for others anything."""
        fraction, root = _FRACTION[self.kind], self.choose(0x3F3504F3, 0x3FE6A09E667F3BCD)  # sqrt(1/2)
        shifted = self.bits(a) - root
        exponents = f"ashr {vector(shifted.kind)} {shifted.name}, {constant(self.code, shifted.kind, fraction).name}"
        k = Value(self.code, shifted.kind, self.code.emit(exponents))  # shifted with its sign, unlike >>
        return self.from_bits(self.bits(a) - (k << fraction)), self.from_int(k)

    # Other kinds
    def widen(self, a: Value) -> Value:
        """The values of a in float64."""
        if self.double:
            return a
        return Value(self.code, "double", self.code.emit(f"fpext {self._type} {a.name} to {vector('double')}"))

    def narrow(self, a: Value) -> Value:
        """A float64 rounded to this kind."""
        if self.double:
            return a
        return Value(self.code, self.kind, self.code.emit(f"fptrunc {vector('double')} {a.name} to {self._type}"))

    def pick(self, numbers: Sequence[float], index: Value) -> Value:
        """numbers[index modulo their count], a power of two: from registers where that is quick, else from memory."""
        count = len(numbers)
        if count < 16 or count & (count - 1):
            raise ValueError(f"pick chooses among 16, 32, 64, ... numbers, got {count}")
        listed = [f"{self.kind} {_hex(self.kind, c)}" for c in numbers]
        if not self.quick(count):
            values = f"[{count} x {self.kind}] [{', '.join(listed)}]"
            table = f"@table_{hashlib.sha256(values.encode()).hexdigest()[:16]}"
            self.code.declare(f"{table} = private unnamed_addr constant {values}")
            return self.gather(table, index & (count - 1))
        size = self.choose(16, 8)
        low, high = (f"<{', '.join(part)}>" for part in (listed[:size], listed[-size:]))
        return self.pick_from(low, high, index)

    def pick_from(self, low: str, high: str, index: Value) -> Value:
        """The number at index modulo 32 (float64: 16) of two registers of 512 bits, where that is `quick`."""
        bits, size = self.choose(("ps", 16), ("pd", 8))
        parts = [
            self._call512(f"llvm.x86.avx512.vpermi2var.{bits}.512", self.kind,
                          [(f"<{size} x {self.kind}>", low), (f"<{size} x {index.kind}>", self._part(index, start, size)),
                           (f"<{size} x {self.kind}>", high)], ())
            for start in range(0, LANES, size)
        ]  # fmt: skip
        return self._joined(self.kind, parts)

    def registers(self, base: str, start: int) -> tuple[str, str]:
        """Two registers of 512 bits: the numbers behind the address from this one on, whole cache lines that nobody writes to."""
        size = self.choose(16, 8)
        kind = f"<{size} x {self.kind}>"
        at = (self.code.emit(f"getelementptr {self.kind}, ptr {base}, i64 {start + half}") for half in (0, size))
        low, high = (self.code.emit(f"load {kind}, ptr {a}, align 64") for a in at)
        return low, high

    def gather(self, base: str, index: Value) -> Value:
        """The numbers in memory at these places behind the address."""
        where, mask = f"<{LANES} x ptr>", vector("i1")
        name = f"@llvm.masked.gather.{self._suffix}.v{LANES}p0"
        self.code.declare(f"declare {self._type} {name}({where}, i32, {mask}, {self._type})")
        at = self.code.emit(f"getelementptr {self.kind}, ptr {base}, {vector(index.kind)} {index.name}")
        size = _BITS[self.kind] // 8
        text = f"call {self._type} {name}({where} {at}, i32 {size}, {mask} splat (i1 true), {self._type} zeroinitializer)"
        return Value(self.code, self.kind, self.code.emit(text))

    def rows(self, base: str, index: Value) -> list[Value]:
        """The eight numbers of each lane's row of a table in memory, one after the other: row `index` behind the address.

        By loads of whole rows, transposed: sooner done than a gather of each number.
        """
        row, size = f"<8 x {self.kind}>", _BITS[self.kind]
        parts = []
        for start in range(0, LANES, 8):
            found = []
            for lane in range(start, start + 8):
                one = self.code.emit(f"extractelement {vector(index.kind)} {index.name}, i32 {lane}")
                at = self.code.emit(f"getelementptr {row}, ptr {base}, {index.kind} {one}")
                found.append(self.code.emit(f"load {row}, ptr {at}, align {size}"))
            parts.append(self._transposed(found))
        return [self._joined(self.kind, list(column)) for column in zip(*parts, strict=True)]

    def _transposed(self, rows: list[str]) -> list[str]:
        """Eight rows of eight numbers as columns: halves, quarters and single numbers of two rows change places."""
        row = f"<8 x {self.kind}>"
        for d in (4, 2, 1):
            low, high = ([8 + c - d if c & d else c for c in range(8)], [8 + c if c & d else c + d for c in range(8)])
            for i in (i for i in range(8) if not i & d):
                pair = f"shufflevector {row} {rows[i]}, {row} {rows[i + d]}, <8 x i32>"
                rows[i], rows[i + d] = (self.code.emit(f"{pair} <{', '.join(f'i32 {c}' for c in mask)}>") for mask in (low, high))
        return rows
