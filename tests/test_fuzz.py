"""Whatever a file, a formula or the description of a swap says, the answer is a function or one clear line; nothing in it runs."""

from __future__ import annotations

import io
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from fuzzing import CODE, NAMES, NUMBERS, TEXTS, Refused, answer, as_data, as_json, broken_bytes, broken_text, memory, mutations
from rich.console import Console
from torch import Tensor, nn

import actune
from actune import Activation, Family, Param, parse
from actune.catalogue import files
from actune.catalogue.files import function_record
from actune.catalogue.interval import Closed
from actune.kernels.operators import evaluate
from actune.language.ops import ALIASES, OPS
from actune.show.tables import card_table
from actune.surgery.description import describe_swap, swap_as_described
from actune.surgery.swapping import _planned

RAMP = Family("ramp", parse("clip(x, -a, a)*c0 + c1"), {"a": Param(0.5, Closed(0, 2)), "c": Param((1.0, 0.25), trainable=False)})
FOUND = actune.resolve("max(x*sigmoid(b*x), c*atan(x)); b=1, c=0.5")  # as a search finds them
SAVED = ("relu", "swish", "sau", "apalu", "ml_mish", RAMP, FOUND, "where(x < 0, expm1(x), a*x); a=1")
MEGABYTES = 500  # of memory that all of them may take


@pytest.fixture(scope="module", autouse=True)
def _warm() -> Iterator[None]:
    """All modules that are imported when first needed are there, and the memory does not grow."""
    Activation("swish")(torch.zeros(2))
    before = memory()
    yield
    assert memory() < before + MEGABYTES


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "best.json"


def count_accepted(cases: Iterator[Any], is_accepted: Callable[[Any], bool]) -> tuple[int, int]:
    """(accepted, refused); an input that is not answered as it must be is shown."""
    counts = [0, 0]
    for i, case in enumerate(cases):
        try:
            counts[not is_accepted(case)] += 1
        except BaseException as error:
            error.add_note(f"input {i}: {repr(case)[:1000]}")
            raise
    return counts[0], counts[1]


def assert_works(f: Family, path: Path) -> None:
    """The function gives numbers, or says in a line why not, and is the same when it was saved and loaded."""
    x = torch.tensor([-1.5, 0.0, 2.0], dtype=torch.float64)
    found = answer(lambda: evaluate(f.expr, {"x": x, **dict(f.initial())}))
    assert isinstance(found, Refused) or (found.dtype == x.dtype and (x + found).shape == x.shape)
    actune.save(path, f)
    again = actune.load(path)
    assert (again.expr, list(again.initial())) == (f.expr, list(f.initial()))


# -- files -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", SAVED, ids=str)
def test_files(function: str | Family, path: Path) -> None:
    draw = random.Random(str(function))
    record = function_record(function) | {"facts": {"validation_loss": 0.1}}

    def is_loaded(data: bytes) -> bool:
        path.write_bytes(data)
        found = answer(lambda: actune.load(path), {str(path)})
        if not isinstance(found, Refused):
            assert_works(found, path)
        return not isinstance(found, Refused)

    texts = (as_json(changed).encode("utf-8", "surrogatepass") for changed in mutations(record, draw, 350))
    assert min(count_accepted(texts, is_loaded)) > 20
    whole = as_json(record).encode()
    assert min(count_accepted((broken_bytes(whole, draw) for _ in range(150)), is_loaded)) > 1


def rows(count: int, row: Callable[[int], list[Any]]) -> bytes:
    """A file with a formula of this many nodes over x."""
    return json.dumps(function_record("relu") | {"name": "n", "tree": [["symbol", "x"], *map(row, range(count))]}).encode()


