"""The scripts in examples/ do what they say."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("activation", ["swish", "sin(a*x); a=1"])
def test_a_network_that_obeys_an_equation_finds_its_solution(activation):
    """The error against the exact solution, cos(2 t), after a part of the steps; the parameters of the functions have moved."""
    error, learned = example("pinn").solve(activation, steps=200)
    assert error < 5e-3
    assert all(abs(value - 1) > 1e-3 for value in learned.values())
