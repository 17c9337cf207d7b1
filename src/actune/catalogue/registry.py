"""Family: a formula with its parameters, its source and what is known of it; declared, looked up by name, or typed in.

    @declare(paper="arXiv:1710.05941", beta=Param(1.0))
    def swish(x, beta):
        '''The input, gated by a sigmoid of itself.'''
        return x * sigmoid(beta * x)

Declaring a family checks it, and makes `swish(x)` a function of the language with the parameters at their initial values.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import constraints, transform_to

from ..language.exact import folded, latex, value
from ..language.expr import Expr, FormulaError, apply, number, symbol, to_text
from ..language.ops import ALIASES, OPS, Op
from ..language.parser import MAX_CHARACTERS, parse
from ..messages import shorten, shown, suggestion
from ..tensors import Array
from .interval import Mirrored

__all__ = ["FAMILIES", "ArrayMap", "Family", "OnnxOperator", "Param", "declare", "family", "list_families", "resolve"]

ArrayMap = Callable[[Array], tuple[Array, Array]]
real, positive, nonnegative = constraints.real, constraints.positive, constraints.nonnegative


# -- what a family is ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Param:
    """A parameter of a family.

    init        initial value; a tuple for a vector
    constraint  the set of numbers that it stays in, one of `torch.distributions.constraints`
    trainable   whether it is trained unless the user says otherwise
    """

    init: float | tuple[float, ...]
    constraint: Any = real
    trainable: bool = True

    def __post_init__(self) -> None:
        try:
            numbers = tuple(map(float, self.init)) if isinstance(self.init, tuple) else float(self.init)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"an initial value must be a number or a tuple of numbers, got {shown(self.init)}") from None
        object.__setattr__(self, "init", numbers)
        given = self._numbers()
        if given.numel() == 0 or not bool(given.isfinite().all()):
            raise ValueError(f"an initial value must be a finite number, or at least one in a tuple, got {shown(self.init)}")
        if not bool(self.constraint.check(given).all()):
            raise ValueError(f"initial value {shown(self.init)} is outside its constraint {self.constraint}; choose one inside")
        try:  # between limits such as -1e308 and 1e308, or two that are one, no number is kept
            is_kept = self.constraint is real or torch.allclose(self.value(self.stored()), given, 1e-3, 1e-6)
        except NotImplementedError:
            raise ValueError(f"the constraint {self.constraint} is of no parameter that learns; take one of real numbers") from None
        if not is_kept:
            raise ValueError(f"initial value {shown(self.init)} is lost in its constraint {self.constraint}; choose other limits")

    def symbols(self, name: str) -> tuple[str, ...]:
        """The symbols of a parameter of this name in a formula: the name itself, or for a vector `a0`, `a1`, …"""
        return tuple(f"{name}{i}" for i in range(len(self.init))) if isinstance(self.init, tuple) else (name,)

    def stored(self) -> Tensor:
        """The initial value in the unconstrained form in which a module stores it, in float64."""
        return transform_to(self.constraint).inv(self._numbers())

    def _numbers(self) -> Tensor:
        """The initial value on the CPU, also where tensors are otherwise made without values, under torch.device("meta")."""
        return torch.tensor(self.init, dtype=torch.float64, device="cpu")

    def value(self, stored: Tensor) -> Tensor:
        """The value inside the constraint, from the stored form. A positive one stays positive and finite for any stored number."""
        if self.constraint is real:
            return stored
        return _limited(stored).exp() if self.constraint is positive else transform_to(self.constraint)(stored)

    def slope(self, stored: Tensor, value: Tensor) -> Tensor:
        """The derivative of the value with respect to the stored form."""
        if self.constraint is real:
            return torch.ones_like(stored)
        if self.constraint is positive:
            return value * (_limited(stored) == stored)
        transform = transform_to(self.constraint)
        if isinstance(transform, Mirrored):
            return transform.slope(stored)
        found: Tensor = transform.sign * transform.log_abs_det_jacobian(stored, value).exp()  # that of an upper bound falls
        return found

    def number_map(self, dtype: torch.dtype) -> Callable[[float], tuple[float, float]] | None:
        """`value` and `slope` of single numbers stored in this dtype, as a function of floats; None where it takes tensors."""
        if self.constraint is real:
            return _itself
        return functools.partial(_exponential, *_limits(dtype)) if self.constraint is positive else None

    def array_map(self) -> ArrayMap | None:
        """`value` and `slope` of numbers in NumPy's memory; None where it takes tensors."""
        return _themselves if self.constraint is real else _exponentials if self.constraint is positive else None


