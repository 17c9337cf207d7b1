"""Solve a differential equation with a network whose activation functions learn, too.

    python examples/pinn.py                         # three functions, about a quarter of a minute
    python examples/pinn.py --steps 1000 --activations gelu "x*sin(a*x); a=1"

The equation is that of a harmonic oscillator, u'' = -4 u with u(0) = 1 and u'(0) = 0; its solution is cos(2 t). It is the loss, so
the network is differentiated twice by its input and once more by its weights: every formula of actune has derivatives of any order.
"""

import argparse

import torch
from torch import nn

import actune

END = torch.pi


def network(activation: str) -> nn.Module:
    acts = [actune.Activation(activation) for _ in range(2)]
    return nn.Sequential(nn.Linear(1, 24), acts[0], nn.Linear(24, 24), acts[1], nn.Linear(24, 1)).double()


def residual(model: nn.Module, t: torch.Tensor) -> torch.Tensor:
    """How far the network is from the equation at these times, and from the conditions at 0."""
    u = model(t)
    (speed,) = torch.autograd.grad(u.sum(), t, create_graph=True)
    (acceleration,) = torch.autograd.grad(speed.sum(), t, create_graph=True)
    start = torch.stack([u[0] - 1, speed[0]])
    return (acceleration + 4 * u).square().mean() + 10 * start.square().sum()


def solution(activation: str, steps: int) -> nn.Module:
    torch.manual_seed(0)
    model = network(activation)
    t = torch.linspace(0, END, 48, dtype=torch.float64)[:, None].requires_grad_()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=steps, line_search_fn="strong_wolfe", tolerance_change=1e-12)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = residual(model, t)
        value.backward()
        return value

    optimizer.step(loss)
    return model


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Solve a differential equation with activation functions that learn.")
    parser.add_argument("--activations", nargs="+", default=["tanh", "swish", "sin(a*x); a=1"])
    parser.add_argument("--steps", type=int, default=400)
    asked = parser.parse_args()
    for activation in asked.activations:
        model = solution(activation, asked.steps)
        t = torch.linspace(0, END, 301, dtype=torch.float64)[:, None]
        error = (model(t) - torch.cos(2 * t)).abs().max().item()
        acts = [module for module in model if isinstance(module, actune.Activation)]
        learned = [f"{name} = {value.item():.3f}" for act in acts for name, value in act.values().items()]
        print(f"{activation}: largest error {error:.1e}; learned: {', '.join(learned) or 'nothing'}")