@pytest.mark.parametrize(("content", "said"), [
    (lambda: b"", "is no function"),
    (lambda: b"\x00" * 10_000_001, "more than 10,000,000 bytes"),
    (lambda: b"[" * 9_000_000, "nested too deep"),
    (lambda: b"[" + b"1," * 4_400_000 + b"1]", 'its "actune" is None'),
    (lambda: b"\xef\xbb\xbf{}", "BOM"),
    (lambda: b"\xff\xfe{\x00}\x00", "can't decode byte 0xff"),
    (lambda: rows(40_000, lambda i: ["add", i, i]), "more than 1,000,000 nodes"),
    (lambda: rows(120_000, lambda i: ["sin", i]), "100,000 nodes"),
    (lambda: rows(10, lambda i: ["mittag_leffler", i]), "takes 3 arguments, got 1"),
    (lambda: rows(10, lambda i: ["__import__", i]), "unknown function '__import__'"),
    (lambda: rows(1, lambda i: ["const", 10**400]), "a constant must be a finite number, got an integer of 1,329 bits"),
    (lambda: rows(1, lambda i: ["const", "1"]), "a constant must be a finite number, got '1'"),
    (lambda: rows(1, lambda i: ["sin", False]), "must be the index of an earlier node"),
])  # fmt: skip
def test_hostile_files(content: Callable[[], bytes], said: str, path: Path) -> None:
    path.write_bytes(content())
    found = answer(lambda: actune.load(path), {str(path)})
    assert isinstance(found, Refused)
    assert said in found


def test_what_is_no_file(tmp_path: Path) -> None:
    places = (tmp_path, tmp_path / "missing", "a\0b", "a\nb\x1b[31m", "a" * 10_000, "/dev/zero", "", 3, None, b"best.json")
    for place in places:
        assert isinstance(answer(lambda: actune.load(place), {str(place), "."}), Refused)  # noqa: B023


def test_large_formulas_take_no_more_memory_than_they_must(path: Path) -> None:
    """One of 40,000 nodes, each in the next: all texts of its parts would be gigabytes."""
    path.write_bytes(rows(40_000, lambda i: ["sin", i]))
    f = answer(lambda: actune.load(path), {str(path)})
    assert len(answer(lambda: str(f))) == 40_000 * 5 + 1


# -- cards of models -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", [RAMP, FOUND, "swish"], ids=str)
def test_cards(act: str | Family, path: Path) -> None:
    draw, model = random.Random(f"card of {act}"), Small()
    actune.swap(model, act, scope="channel", where="body.1", example=torch.zeros(2, 3))
    made = actune.card(model, torch.randn(9, 3))
    made.save(path)
    assert actune.read_card(path) == made  # the first reading evaluates the annotations of the classes
    record = json.loads(json.dumps(made.to_json()))

    def is_read(data: bytes) -> bool:
        path.write_bytes(data)
        found = answer(lambda: actune.read_card(path), {str(path)})
        if not isinstance(found, Refused):
            found.save(path)
            assert actune.read_card(path) == found
            Console(file=(printed := io.StringIO()), width=200).print(card_table(found))
            assert printed.getvalue().replace("\n", "").isprintable()
        return not isinstance(found, Refused)

    texts = (as_json(changed).encode("utf-8", "surrogatepass") for changed in mutations(record, draw, 500))
    assert min(count_accepted(texts, is_read)) > 20
    assert min(count_accepted((broken_bytes(as_json(record).encode(), draw) for _ in range(150)), is_read)) > 1


# -- formulas --------------------------------------------------------------------------------------------------------------


TOKENS = (
    *OPS, *ALIASES, *"+-*/^(),|<>;=", "**", "<=", "!=", "x", "x", "b", "1", "0.5", "1e400", "1e-400", ".", "; b=", "; b=1,", *CODE,
    *NAMES, *TEXTS[:12],
)  # fmt: skip


def soup(draw: random.Random) -> str:
    return draw.choice(("", " ")).join(draw.choice(TOKENS) for _ in range(draw.choice((1, 2, 5, 12, 40))))


def broken_formula(draw: random.Random) -> str:
    return broken_text(actune.family(draw.choice(actune.list_families())).text, draw)