def _itself(stored: float) -> tuple[float, float]:
    return stored, 1.0


def _exponential(low: float, high: float, stored: float) -> tuple[float, float]:
    """`Param.value` and `slope` of a positive parameter."""
    value = math.exp(min(max(stored, low), high))
    return value, value * (low <= stored <= high)


def _themselves(stored: Array) -> tuple[Array, Array]:
    return stored, np.ones(stored.shape)


def _exponentials(stored: Array) -> tuple[Array, Array]:
    """`_exponential` of many, in their dtype."""
    limited = stored.clip(*_limits(torch.float64 if stored.itemsize == 8 else torch.float32))
    value = np.exp(limited)
    return value, value * (limited == stored)


def _limits(dtype: torch.dtype) -> tuple[float, float]:
    """The logarithms of the smallest and the largest positive value."""
    limits = torch.finfo(dtype)
    return 0.999 * math.log(limits.tiny), 0.999 * math.log(limits.max)


def _limited(stored: Tensor) -> Tensor:
    return stored.clamp(*_limits(stored.dtype))


@dataclass(frozen=True)
class OnnxOperator:
    """An operator of ONNX that computes a family: `OnnxOperator("Elu", learned={"alpha": "alpha"})`.

    name     as ONNX spells it
    fixed    attributes with their values: numbers or text
    learned  attributes with the name of the parameter that gives their value; it suits if that is one number for all elements
    input    the parameter that it takes as a tensor beside x, or None
    """

    name: str
    fixed: Mapping[str, float | str] = field(default_factory=dict)
    learned: Mapping[str, str] = field(default_factory=dict)
    input: str | None = None


