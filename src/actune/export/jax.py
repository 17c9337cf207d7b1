"""Functions as Python source over JAX with two derivatives: autodiff through `where` gives nan where one side overflows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..language.expr import Expr
from .frozen import FrozenFunction
from .lines import called, statements

__all__ = ["JAX_OPERATORS", "jax_source"]

JAX_OPERATORS = {
    "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}", "neg": "-{0}", "pow": "jnp.power({0}, {1})",
    "softplus": "jax.nn.softplus({0})", "sigmoid": "jax.nn.sigmoid({0})", "log_sigmoid": "jax.nn.log_sigmoid({0})",
    "softsign": "jax.nn.soft_sign({0})", "relu": "jax.nn.relu({0})", "erf": "jax.scipy.special.erf({0})",
    "erfc": "jax.scipy.special.erfc({0})", "i0e": "jax.scipy.special.i0e({0})", "i1e": "jax.scipy.special.i1e({0})",
    "max": "jnp.maximum({0}, {1})", "min": "jnp.minimum({0}, {1})", "atan": "jnp.arctan({0})", "asinh": "jnp.arcsinh({0})",
    "hypot": "jnp.hypot({0}, {1})", "clip": "jnp.clip({0}, {1}, {2})", "where": "jnp.where({0}, {1}, {2})",
    **{name: f"jnp.{name}({{0}})" for name in ("abs", "sign", "square", "reciprocal", "sqrt", "exp", "expm1", "log", "log1p", "sin",
                                               "cos", "sinc", "sinh", "cosh", "tanh")},
    **{sign: f"{{0}} {sign} {{1}}" for sign in ("<", "<=", ">", ">=", "==", "!=")},
}  # fmt: skip


_HEAD = '''"""Activation functions over JAX, written by actune."""

import jax
import jax.numpy as jnp


def _widened(x):
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _rounded(y, x):
    dtype = jnp.asarray(x).dtype
    return y.astype(dtype) if jnp.issubdtype(dtype, jnp.floating) else y
'''


def jax_source(functions: Sequence[FrozenFunction]) -> str:
    """A module of Python over JAX with these functions of an array; half precision is computed in float32 and rounded once."""
    return "\n\n".join([_HEAD, *map(_function, functions)])


def _function(f: FrozenFunction) -> str:
    """A function and its first derivative, each with the next derivative as its rule for autodiff."""
    given = "".join(f", jnp.asarray({list(v)!r}, x.dtype).reshape({f.shape_text('x.ndim')})" for v in f.arrays.values())
    formulas = [_formula(f.e.diff("x", order), f.arrays, f"_{f.name}_{order}") for order in range(3)]
    return (
        "\n\n".join(formulas)
        + f"""

@jax.custom_jvp
def {f.name}(v_x):
    \"\"\"{f.title}.\"\"\"
    x = _widened(v_x)
    return _rounded(jnp.broadcast_to(_{f.name}_0(x{given}), x.shape), v_x)


@jax.custom_jvp
def _{f.name}_slope(x):
    return jnp.broadcast_to(_{f.name}_1(x{given}), x.shape)


@{f.name}.defjvp
def _{f.name}_jvp(primals, tangents):
    (v_x,), (t,) = primals, tangents
    return {f.name}(v_x), _rounded(t * _{f.name}_slope(_widened(v_x)), v_x)


@_{f.name}_slope.defjvp
def _{f.name}_slope_jvp(primals, tangents):
    (x,), (t,) = primals, tangents
    return _{f.name}_slope(x), t * _{f.name}_2(x{given})
"""
    )


def _formula(e: Expr, arrays: Iterable[str], name: str) -> str:
    def leaf(n: Expr) -> str:
        return f"v_{n.args[0]}" if n.op == "symbol" else f"({n.args[0]!r})" if n.args[0] < 0 else repr(n.args[0])

    done, result = statements(e, leaf, called(JAX_OPERATORS))
    lines = [f"    t{i} = {text}" for i, (_, text) in enumerate(done)]
    head = f"def {name}({', '.join(['v_x', *(f'v_{a}' for a in arrays)])}):"
    return "\n".join([head, *lines, f"    return {result}"]) + "\n"
