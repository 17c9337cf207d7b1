"""Families that ONNX has an operator for become that one node, with learned parameters as its attributes or its input."""

from __future__ import annotations

import onnx_files
import pytest
import torch
from torch import Tensor, nn

import actune
from actune import Activation

NAMED = [name for name in actune.list_families() if actune.family(name).onnx]
# Numbers of every size and sign up to 1e37, and those around which functions bend.
EVERY = torch.arange(-(2**31), 2**31, 2**17, dtype=torch.int64).to(torch.int32).view(torch.float32)
X = torch.cat([EVERY[EVERY.abs() < 1e37], torch.linspace(-12, 12, 4801)]).reshape(-1, 1)


class Beside(nn.Module):
    """Several activations, each at columns of its own: (rows, modules, 4)."""

    def __init__(self, *modules: nn.Module):
        super().__init__()
        self.each = nn.ModuleList(modules)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([module(x[:, i]) for i, module in enumerate(self.each)], 1)


def written(*modules: nn.Module) -> tuple[list[str], list[float]]:
    """The operators of ONNX that these modules become, without those that lead to them; the worst error of each module.

    An error is relative to max(1, |x|, |value|).
    """
    x = X.unsqueeze(2).expand(-1, len(modules), 4).contiguous()
    program = onnx_files.exported(Beside(*modules), x[:3])
    wanted = torch.stack([m(x[:, i].double()) for i, m in enumerate(modules)], 1)
    scale = torch.maximum(wanted.abs(), x.abs().clamp(min=1))
    error = ((onnx_files.computed(program, x) - wanted).abs() / scale).amax((0, 2))
    around = {"Gather", "Unsqueeze", "Concat", "Split", "Squeeze"}
    return [name for name in onnx_files.operators(program) if name not in around], error.tolist()


def test_onnx_has_these_among_others() -> None:
    assert set(NAMED) >= {"relu", "gelu", "gelu_tanh", "mish", "elu", "selu", "celu", "leaky_relu", "prelu", "hardswish",
                          "softplus", "hardsigmoid", "softsign", "threshold", "hardshrink", "softshrink"}  # fmt: skip


def test_a_named_family_is_one_node_of_the_same_function() -> None:
    """Within eight roundings of the larger of 1, x and the value: runtimes compute exp(x) - 1 where the formula has expm1."""
    operators, errors = written(*map(Activation, NAMED))
    assert operators == [actune.family(name).onnx[0].name for name in NAMED]
    assert not {name: e for name, e in zip(NAMED, errors, strict=True) if not e < 8 * 2**-24}


def changed(module: Activation, shift: float) -> Activation:
    """The module after a training that moved all its stored parameters, each by a little more."""
    with torch.no_grad():
        for p in module.parameters():
            p += shift * torch.linspace(1, 2, p.numel())
    return module


def test_learned_parameters_are_attributes_or_an_input() -> None:
    channels = {"scope": "channel", "channels": 4}
    operators, errors = written(
        changed(Activation("leaky_relu", trainable=True), 0.2),
        changed(Activation("elu"), 0.5),
        changed(Activation("celu", trainable=True), -0.5),
        changed(Activation("prelu"), 0.1),
        changed(Activation("prelu", **channels), 0.1),
        changed(Activation("leaky_relu", **channels), 0.1),
        changed(Activation("prelu", scope="neuron", channels=(4,)), -0.2),
    )
    assert operators == ["LeakyRelu", "Elu", "Celu", "LeakyRelu", "PRelu", "PRelu", "PRelu"]
    assert max(errors) < 8 * 2**-24


def test_what_is_typed_or_starts_as_a_named_function_is_one_node_too() -> None:
    operators, errors = written(Activation("x*tanh(softplus(x))"), Activation("ml_mish"), Activation("gelu").half().float())
    assert operators == ["Mish", "Mish", "Gelu"]
    assert max(errors) < 8 * 2**-24


def test_parts_of_a_formula_are_one_node_each() -> None:
    typed, learns = Activation("gelu(x) + 0.1*sin(x)"), changed(Activation("a*mish(x) + softplus(x)", a=0.5), 0.2)
    operators, errors = written(typed, learns)
    assert operators == ["Gelu", "Sin", "Mul", "Add", "Softplus", "Mish", "Mul", "Add"]
    assert max(errors) < 8 * 2**-24


def test_parts_are_families_at_their_initial_values_too() -> None:
    """A gated ELU with another beta2 is a multiple of ELU, whose own parameter starts at 1."""
    operators, errors = written(Activation(actune.bake("ml_elu; beta2=1.3")), Activation("selu(x) + leaky_relu(x)"))
    assert operators == ["Elu", "Mul", "Selu", "LeakyRelu", "Add"]
    assert max(errors) < 8 * 2**-24


def test_where_no_operator_suits_the_formula_is_written() -> None:
    """Attributes hold one number; runtimes have these operators for float32; a parameter may be computed from others."""
    elu = changed(Activation("elu", scope="channel", channels=4), 0.3)
    operators, errors = written(elu)
    assert "Elu" not in operators
    assert "Exp" in operators
    assert max(errors) < 8 * 2**-24
    assert "Elu" not in onnx_files.operators(onnx_files.exported(Activation("elu").double(), X[:3].double()))
    shared = torch.nn.utils.parametrize.register_parametrization(Activation("elu"), "alpha", nn.Softplus())
    assert "Elu" not in onnx_files.operators(onnx_files.exported(shared, X[:3]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_its_dtype(dtype: torch.dtype) -> None:
    program = onnx_files.exported(Activation("elu").to(dtype), X[:3].to(dtype))
    assert onnx_files.operators(program) == ["Cast", "Elu", "Cast"]
    assert str(program.model.graph.outputs[0].dtype) == {torch.float16: "FLOAT16", torch.bfloat16: "BFLOAT16"}[dtype]
