"""Deep SVDD: the published network, its centre and boundary, and that it tells what it has not seen."""

from __future__ import annotations

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from actune.experiments import Part, Recipe, Split, Task, train
from actune.experiments.models.svdd import PRETRAINING, deep_svdd, find_centre, pretrain_and_centre
from actune.experiments.recipe import learning_rate_at

QUICK = Recipe(epochs=6, batch_size=20, learning_rate=1e-3, weight_decay=5e-4)


def leaky(width: int, dim: int = -1, place: str = "hidden") -> nn.Module:
    return nn.LeakyReLU(0.1)


def stripes() -> Split:
    """Noisy horizontal stripes, which are normal; the other parts have vertical ones too."""
    rng = np.random.RandomState(0)
    wave = (np.sin(np.arange(28) / 2 + rng.uniform(0, 6, (180, 1))) > 0) * 0.6
    images = np.broadcast_to(wave[:, None, :, None], (180, 1, 28, 28)) + rng.uniform(0, 0.4, (180, 1, 28, 28))
    every = torch.from_numpy(images).float()
    odd = (torch.arange(180) >= 100) & (torch.arange(180) % 2 == 1)
    every[odd] = every[odd].mT
    targets = odd.float()[:, None]
    return Split(*(Part(every[rows], targets[rows]) for rows in (slice(100), slice(100, 140), slice(140, None))))


def made(**options: object) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return deep_svdd(leaky, **options)


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def distances(model: nn.Module, x: Tensor) -> np.ndarray:
    with torch.no_grad():
        return ((model.encoder(x) - model.centre).double().numpy() ** 2).sum(1)


def test_the_network_is_the_published_one_without_biases():
    model = made()
    assert count(model) == 1 * 8 * 25 + 8 * 4 * 25 + 4 * 49 * 32 == 7272
    assert [name for name, _ in model.named_parameters() if "bias" in name] == []
    decoder = model.decoder()
    assert count(decoder) == 2 * 4 * 25 + 4 * 8 * 25 + 8 * 25 == 1200
    x = stripes().train.inputs[:7]
    assert model(x).shape == (7, 1)
    images = decoder(model.encoder(x))
    assert images.shape == x.shape
    assert images.min() > 0 < 1 > images.max()
    asked: list[tuple[int, int]] = []
    deep_svdd(lambda width, dim, place="hidden": asked.append((width, dim)) or nn.ReLU()).decoder()
    assert asked == [(8, 1), (4, 1), (2, 1), (4, 1), (8, 1)]


def test_the_centre_is_the_mean_away_from_zero():
    model, part = made().train(), stripes().train
    with torch.no_grad():
        model.encoder[-1].weight *= 10
    find_centre(model, part)
    model.eval()
    with torch.no_grad():
        mean = model.encoder(part.inputs).double().mean(0).numpy()
    expected = np.where(np.abs(mean) < 0.1, np.where(mean < 0, -0.1, 0.1), mean)
    assert model.centre.numpy() == pytest.approx(expected, abs=1e-6)
    assert 0 < (np.abs(expected) > 0.1).sum() < 32
    assert model(part.inputs[:5])[:, 0].detach().numpy() == pytest.approx(distances(model, part.inputs[:5]), rel=1e-5)


def test_pretraining_teaches_the_encoder_and_leaves_no_decoder():
    model, split = made(), stripes()
    before = model.encoder[1].weight.detach().clone()
    decoders: list[nn.Module] = []
    make = model.decoder
    model.decoder = lambda: decoders.append(make()) or decoders[0]
    pretrain_and_centre(model, split.train, recipe=QUICK)
    assert not torch.equal(model.encoder[1].weight, before)
    assert count(model) == 7272
    model.eval()
    images = decoders[0].eval()(model.encoder(split.validation.inputs))
    normal = split.validation.targets[:, 0] == 0
    error = (images - split.validation.inputs).square().mean((1, 2, 3))[normal].mean()
    assert error < 0.6 * split.train.inputs.var()
    assert model.centre.abs().min() >= 0.1 - 1e-6
    assert [learning_rate_at(PRETRAINING, epoch, 150) for epoch in (0, 49, 50)] == pytest.approx([1e-4, 1e-4, 1e-5])


def test_a_soft_boundary_follows_the_distances():
    model, x = made(boundary="soft", nu=0.25, warmup=2).train(), stripes().train.inputs
    for _ in range(3):  # two to warm up, and the first that the boundary is drawn by
        scores = model(x[:10])
        assert scores[:, 0].detach().numpy() == pytest.approx(distances(model, x[:10]), rel=1e-5)
    expected = np.quantile(np.sqrt(distances(model, x[:10])), 0.75) ** 2  # between the distances of two inputs
    assert float(model.radius_squared) == pytest.approx(expected, rel=1e-5)
    assert (model(x[:10]) > 0).sum() == 3
    model.eval()
    kept = float(model.radius_squared)
    model(x[40:80])
    assert float(model.radius_squared) == kept
    for wrong, message in (({"boundary": "hard"}, "boundary must be 'one-class' or 'soft', got 'hard'"),
                           ({"nu": 0.0}, "nu must be a share above 0 and up to 1, got 0.0")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            made(**wrong)


@pytest.mark.parametrize(("boundary", "loss"), [("one-class", "score"), ("soft", "soft boundary")])
def test_what_was_not_seen_in_training_lies_far_from_the_centre(boundary, loss):
    model = partial(deep_svdd, boundary=boundary, warmup=4)
    prepare = partial(pretrain_and_centre, recipe=QUICK)
    t = Task("stripes", "", stripes, model, Recipe(epochs=3, batch_size=20), loss, scope="layer", prepare=prepare)
    outcome = train(pickle.loads(pickle.dumps(t)), "leaky_relu", 0, test=True)
    assert outcome.test_scores["AUROC"] > 0.95
    if boundary == "one-class":  # a soft boundary moves
        assert outcome.history[-1] < outcome.history[0]
    assert outcome == train(t, "leaky_relu", 0, test=True)