@dataclass(frozen=True, eq=False)
class Family:
    """An activation function: a formula over `x` and named parameters, with where it comes from and what is known of it.

    expr          the formula; a vector parameter `a` appears as `a0`, `a1`, …
    params        name -> Param
    paper         where it was published
    summary       one line
    reference     torch's own function at the initial values, or None
    odd, even, monotone   facts at the initial values; monotone means never decreasing
    bounds        (lowest, highest) value, None where there is none
    kinks         points where the function or its slope jumps
    joints        points where only a derivative of second or higher order jumps
    continuous    False if the function itself jumps at a kink
    reported      the formula is taken from a second-hand source
    initial_form  an equal formula without parameters at the initial values: `tanh(x)`; used while no parameter moves
    onnx          operators of ONNX that compute it in float32, of which a file gets the first that suits; else it has the formula
    sweep         (parameter, values) that show the range of the family best; for plots
    notes         what a user should know: fit errors, deviations from the paper
    """

    name: str
    expr: Expr
    params: Mapping[str, Param] = field(default_factory=dict)
    paper: str = ""
    summary: str = ""
    reference: Callable[[Tensor], Tensor] | None = None
    aliases: tuple[str, ...] = ()
    odd: bool = False
    even: bool = False
    monotone: bool = False
    bounds: tuple[float | None, float | None] = (None, None)
    kinks: tuple[float, ...] = ()
    joints: tuple[float, ...] = ()
    continuous: bool = True
    reported: bool = False
    initial_form: Expr | None = None
    onnx: tuple[OnnxOperator, ...] = ()
    sweep: tuple[str, tuple[float, ...]] | None = None
    notes: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", MappingProxyType(dict(self.params)))
        values = [name for name, _ in self.initial()]
        names, called = set(values), shorten(self.name)
        if len(names) < len(values):
            twice = next(name for name in values if values.count(name) > 1)
            raise ValueError(f"{called}: {twice} is the symbol of two parameters; rename one")
        if "x" in names:
            raise ValueError(f"{called}: x is the input and cannot be a parameter; rename it")
        symbols = set(self.expr.symbols())
        free = symbols - names - {"x"}
        if free:
            given = shorten(", ".join(f"{name}=1.0" for name in sorted(free)))
            raise FormulaError(f"{called}: no initial value for {_names(sorted(free))}; give one ({given}); the input is x")
        if names - symbols:
            unused, formula = _names(sorted(names - symbols)), shorten(to_text(self.expr))
            raise FormulaError(f"{called}: the parameter {unused} does not occur in the formula {formula}; drop it")
        if self.initial_form is not None and set(self.initial_form.symbols()) - {"x"}:
            raise FormulaError(
                f"{self.name}: the initial form {self.initial_form} must have no symbol but x; write the initial values out"
            )

    def initial(self) -> Iterator[tuple[str, float]]:
        """Each symbol of the formula except `x`, with its initial value; the entries of a vector one by one."""
        for name, p in self.params.items():
            yield from zip(p.symbols(name), p.init if isinstance(p.init, tuple) else (p.init,), strict=True)

    @property
    def is_declared(self) -> bool:
        """Whether the catalogue has this very family under its name, so that the name alone identifies it."""
        return FAMILIES.get(self.name) is self

    @property
    def text(self) -> str:
        """The formula and its initial values as text that `resolve` reads: `x*sigmoid(b*x); b=1`. Constraints are not in it."""
        values = ", ".join(f"{name}={number(v)}" for name, v in self.initial())
        return f"{self.expr}; {values}" if values else str(self.expr)

    def with_initial(self, **values: float | tuple[float, ...]) -> Family:
        """A copy of the family with these initial values."""
        if not values:
            return self
        called = shorten(self.name)
        for name, v in values.items():
            if name not in self.params:
                raise ValueError(
                    f"{called} has no parameter {shown(name)}{suggestion(name, self.params)} (it has {_names(self.params)})"
                )
            if isinstance(v, tuple) != isinstance(self.params[name].init, tuple) or (
                isinstance(v, tuple) and len(v) != len(self.params[name].init)  # type: ignore[arg-type]
            ):
                default = shown(self.params[name].init)
                raise ValueError(f"{called}: {shorten(name)}={shown(v)} must have the form of its default, {default}")
        params = {name: replace(p, init=values.get(name, p.init)) for name, p in self.params.items()}
        # Facts, the reference and the initial form hold at the declared values only.
        return replace(
            self, params=params, reference=None, odd=False, even=False, monotone=False, bounds=(None, None), initial_form=None
        )

    def simplify(self) -> Family:
        """A family of the same function, without what does nothing (`x*1`) and with constant parts as numbers (`sigmoid(0)`: 0.5).

        A family of the catalogue stays as it is.
        """
        if self.is_declared:
            return self
        e = folded(self.expr, digits=3).simplify()
        params = {name: p for name, p in self.params.items() if isinstance(p.init, tuple) or name in e.symbols()}
        return replace(self, name=to_text(e), expr=e, params=params)

    def latex(self) -> str:
        """The formula in LaTeX."""
        return latex(self.expr)

    def __call__(self, x: Any) -> Expr:
        """The formula of this function at x, with parameters at their initial values: `gelu(x) + 0.1*sin(x)`."""
        if self.is_declared:
            return apply(self.name, x)
        return self.at_initial().substitute({"x": x})

    def at_initial(self) -> Expr:
        """The formula over `x` alone that results from the initial values; the initial form if there is one."""
        return self.expr.substitute(dict(self.initial())) if self.initial_form is None else self.initial_form

    def __str__(self) -> str:
        return self.name if self.is_declared else self.text

    def __repr__(self) -> str:
        return f"Family({self.name}: {self.text})"

    def __reduce__(self) -> tuple[Any, ...]:
        if self.is_declared:
            return family, (self.name,)
        state = {k: v for k, v in self.__dict__.items() if k not in ("params", "reference")}
        return _rebuild, (state, dict(self.params))

    def __deepcopy__(self, memo: dict[int, Any]) -> Family:
        return self