def broken_values(draw: random.Random) -> str:
    names, equals, values = ("b", "c", "beta", *NAMES), ("=", "=", " = ", ":=", "=="), (*map(str, NUMBERS[:10]), *TEXTS[:30])
    given = ("".join(map(draw.choice, (names, equals, values))) for _ in range(draw.randrange(4)))
    return draw.choice(("swish", "x*b + c", "relu")) + draw.choice((";", "; ", ";;")) + ", ".join(given)


def nested(draw: random.Random) -> str:
    """A formula that is too deep, too long, or nearly so."""
    inner = draw.choice(("x", "b", "1", "", "x^2", "relu(x)"))
    around = (("(", ")"), ("-", ""), ("exp(", ")"), ("x^", ""), ("|", "|"), ("x+", ""), ("max(", ",1)"), ("10**", ""))
    (before, after), n = draw.choice(around), draw.choice((1, 5, 90, 99, 101, 1000, 10_000, 100_000))
    return before * n + inner + after * draw.choice((n, n, n - 1, 0))


@pytest.mark.parametrize(("draw_text", "count"), [(soup, 1200), (broken_formula, 1800), (broken_values, 700), (nested, 300)])
def test_formulas(draw_text: Callable[[random.Random], str], count: int, path: Path) -> None:
    draw = random.Random(draw_text.__name__)

    def is_read(text: str) -> bool:
        found = answer(lambda: actune.resolve(text))
        read, module = answer(lambda: parse(text)), answer(lambda: Activation(text))
        if isinstance(found, Refused):
            assert isinstance(module, Refused)
            return False
        assert isinstance(read, Refused) or read.symbols() is not None
        assert_works(found, path)
        return True

    assert min(count_accepted((draw_text(draw) for _ in range(count)), is_read)) > 3


@pytest.mark.parametrize("text", [
    *CODE, "lambda x: x", "x.real", "f'{x}'", "(y := 1)", "[x for x in x]", "x if x else x", "x and x", "x[0]", "x = 1", "await x",
    "*x", "x @ x", "x\0", "ｘ + 1", "х + x", "x²", "x # comment", "x\\\n+1", "0x10*x", "1j*x", "x; b=eval('1')",
    "x*b; b=__import__('os')", "x; __class__=1", "x*b; b=0x10", "x*b; b=1, b=2", "x*__class__",
])  # fmt: skip
def test_code_is_no_formula(text: str) -> None:
    assert isinstance(answer(lambda: actune.resolve(text)), Refused)
    assert isinstance(answer(lambda: Activation(text)), Refused)


@pytest.mark.parametrize(
    "text", ["x**10**10**10", "10^10^10^10", "x^1e308^1e308", "mittag_leffler(x, 1e300, 1e-300)", "x^b; b=1e308"]
)
def test_huge_numbers_are_read_and_not_computed(text: str, path: Path) -> None:
    assert_works(answer(lambda: actune.resolve(text)), path)


# -- descriptions of swaps -------------------------------------------------------------------------------------------------


