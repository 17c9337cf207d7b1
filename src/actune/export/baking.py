"""Costly functions in a form of few operators, once their parameters are constants: `bake`, and `export` where it must.

A trained Mittag-Leffler function is thousands of operators, by an integral in the complex plane; C has no Bessel functions.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..catalogue.registry import Family, resolve
from ..language.ops import OPS
from ..module import Activation
from .fitting import FittedFormula, fitted_formula
from .frozen import FrozenFunction, frozen_activation, frozen_family
from .lines import operators_of

__all__ = ["TOLERANCE", "bake", "baked_function", "baked_model", "check_tolerance", "is_costly"]

TOLERANCE = 1e-6  # the error over max(1, |value|) that baking may make
_NOTES = "Baked as {form}: on float32 numbers of every size the error is at most {error:.1e} of max(1, |value|)."


def is_costly(op: str) -> bool:
    """Whether an operator has to be computed in float64, by an integral: a Mittag-Leffler function."""
    return OPS[op].float64


def bake(what: Any, tolerance: float = TOLERANCE) -> Any:
    """A function, or a copy of a model, in which each Mittag-Leffler function has become a formula of few operators.

    what       a name, a formula or a Family: the answer is a Family; a module: the answer is a module
    tolerance  the largest error over max(1, |value|) that is allowed, tried on 105,000 float32 numbers of every size;
               `family.notes` says what it is

    Parameters of what is baked become constants. Functions that are cheap stay as they are, and go on learning. A multiple of a
    known function is found as that; else polynomials are fitted. Raises ValueError in one line where no form is near enough.
    """
    check_tolerance(tolerance)
    if isinstance(what, nn.Module):
        return baked_model(what, is_costly, tolerance)[0]
    family = resolve(what)
    frozen = frozen_family(family)
    found = _fitted(frozen, is_costly, tolerance)
    return family if found is None else _baked_family(family, found)


def check_tolerance(tolerance: Any) -> None:
    """Refuse what is no error that a function in float32 can have."""
    if not isinstance(tolerance, int | float) or not 1e-8 <= tolerance <= 1:
        raise ValueError(f"tolerance must be a number from 1e-8 to 1, got {tolerance!r}; float32 has 6e-8")


def baked_function(f: FrozenFunction, lacks: Callable[[str], bool], tolerance: float) -> FrozenFunction:
    """The function itself, or a form of it without the operators that a language lacks."""
    found = _fitted(f, lacks, tolerance)
    if found is None:
        return f
    return replace(f, e=found.e, error=found.error, title=f"{f.title}. {_notes(found)}".rstrip("."))


def baked_model(model: nn.Module, lacks: Callable[[str], bool], tolerance: float) -> tuple[nn.Module, dict[str, float]]:
    """(model, errors): a copy in which activations are baked that need operators which a language lacks; errors by place.

    The model itself where none does.
    """
    replaced: dict[int, Any] = {}
    errors: dict[str, float] = {}
    for place, act in model.named_modules():
        if isinstance(act, Activation) and not any(nn.parameter.is_lazy(p) for p in act.parameters()):
            found = _fitted(frozen_activation(act, place or "the activation"), lacks, tolerance)
            if found is not None:
                replaced[id(act)] = Activation(_baked_family(act.family, found)).train(act.training)
                errors[place or "activation"] = found.error
    # What deepcopy finds in its memo it takes for the copy, wherever the activation occurs.
    return (copy.deepcopy(model, replaced) if replaced else model), errors


def _fitted(f: FrozenFunction, lacks: Callable[[str], bool], tolerance: float) -> FittedFormula | None:
    """The form to take; None if the formula has no operator that is lacking."""
    missing = sorted(filter(lacks, operators_of(f.e)))
    if not missing:
        return None
    if f.arrays:
        raise ValueError(f"{f.name} needs {missing[0]}, and its {', '.join(f.arrays)} differs along the input, so that it cannot "
                         "be baked; take scope='layer'")  # fmt: skip
    with torch.no_grad():
        return fitted_formula(f.e, float(tolerance))


def _notes(found: FittedFormula) -> str:
    return _NOTES.format(form=found.form, error=found.error)


def _baked_family(f: Family, found: FittedFormula) -> Family:
    return Family(f"{f.name}, baked", found.e, {}, f.paper, f.summary, notes=_notes(found))