def _rebuild(state: dict[str, Any], params: dict[str, Param]) -> Family:
    return Family(**state, params=params)


# -- declaring -----------------------------------------------------------------------------------------------------------

FAMILIES: dict[str, Family] = {}


def declare(*, paper: str, notes: str = "", **declared: Any) -> Callable[[Callable[..., Any]], Family]:
    """Register the decorated formula under its name; the arguments after `x` are its parameters, in order.

    Keywords that are `Param` declare parameters, all others are facts of `Family`; `initial_form` may be text.
    """
    params = {k: v for k, v in declared.items() if isinstance(v, Param)}
    facts = {k: v for k, v in declared.items() if not isinstance(v, Param)}
    if isinstance(facts.get("initial_form"), str):
        facts["initial_form"] = parse(facts["initial_form"])

    def register(formula: Callable[..., Any]) -> Family:
        name = formula.__name__
        wanted = list(inspect.signature(formula).parameters)
        if wanted != ["x", *params]:
            raise TypeError(f"{name}: the formula takes {wanted}, the declaration has {['x', *params]}; make them agree")
        _check_free(name, facts.get("aliases", ()), params)
        e = formula(symbol("x"), *(_arguments(n, p) for n, p in params.items()))
        found = Family(name, e, params, paper, (inspect.getdoc(formula) or "").strip(), notes=notes, **facts)
        _check(found)
        FAMILIES[name] = found
        _define(found)
        return found

    return register


def _check_free(name: str, aliases: tuple[str, ...], params: Mapping[str, Param]) -> None:
    """Refuse a name that would change what existing formulas mean, as the name of a function or of a parameter."""
    used = {"x", *"abcdef"} | {n for f in FAMILIES.values() for n in (*f.params, *dict(f.initial()))}
    for new in (name, *aliases):
        if new in FAMILIES or new in ALIASES or (new in OPS and (new != name or OPS[new].arity != 1)):
            raise ValueError(f"{new} is declared twice; choose another name")
        if new in used or not new.isidentifier():
            raise ValueError(f"{new!r} cannot name a function: it is the input, a parameter of another function, or no identifier")
    taken = [p for p in params if p in OPS or p in ALIASES]
    if taken:
        raise ValueError(f"{name}: the parameter {taken[0]!r} has the name of a function; rename it")


def _arguments(name: str, p: Param) -> Any:
    return tuple(map(symbol, p.symbols(name))) if isinstance(p.init, tuple) else symbol(name)


def _check(f: Family) -> None:
    """Refuse a declaration without a summary or with a value that is not finite: here, not in a user's training."""
    if not f.summary:
        raise ValueError(f"{f.name}: no docstring; its first line is the summary")
    for x in (-1.25, 0.0, 0.75):
        y = value(f.expr, {"x": x, **dict(f.initial())})
        if not math.isfinite(y):
            raise ValueError(
                f"{f.name}: the value at x={x} and the initial parameters is {y}; mend the formula or the initial values"
            )
    if f.sweep is not None:
        for v in f.sweep[1]:
            f.with_initial(**{f.sweep[0]: v})


def _define(f: Family) -> None:
    """Make the family a function of the language, unless a primitive has its name."""
    if f.name not in OPS:
        definition = f.at_initial().substitute({"x": symbol("a")})
        OPS[f.name] = Op(f.name, 1, definition=definition, show=f.name.replace("_", " "))
    for alias in f.aliases:
        ALIASES[alias] = f.name


