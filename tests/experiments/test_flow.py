"""DifferNet: the flow is a bijection with the volume that it says, its density is one, and it learns what is normal."""

from __future__ import annotations

import math
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from actune.experiments import Part, Recipe, Split, Task, train
from actune.experiments.models.extractors import Extractor, random_extractor
from actune.experiments.models.flow import coupling_flow, differnet, turn_images

SMALL = partial(differnet, extractor=random_extractor, scales=(32, 16), rotations=4, blocks=2, hidden=32, layers=1)


def tanh(width: int, dim: int = -1, place: str = "hidden") -> nn.Module:
    return nn.Tanh()


@pytest.fixture(autouse=True)
def seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def rough(dimension: int, blocks: int = 3) -> nn.Module:
    """A flow far from the identity, in double precision."""
    flow = coupling_flow(tanh, dimension=dimension, blocks=blocks, hidden=8, layers=2).double()
    with torch.no_grad():
        for p in flow.parameters():
            p *= 2
    return flow


def test_the_inverse_gives_back_what_was_mapped():
    flow, x = rough(7), torch.randn(50, 7).double()
    z, _ = flow(x)
    assert (z - x).abs().mean() > 0.1
    assert torch.allclose(flow.inverse(z), x, atol=1e-10)


def test_the_volume_is_that_of_the_jacobian():
    flow, x = rough(5), torch.randn(6, 5).double()
    volumes = flow(x)[1]
    for row, volume in zip(x, volumes, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda v: flow(v[None])[0][0], row)
        assert torch.allclose(jacobian.det().abs().log(), volume)
    assert volumes.std() > 0.1


def test_the_density_sums_to_one():
    flow = rough(2)
    # The box is the image of ±6 deviations, so that nothing lies outside.
    edge = flow.inverse(6 * torch.nn.functional.normalize(torch.randn(2000, 2).double())).detach()
    low, high = edge.min(0).values, edge.max(0).values
    steps = [torch.linspace(float(a), float(b), 400, dtype=torch.float64) for a, b in zip(low, high, strict=True)]
    with torch.no_grad():
        z, volume = flow(torch.cartesian_prod(*steps))
    density = (volume - z.square().sum(1) / 2 - math.log(2 * math.pi)).exp()
    cell = (steps[0][1] - steps[0][0]) * (steps[1][1] - steps[1][0])
    assert float(density.sum() * cell) == pytest.approx(1, abs=3e-3)


def test_scales_are_clamped_softly():
    flow = rough(4, blocks=1)
    with torch.no_grad():
        for p in flow.parameters():
            p *= 1e4
    volume = flow(torch.randn(100, 4).double())[1]
    assert 5.5 < volume.abs().max() < 4 * 3.0  # at most the clamp for each dimension
    block, s = flow.blocks[0], torch.tensor([[0.5, -2.0, 0.0, 0.0]]).double()
    assert torch.allclose(block._coupling(lambda given: s, s)[0], 2 * 3 / math.pi * torch.arctan(s[:, :2] / 3))


def test_what_was_learned_is_standard_normal():
    flow = coupling_flow(tanh, dimension=2, blocks=4, hidden=16, layers=2)
    x = torch.randn(500, 2)
    x = torch.stack([x[:, 0], x[:, 0] ** 2 + 0.3 * x[:, 1]], 1)  # a banana
    optimizer = torch.optim.Adam(flow.parameters(), 1e-2)
    for _ in range(100):
        z, volume = flow(x)
        loss = (z.square().sum(1) / 2 - volume).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() == pytest.approx(1 + math.log(0.3), abs=0.1)  # the entropy of the banana, but for log(2π)
    assert z.mean(0).abs().max() < 0.15
    assert torch.cov(z.T).detach().numpy() == pytest.approx(np.eye(2), abs=0.15)


def test_the_published_flow_has_so_many_parameters():
    with torch.device("meta"):
        flow = coupling_flow(tanh, dimension=768)
    assert len(flow.blocks) == 8
    perceptron = (384 * 2048 + 2048) + 2 * (2048 * 2048 + 2048) + (2048 * 768 + 768)
    assert sum(p.numel() for p in flow.parameters()) == 16 * perceptron
    orders = [block.order for block in coupling_flow(tanh, dimension=20, hidden=2).blocks]
    assert all(order.sort().values.tolist() == list(range(20)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 8
    with pytest.raises(ValueError, match="dimension must be at least 2, one for each half of a coupling, got 1"):
        coupling_flow(tanh, dimension=1)


# -- images --------------------------------------------------------------------------------------------------------------


def test_images_are_turned_each_by_its_own_angle():
    images = torch.rand(4, 3, 16, 16)
    turned = turn_images(images, torch.tensor([0.0, 0.25, 0.5, 0.75]))
    for number in range(4):
        assert torch.allclose(turned[number], images[number].rot90(number, (1, 2)), atol=1e-4)


def test_a_score_is_the_mean_over_turns_and_scales_are_joined():
    model = SMALL(tanh).eval()
    images = torch.randint(256, (5, 3, 32, 32), dtype=torch.uint8)
    scores = model(images)
    assert scores.shape == (5, 1)
    assert torch.equal(scores, model(images))
    with torch.no_grad():
        turned = [model(images.rot90(k, (2, 3))) for k in range(4)]
    assert torch.allclose(torch.stack(turned), scores.expand(4, 5, 1), rtol=1e-3)  # four quarter turns are a group
    features = model._features(images, torch.zeros(5))
    small = torch.nn.functional.interpolate(images.float(), size=(16, 16), mode="bilinear", antialias=True)
    expected = torch.cat([model.extractor(x)[-1].mean((2, 3)) for x in (images.float(), small)], 1)
    assert torch.allclose(features, expected, atol=1e-5)
    z, volume = model.flow(features)
    model._features = lambda images, turns: features
    assert torch.allclose(scores_of_training(model, images), (z.square().sum(1) / 2 - volume) / 16)


def scores_of_training(model: nn.Module, images: Tensor) -> Tensor:
    return model.train()(images)[:, 0]


def textures() -> Split:
    """Fine noise, which is normal, and coarse noise; 3 × 32 × 32 bytes."""
    rng = np.random.RandomState(0)
    fine = rng.randint(0, 256, (120, 3, 32, 32))
    coarse = np.kron(rng.randint(0, 256, (120, 3, 8, 8)), np.ones((1, 1, 4, 4)))
    odd = (np.arange(120) >= 60) & (np.arange(120) % 2 == 1)
    inputs = torch.from_numpy(np.where(odd[:, None, None, None], coarse, fine).astype(np.uint8))
    targets = torch.from_numpy(odd).float()[:, None]
    return Split(*(Part(inputs[rows], targets[rows]) for rows in (slice(60), slice(60, 90), slice(90, 120))))


def test_another_texture_is_unlikely():
    t = Task("textures", "", textures, SMALL, Recipe(epochs=8, batch_size=20, learning_rate=3e-3), "score", scope="layer")
    outcome = train(pickle.loads(pickle.dumps(t)), "relu", 0, test=True)
    assert outcome.test_scores["AUROC"] > 0.95
    assert outcome == train(t, "relu", 0, test=True)


def test_the_extractor_does_not_learn():
    made: list[Extractor] = []
    t = Task("textures", "", textures, partial(SMALL, extractor=lambda: made.append(random_extractor()) or made[-1]),
             Recipe(epochs=1, batch_size=20), "score")  # fmt: skip
    train(t, "relu", 0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.randperm(60)
        untouched = random_extractor()
    for a, b in zip(made[0].parameters(), untouched.parameters(), strict=True):
        assert torch.equal(a, b)