class Small(nn.Module):
    """A model with each kind of place: a module, an attribute that holds a function, a call."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4))
        self.function = F.silu
        self.last = nn.Linear(4, 2)

    @property
    def trap(self) -> None:
        os.system("true")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(F.gelu(self.function(self.body(x))))
        return y


def description_of(act: str | Family) -> dict[str, Any]:
    model = Small()
    made = _planned(model, act, None, torch.zeros(2, 3), "channel", False, False)
    found: dict[str, Any] = json.loads(json.dumps(describe_swap(model, made.changes, made.classes)))
    return found


def state(model: nn.Module) -> Any:
    """All that a swap can change: classes, modules, functions, bits."""
    held = [(name, m, type(m), {k: v for k, v in vars(m).items() if not k.startswith("_")}) for name, m in model.named_modules()]
    return held, {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}


def is_swapped(description: Any, path: Path, models: list[nn.Module]) -> bool:
    """Whether the last model was swapped; if not, it must be as it was, else it must run, and a new one follows it."""
    model = models[-1]
    before = state(model)
    found = answer(lambda: swap_as_described(model, description), {__file__})
    if isinstance(found, Refused):
        assert state(model) == before
        return False
    models.append(Small())
    try:
        found = model(torch.zeros(2, 3)).shape
    except ValueError as error:  # the channels are in another dimension, or more of them
        found = str(error)
    assert found == (2, 2) or "the input of shape (2, " in found
    for module in model.modules():
        if isinstance(module, Activation):
            assert_works(module.family, path)
    return True


@pytest.mark.parametrize("act", [RAMP, FOUND, "swish", "relu"], ids=str)
def test_descriptions(act: str | Family, path: Path) -> None:
    record, models = description_of(act), [Small()]
    assert is_swapped(record, path, models)
    changed = map(as_data, mutations(record, random.Random(str(act)), 500))
    assert min(count_accepted(changed, lambda description: is_swapped(description, path, models))) > 10


@pytest.mark.parametrize(("change", "said"), [
    (lambda d: d["places"][0].update(names=["trap"]), "'trap' is no place for a module"),
    (lambda d: d["places"][0].update(names=["forward"]), "'forward' is no place"),
    (lambda d: d["places"][0].update(names=["_modules"]), "'_modules' is no place"),
    (lambda d: d["places"][0].update(names=["last.weight"]), "'last.weight' is no place"),
    (lambda d: d["places"][0].update(names=[""]), "'' is no place"),
    (lambda d: d["places"][0].update(names=[]), "a place has no names"),
    (lambda d: d["places"][0].update(names=["nothing.act"]), "it has no module 'nothing'"),
    (lambda d: d["places"][0].update(channels=10**12), "too many"),
    (lambda d: d["places"][0].update(channels="4"), "must be a whole number, got '4'"),
    (lambda d: d["places"][0].update(dim=10**9), "'dim' must be that of a tensor"),
    (lambda d: d["places"][0]["learns"].update(a="yes"), "must be true or false, got 'yes'"),
    (lambda d: d["methods"][""][0][2][0].__setitem__(3, "share_memory"), "no module was put there"),
    (lambda d: d["methods"][""][0].__setitem__(0, "trap"), "no method 'trap'"),
    (lambda d: d["methods"][""][0].__setitem__(1, "0" * 16), "another source"),
    (lambda d: d.update(opaque=["body.1: Sequential"]), "is no formula"),
    (lambda d: d.update(format=2), "is not in format 1"),
    (lambda d: d.update(places={}), "'places' must be a list, got {}"),
])  # fmt: skip
def test_hostile_descriptions(change: Callable[[Any], Any], said: str) -> None:
    description, model = description_of(RAMP), Small()
    change(description)
    before = state(model)
    found = answer(lambda: swap_as_described(model, description), {__file__})
    assert isinstance(found, Refused)
    assert said in found
    assert state(model) == before


# -- the check itself --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("break_it", "said"), [
    (lambda record: eval("1"), "it did"),
    (lambda record: compile(str(record["name"]), "", "eval"), "it did"),
    (lambda record: os.system("true"), "it did"),
    (lambda record: open(os.devnull, "w").close(), "it did"),
    (lambda record: open(os.devnull).close(), "it did"),
    (lambda record: record["nothing"], "KeyError"),
    (lambda record: [] * 10**30, "OverflowError"),
    (lambda record: json.loads("[" * 100_000), "RecursionError"),
    (lambda record: [None for _ in iter(int, 1)], "no answer"),
    (lambda record: ["a"].index("b"), "Python's own words"),
    (lambda record: torch.zeros(2).reshape(3), "RuntimeError"),
    (lambda record: (1).real.nothing, "AttributeError"),
    (lambda record: record + 1, "Python's own words"),
])  # fmt: skip
def test_the_check_notices(break_it: Callable[[Any], Any], said: str, path: Path) -> None:
    actune.save(path, "swish")
    broken = mock.patch.object(files, "function_of_record", lambda record, what: break_it(record))
    with broken, pytest.raises(AssertionError, match=said):
        answer(lambda: actune.load(path), {str(path)})
