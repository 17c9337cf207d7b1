"""A network that obeys an equation: a harmonic oscillator, u'' = -4 u, u(0) = 1, u'(0) = 0, whose solution is cos(2 t).

The equation is the loss, so the network is differentiated twice by its input and once more by its weights. Its activation function
learns too: every formula of actune has derivatives of any order.
"""

from itertools import pairwise

import torch
from torch import nn

import actune


def network(activation: str) -> nn.Module:
    widths = (1, 24, 24)
    layers = [[nn.Linear(a, b), actune.Activation(activation)] for a, b in pairwise(widths)]
    return nn.Sequential(*(m for layer in layers for m in layer), nn.Linear(widths[-1], 1)).double()


def residual(model: nn.Module, t: torch.Tensor) -> torch.Tensor:
    """How far the network is from the equation at these times, and from the conditions at 0."""
    u = model(t)
    (speed,) = torch.autograd.grad(u.sum(), t, create_graph=True)
    (acceleration,) = torch.autograd.grad(speed.sum(), t, create_graph=True)
    start = torch.stack([u[0] - 1, speed[0]])
    return (acceleration + 4 * u).square().mean() + 10 * start.square().sum()


def solve(activation: str = "swish", steps: int = 400, seed: int = 0) -> tuple[float, dict[str, float]]:
    """The largest error of the solution for t from 0 to pi, and what the activation functions have learned."""
    torch.manual_seed(seed)
    model = network(activation)
    t = torch.linspace(0, torch.pi, 48, dtype=torch.float64)[:, None].requires_grad_()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=steps, line_search_fn="strong_wolfe", tolerance_change=1e-12)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = residual(model, t)
        value.backward()
        return value

    optimizer.step(loss)
    check = torch.linspace(0, torch.pi, 301, dtype=torch.float64)[:, None]
    error = (model(check) - torch.cos(2 * check)).abs().max().item()
    acts = [m for m in model if isinstance(m, actune.Activation)]
    return error, {f"{i}.{name}": value.item() for i, act in enumerate(acts) for name, value in act.values().items()}


if __name__ == "__main__":
    error, learned = solve()
    print(f"largest error {error:.1e}; learned {learned}")
