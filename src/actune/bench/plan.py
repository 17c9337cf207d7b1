"""What is measured: which functions, on which tensors, beside what."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from ..catalogue.registry import resolve
from ..messages import suggestion
from ..module import SCOPES
from .contenders import Tensors

__all__ = ["BESIDE", "DTYPES", "EXAMPLES", "Plan", "from_text"]

DTYPES = ("float32", "bfloat16", "float16", "float64")
BESIDE = ("torch", "eager", "torch.compile", "peers")
EXAMPLES = ("mish", "prelu", "apalu", "sau", "rational", "a*max(x*sigmoid(b*x), c*atan(d*x)); a=1, b=1, c=0.5, d=1")
MOST_ELEMENTS = 2**33  # elements; a slip of the keyboard is not tried


@dataclass(frozen=True)
class Plan:
    """A measurement, checked when it is made; whatever is wrong is a ValueError of one line.

    functions   names of families, or formulas
    sizes, dtypes, scopes, threads   every combination of them is measured
    beside      what each function is compared with besides GELU, any of BESIDE
    rounds      the most that are made; large tensors get fewer
    train_all   whether parameters that a family keeps fixed get gradients too
    """

    functions: tuple[str, ...] = EXAMPLES
    sizes: tuple[int, ...] = (1_000_000,)
    dtypes: tuple[str, ...] = ("float32",)
    scopes: tuple[str, ...] = ("layer",)
    threads: tuple[int, ...] = (1,)
    beside: tuple[str, ...] = BESIDE
    rounds: int = 21
    train_all: bool = False
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("functions", "sizes", "dtypes", "scopes", "threads"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty; name at least one")
        for function in self.functions:
            resolve(function)
        for name, known in (("dtypes", DTYPES), ("scopes", SCOPES), ("beside", BESIDE)):
            for given in getattr(self, name):
                if given not in known:
                    raise ValueError(f"{name} must be of {', '.join(known)}, got {given!r}{suggestion(str(given), known)}")
        for name, most in (("sizes", MOST_ELEMENTS), ("threads", 1024), ("rounds", 10_000)):
            for number in (self.rounds,) if name == "rounds" else getattr(self, name):
                if not isinstance(number, int) or not 1 <= number <= most:
                    raise ValueError(f"{name} must be whole numbers from 1 to {most:,}, got {number!r}")
        if not len(self):
            raise ValueError(
                f"scopes={self.scopes} say who shares a parameter, and {', '.join(self.functions)} have none; use 'layer'"
            )

    def steps(self) -> Iterator[tuple[Tensors, tuple[str, ...]]]:
        """Every kind of tensor with the functions to apply to it; a function without parameters has only the scope "layer"."""
        parted = tuple(f for f in self.functions if resolve(f).params)
        for threads, dtype, scope, size in product(self.threads, self.dtypes, self.scopes, self.sizes):
            functions = self.functions if scope == "layer" else parted
            if functions:
                yield Tensors(size, dtype, scope, threads, self.device), functions

    def __len__(self) -> int:
        """The number of steps: for each kind of tensor one with torch's own functions, and one per function."""
        return sum(len(functions) + ("torch" in self.beside) for _, functions in self.steps())


def from_text(**given: Any) -> Plan:
    """A plan from text that people type, where 1e4,1e6 is a list."""
    lists = {name: _listed(given[name]) for name in ("sizes", "dtypes", "scopes", "threads")}
    numbers = {name: tuple(_whole(name, part) for part in lists[name]) for name in ("sizes", "threads")}
    return Plan(**given | lists | numbers)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _whole(name: str, text: str) -> int:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number.is_integer():
        raise ValueError(f"{name}: cannot read the whole number {text!r}; write it as 1e6 or 1000000")
    return int(number)
