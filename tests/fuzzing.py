"""Hostile input: good data changed at random; the check that the answer is a value or one clear line, and that nothing in it ran.

    for changed in mutations(record, random, 1000):         # plain data; as_json(changed) is its text, as_data(changed) the data
        found = answer(lambda: read(as_data(changed)), reads=())
        if not isinstance(found, Refused): ...              # it was accepted: is it any good?

A change is drawn from a random.Random, so that a failure comes back.
"""

from __future__ import annotations

import ast
import copy
import gc
import json
import math
import os
import random as randoms
import re
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

__all__ = ["CODE", "Refused", "answer", "as_data", "as_json", "broken_bytes", "broken_text", "memory", "mutations"]

SECONDS, WIDTH = 2.0, 400  # of work for an answer; of a message


# -- data that is not what it should be ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Raw:
    """Data whose text `json.dumps` cannot write."""

    text: str
    value: Any

    def __deepcopy__(self, memo: dict[int, Any]) -> Raw:
        return self


class Again(str):
    """A key that stands twice in a JSON object: it equals no other."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


def _nested(levels: int, wrap: Callable[[Any], Any]) -> Any:
    found: Any = 1
    for _ in range(levels):
        found = wrap(found)
    return found


DEEP = (
    Raw("[" * 10_000 + "1" + "]" * 10_000, _nested(10_000, lambda inner: [inner])),
    Raw('{"a":' * 10_000 + "1" + "}" * 10_000, _nested(10_000, lambda inner: {"a": inner})),
    Raw("[" * 700 + "1" + "]" * 700, _nested(700, lambda inner: [inner])),  # json reads that, repr may not
)
CODE = (
    "__import__('os').system('touch /tmp/actune-was-here')", "eval('1')", "exec('import this')", "(lambda: 1)()", "f'{open}'",
    "x.__class__.__mro__[1].__subclasses__()", "[y for y in (1,)]", "(y := 1)", "import os", "{{7*7}}",
    "$(touch /tmp/actune-was-here)", "!!python/object/apply:os.system [ls]",
    "cos\nsystem\n(S'ls'\ntR.", "%s%s%n", "'; DROP TABLE trials; --",
)  # fmt: skip
NAMES = (
    "__class__", "__init__", "__dict__", "__import__", "__builtins__", "forward", "training", "weight", "self", "None", "True",
    "lambda", "x", "pi", "real", "closed", "interval", "greater_than", "const", "symbol", "sigmoid", "mittag_leffler", "where",
    "add", "<", "swish", "beta", "layer", "channel", "neuron", "b", "a0", "ｘ", "х", "tree", "name", "names", "function", "format",
    "0", "act", "body.0",
)  # fmt: skip
TEXTS = (
    "", " ", "\n", "\x00", "\x1b[31m", "\ud800", "\u202e", "1.5", "nan", "-", "a" * 100_000, "é" * 300, "line\nand line", *CODE,
    *NAMES,
)  # fmt: skip
NUMBERS = (
    0, 1, 2, -1, 7, 0.5, -0.0, 1e308, -1e308, 5e-324, 1e-300, 2**31, 2**63, 10**400, -(10**400), math.inf, -math.inf, math.nan,
)  # fmt: skip
POOL = (
    None, True, False, [], {}, [[]], [{}], [1, 2], [0.5] * 300, {"x": 1}, [None], ["x"], list(range(1000)), *NUMBERS, *NUMBERS,
    *TEXTS, *DEEP, Raw("1e400", math.inf), Raw("-1E+9999", -math.inf), Raw("9" * 5000, 10**400),
)  # fmt: skip


def mutations(record: Any, random: randoms.Random, count: int) -> Iterator[Any]:
    """Copies of plain data, each with one to three nodes replaced, moved, renamed, repeated or taken away."""
    for _ in range(count):
        found = [copy.deepcopy(record)]
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            _change(found, random)
        yield found[0]


def _nodes(holder: Any) -> list[tuple[Any, Any]]:
    """Each node of plain data as (what holds it, key)."""
    found, stack = [], [holder]
    while stack:
        inside = stack.pop()
        for key in list(inside) if isinstance(inside, dict) else range(len(inside)):
            found.append((inside, key))
            if isinstance(inside[key], dict | list):
                stack.append(inside[key])
    return found


def _drawn(holder: Any, random: randoms.Random) -> tuple[Any, Any]:
    """A node, by a walk from the root: else the many nodes of a formula would be nearly all that is drawn."""
    key = random.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    inside = holder[key]
    is_on = isinstance(inside, dict | list) and len(inside) > 0 and random.random() < 0.8
    return _drawn(inside, random) if is_on else (holder, key)


def _change(found: list[Any], random: randoms.Random) -> None:
    nodes = _nodes(found)
    holder, key = _drawn(found, random)
    kind = random.choice(("pool", "pool", "pool", "near", "other", "drop", "more", "key"))
    if kind == "near":
        holder[key] = _near(holder[key], random)
    elif kind == "other":
        there, name = random.choice(nodes)
        holder[key] = copy.deepcopy(there[name])
    elif kind == "drop" and holder is not found:
        del holder[key]
    elif kind == "more" and holder is not found:
        if isinstance(holder, dict):
            holder[Again(key)] = random.choice(POOL)
        else:
            holder.insert(key, random.choice((holder[key], random.choice(POOL))))
    elif kind == "key" and isinstance(holder, dict):
        holder[random.choice(TEXTS)] = holder.pop(key)
    else:
        holder[key] = random.choice(POOL)


def _near(value: Any, random: randoms.Random) -> Any:
    """Something of the same kind."""
    if isinstance(value, bool | None):
        return not value
    if isinstance(value, int | float):
        third = value / 3 if abs(value) < 1e300 else 0.0  # a whole number may be too large for a float
        return random.choice((value + 1, value - 1, -value, value * 10, third, random.choice(NUMBERS), str(value)))
    if isinstance(value, str):
        return broken_text(value, random)
    if isinstance(value, list):
        return random.choice((value[::-1], value * 2, value[:-1], value[1:], [value], dict(enumerate(value)), tuple(value)))
    return list(value.items()) if isinstance(value, dict) else value


def as_json(record: Any) -> str:
    """Changed data as the text of a file."""
    held: list[str] = []

    def placed(raw: Raw) -> str:
        held.append(raw.text)
        return f"@raw {len(held) - 1}@"

    return re.sub(r'"@raw (\d+)@"', lambda match: held[int(match[1])], json.dumps(record, default=placed))


def as_data(record: Any) -> Any:
    """Changed data as the objects that a reader of JSON gives."""
    if isinstance(record, Raw):
        return record.value
    if isinstance(record, dict):
        return {str.__str__(key) if isinstance(key, Again) else key: as_data(value) for key, value in record.items()}
    return [as_data(value) for value in record] if isinstance(record, list | tuple) else record


BYTES = (b"\x00", b"\xff", b"\xc3", b'"', b"[", b"}", b"1e999", b"NaN", b"\n", b"\\u0000")
SIGNS = "()[]{}+-*/^<>=!|,;.'\"\\ \n\t0123456789eExyb_@#$%&~`?:"


def broken_bytes(data: bytes, random: randoms.Random) -> bytes:
    """The bytes of a file, some of which were flipped, cut, repeated or inserted."""
    for _ in range(random.choice((1, 1, 2, 5))):
        at, length = random.randrange(len(data) + 1), random.choice((1, 1, 2, 8, 50))
        kind = random.randrange(6)
        if kind == 0 and at < len(data):
            data = data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
        elif kind == 1:
            data = data[:at] + data[at + length :]
        elif kind == 2:
            data = data[:at] + data[at : at + length] * random.choice((2, 3, 300)) + data[at + length :]
        elif kind == 3:
            data = data[:at] + random.randbytes(length) + data[at:]
        elif kind == 4:
            data = data[:at] + random.choice(BYTES) + data[at:]
        else:
            data = data[:at]
    return data


def broken_text(text: str, random: randoms.Random) -> str:
    """The text with one or two places changed, or with another text in it."""
    for _ in range(random.choice((1, 1, 2))):
        at, length = random.randrange(len(text) + 1), random.choice((0, 0, 1, 1, 3))
        inserted = random.choice(("", random.choice(TEXTS)[:200], random.choice(SIGNS)))
        text = text[:at] + inserted + text[at + length :]
    return text


# -- the answer ------------------------------------------------------------------------------------------------------------


class Refused(str):
    """The message of a refusal."""

    __slots__ = ()


# What Python itself says of a type that it did not expect: true, but it does not say what is wrong with the input.
_PYTHONS = re.compile(
    "Traceback|object has no attribute|positional argument|keyword argument|unhashable|subscriptable|not iterable|to unpack|"
    "index out of range|indices must be|unsupported operand|invalid literal|is not in list|Error:|object at 0x|recursion|NoneType|"
    "must be real number|not supported between|cannot be interpreted"
)


class _TooLong(BaseException):
    """Raised into a call that works too long."""


def answer(call: Callable[[], Any], reads: Collection[str] = ()) -> Any:
    """What a call gives on hostile input: its result, or `Refused`, a ValueError or TypeError in one clear line.

    reads   files that it may open to read, and compile if they are the source of a model

    Raises AssertionError for any other error, an unclear message, more than 2 seconds of work, or something that was executed.
    """
    try:
        with _limited(), _watched(reads) as ran:
            found = call()
    except _TooLong:
        raise AssertionError(f"no answer after {SECONDS:g} seconds") from None
    except (ValueError, TypeError) as error:
        found = Refused(error)
    except BaseException as error:
        raise AssertionError(f"{type(error).__name__} instead of a refusal: {str(error)[:500]}") from error
    assert not ran, f"it did {ran[:5]}"
    if isinstance(found, Refused):
        assert len(found) <= WIDTH, f"a message of {len(found):,} characters: {found[:200]}"
        assert found.isprintable(), f"a message that is not one line of text: {found!r}"
        assert len(found.split()) > 3, f"a message that says nothing: {found}"
        assert not _PYTHONS.search(found), f"Python's own words: {found}"
    return found


_collecting = [0.0, 0.0]  # seconds so far, and when the collection that is at work began


def _count_collection(phase: str, facts: dict[str, int]) -> None:
    if phase == "start":
        _collecting[1] = time.thread_time()
    elif facts["generation"] == 2:
        _collecting[0] += time.thread_time() - _collecting[1]


gc.callbacks.append(_count_collection)


def _own_time() -> float:
    """Seconds of work of this thread, but for looks at all objects of the process: thousands of tests leave millions of them."""
    return time.thread_time() - _collecting[0]


@contextmanager
def _limited() -> Iterator[None]:
    start = _own_time()

    def ended(*_: object) -> None:
        left = start + SECONDS - _own_time()  # the timer counts all of the process
        if left <= 0:
            raise _TooLong
        signal.setitimer(signal.ITIMER_VIRTUAL, max(left, 0.01))

    before = signal.signal(signal.SIGVTALRM, ended)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def memory() -> float:
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# Events of Python's audit that mean that something is executed, or touches what is outside of the process.
_ACTS = re.compile(
    r"exec$|compile$|import$|open$|os\.|subprocess\.|socket\.|ctypes\.|shutil\.|tempfile\.|pickle\.|marshal\.|urllib\.|http\.|ftplib\.|smtplib\.|"
    r"webbrowser\.|fcntl\.|mmap\.|sqlite3\.|pty\.|signal\.|sys\.set|code\.__new__$|function\.__new__$|cpython\.run"
)
_watching: dict[int, tuple[list[str], Collection[str]]] = {}  # by thread: what happened, and which files may be read


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and _ACTS.match(event) and threading.get_ident() in _watching:
        ran, reads = _watching[threading.get_ident()]
        if not _is_allowed(event, arguments, reads):
            ran.append(f"{event} {arguments!r}"[:300])


def _is_allowed(event: str, arguments: tuple[Any, ...], reads: Collection[str]) -> bool:
    if event == "open":  # to read the input itself, or the source of the model: (path, mode, flags)
        return str(arguments[0]) in reads and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    # To change a call in a method of a model, its source is parsed, (text, file name), and compiled to a code object, (tree, None),
    # of which a function is made, (code,). None of that runs it: "exec" would be heard.
    if event == "compile":
        return str(arguments[1]) in reads or (isinstance(arguments[0], ast.Module) and arguments[1] is None and bool(reads))
    return event == "function.__new__" and arguments[0].co_filename in reads


@contextmanager
def _watched(reads: Collection[str]) -> Iterator[list[str]]:
    if "_heard" not in _installed:
        sys.addaudithook(_heard)  # stays as long as the process: a hook cannot be taken away
        _installed.add("_heard")
    ran: list[str] = []
    _watching[threading.get_ident()] = ran, reads
    try:
        yield ran
    finally:
        del _watching[threading.get_ident()]


_installed: set[str] = set()
