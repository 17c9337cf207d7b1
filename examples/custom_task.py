"""Make a task of your own data and network, search a function for it, and prove on fresh seeds that it helps.

    python examples/custom_task.py                  # 24 trials, 5 seeds, about half a minute
    python examples/custom_task.py --trials 100 --seeds 10

The data: three spirals, which a small network has to tell apart. What the search found on one seed may be luck. So the leaders are
trained again on other seeds, and the best of them meets the usual functions on seeds that nothing was chosen on.
"""

import argparse
from functools import cache

import torch
from torch import nn

from actune.discovery import Ranking, Workers, prove, search
from actune.experiments import ActivationFactory, Part, Recipe, Split, Task


@cache
def spirals(examples: int = 900) -> Split:
    """Points of the plane and the spiral that each lies on, in three parts: to train on, to choose by, to prove on."""
    random = torch.Generator().manual_seed(0)
    arm = torch.arange(examples) % 3
    radius = torch.rand(examples, generator=random).sqrt()
    angle = 7 * radius + 2 * torch.pi / 3 * arm + 0.15 * torch.randn(examples, generator=random)
    points = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    third = examples // 3
    return Split(*(Part(points[i : i + third], arm[i : i + third]) for i in (0, third, 2 * third)))


def network(activation: ActivationFactory) -> nn.Module:
    """Your network; where it has an activation, it asks for one of this width."""
    return nn.Sequential(nn.Linear(2, 16), activation(16), nn.Linear(16, 16), activation(16), nn.Linear(16, 3))


TASK = Task(
    name="spirals",
    summary="three spirals in the plane, by a perceptron of two hidden layers",
    data=spirals,
    model=network,
    recipe=Recipe(epochs=40, batch_size=50, learning_rate=0.01),
)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Search an activation function for a task of your own, and prove that it helps.")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()

    study = search(TASK, trials=asked.trials, workers=Workers(together=8))  # perceptrons train side by side, eight at a time
    ranking = Ranking(leaders=4, runs=2, finalists=1)
    print(prove(study, TASK, seeds=asked.seeds, ranking=ranking, baselines=("relu", "gelu", "apalu"), together=8).comparison)