# -- looking up ----------------------------------------------------------------------------------------------------------


def list_families() -> list[str]:
    """The names of all families, sorted."""
    return sorted(FAMILIES)


def family(name: str) -> Family:
    """The family of this name or alias (`silu` and `swish1` are one).

    Raises ValueError for an unknown name, with the nearest known one.
    """
    if not isinstance(name, str):
        raise ValueError(f"the name of a family must be text, got {type(name).__name__}")
    known = {spelling.casefold(): spelling for spelling in (*FAMILIES, *(a for a, target in ALIASES.items() if target in FAMILIES))}
    found = known.get(name.casefold())  # ReLU and GELU are how torch spells them
    if found is None:
        near = suggestion(name.casefold(), known) or "; `actune list` shows all"
        raise ValueError(
            f"unknown activation function {shown(name)}{near}"
            + (f"; a formula has x in it: {name}(x)" * (name in OPS))
            + ("; resolve(…) reads a formula" * (not name.isidentifier()))
        )
    return FAMILIES[ALIASES.get(found, found)]


def resolve(spec: str | Family | Expr, **initial: Any) -> Family:
    """The family that `spec` stands for: a Family, a name or alias, or a formula, as text `"x*sigmoid(b*x); b=1"` or as an Expr.

    initial   initial values of parameters, in place of those declared or written after the semicolon
    Raises ValueError in one line for an unknown name, a formula that cannot be read, or a parameter without a value.
    """
    if isinstance(spec, Family):
        return spec.with_initial(**initial)
    if isinstance(spec, Expr):
        return _formula(spec, initial)
    if not isinstance(spec, str):
        raise ValueError(f"an activation must be a name, a formula or a Family, got {_refused(spec)}")
    text, _, values = spec.partition(";")
    name = ALIASES.get(text.strip(), text.strip())
    if name.isidentifier() and name not in ("x", "pi"):
        return family(name).with_initial(**{**_read_values(values), **initial})
    return _formula(parse(text), {**_read_values(values), **initial})


def _refused(spec: Any) -> str:
    """What was given instead of a function, and where it is torch's own, such as `nn.ReLU` or `torch.tanh`, how to name it."""
    kind = type(spec).__name__
    spellings = (str(getattr(spec, "__name__", kind)), kind)
    near = next((f"; write {s.lower()!r}" for s in spellings if s.lower() in FAMILIES or ALIASES.get(s.lower()) in FAMILIES), "")
    return f"{'the class ' if isinstance(spec, type) else ''}{shorten(spellings[0])}{near}"


def _formula(e: Expr, given: Mapping[str, Any]) -> Family:
    unknown = set(given) - set(e.symbols())
    if unknown:
        raise ValueError(f"the formula {shown(to_text(e))} has no parameter {_names(sorted(unknown))} (it has {_names(_free(e))})")
    return Family(to_text(e), e, {n: Param(given[n]) for n in _free(e) if n in given})


def _free(e: Expr) -> list[str]:
    return [s for s in e.symbols() if s != "x"]


def _names(names: Any) -> str:
    return shorten(", ".join(names), 100) or "none"


def _read_values(text: str) -> dict[str, float]:
    """The initial values in a text such as `b=1, c=0.5`."""
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"the initial values after ';' may have {MAX_CHARACTERS:,} characters, these have {len(text):,}")
    found: dict[str, float] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, _, number = (p.strip() for p in part.partition("="))
        if name in found:
            raise ValueError(f"{shown(name)} has two initial values after ';'; leave one out")
        try:
            found[name] = float(number)
        except ValueError:
            raise ValueError(f"cannot read the initial value {shown(part)} after ';'; write it as b=1.0") from None
        if not math.isfinite(found[name]) or not name.isidentifier():
            raise ValueError(f"the initial value {shown(part)} after ';' needs a name and a finite number, such as b=1.0")
    return found
