"""Frozen extractors, with torchvision's names and checked files; a student of one fails where images are not normal."""

from __future__ import annotations

import hashlib
import os
import re
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from actune.experiments import Part, Recipe, Split, Task, train
from actune.experiments.models.distillation import knowledge_distillation
from actune.experiments.models.extractors import ALEXNET, VGG16, Extractor, alexnet, random_extractor, vgg16

SMALL = partial(knowledge_distillation, teacher=random_extractor, widths=((4,), (4, 8), (4, 8)))


def relu(width: int, dim: int = -1, place: str = "hidden") -> nn.Module:
    return nn.ReLU()


def count(model: nn.Module, learned: bool = False) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not learned)


@pytest.fixture(autouse=True)
def seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


# -- extractors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "parameters", "layers", "channels"),
    [
        (alexnet, 2_469_696, [0, 3, 6, 8, 10], [256]),
        (vgg16, 14_714_688, [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28], [128, 256, 512, 512]),
    ],
)
def test_extractors_are_those_of_torchvision(build, parameters, layers, channels):
    model = build(weights=None)
    assert count(model) == parameters
    assert count(model, learned=True) == 0
    names = [f"features.{number}.{kind}" for number in layers for kind in ("weight", "bias")]
    assert list(model.state_dict()) == names
    features = model(torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8))
    assert [f.shape[1] for f in features] == model.channels == channels
    if build is vgg16:
        assert [f.shape[2] for f in features] == [32, 16, 8, 4]
        assert all(f.min() == 0 for f in features)  # after the activation
    else:
        assert features[0].shape == (2, 256, 1, 1)


def test_colours_are_normalised_as_those_of_imagenet():
    images = torch.randint(256, (2, 3, 4, 4), dtype=torch.uint8)
    found = random_extractor().normalise(images)
    for colour, (mean, spread) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        expected = (images[:, colour].numpy() / 255 - mean) / spread
        assert found[:, colour].numpy() == pytest.approx(expected, abs=1e-5)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "weights").mkdir()
    monkeypatch.setenv("ACTUNE_DATA", str(tmp_path))
    return tmp_path / "weights"


def stored(folder: Path, stem: str, content: object) -> str:
    """The name of a file of weights, with the beginning of its checksum."""
    torch.save(content, folder / "new")
    name = f"{stem}-{hashlib.sha256((folder / 'new').read_bytes()).hexdigest()[:8]}.pth"
    (folder / "new").rename(folder / name)
    return name


def test_weights_are_read_without_the_classifier(folder):
    published = {**alexnet(weights=None).state_dict(), "classifier.6.bias": torch.zeros(1000)}
    name = stored(folder, "alexnet", published)
    model, again = alexnet(weights=name), alexnet(weights=name)
    for key, value in model.state_dict().items():
        assert torch.equal(value, published[key])
        assert torch.equal(again.state_dict()[key], value)
    assert count(model, learned=True) == 0


class Hostile:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_missing_damaged_and_hostile_weights_are_refused_in_one_line(folder, monkeypatch):
    for build, name in ((alexnet, ALEXNET), (vgg16, VGG16)):
        line = rf"^ACTUNE_DATA='\S+' has no weights/{re.escape(name)} \(looked for \S+\); put it there, from https://"
        with pytest.raises(FileNotFoundError, match=line):
            build()
    (folder / ALEXNET).write_bytes(b"something else")
    found = hashlib.sha256(b"something else").hexdigest()[:8]
    with pytest.raises(ValueError, match=rf"{ALEXNET} cannot be read \(its SHA-256 begins with {found}, not 7be5be79\)"):
        alexnet()
    with pytest.raises(ValueError, match=r"cannot be read \(Weights only load failed"):
        alexnet(weights=stored(folder, "alexnet", {"features.0.weight": Hostile(folder / "taken over")}))
    assert not (folder / "taken over").exists()
    monkeypatch.delenv("ACTUNE_DATA")
    with pytest.raises(FileNotFoundError, match="ACTUNE_DATA is not set; let it name a folder that holds weights/vgg16"):
        vgg16()


# -- teacher and student -------------------------------------------------------------------------------------------------


def test_the_score_is_the_squared_error_and_the_direction_of_each_layer():
    model = SMALL(relu, value=0.5).eval()
    images = torch.randint(256, (3, 3, 16, 16), dtype=torch.uint8)
    scores = model(images).detach()
    assert scores.shape == (3, 1)
    wanted, x, ours = model.teacher(images), model.teacher.normalise(images), []
    for number, layer in enumerate(model.student):
        x = layer(x)
        ours += [x.detach().numpy()] if number in (9, 16) else []
    for i in range(3):
        expected = 0.0
        for found, true in zip(ours, wanted, strict=True):
            a, b = found[i].ravel().astype(float), true[i].numpy().ravel().astype(float)
            expected += 0.5 * np.mean((a - b) ** 2) + 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        assert float(scores[i]) == pytest.approx(expected, rel=1e-4)


def test_a_student_that_is_its_teacher_has_the_score_zero():
    model = knowledge_distillation(relu, teacher=random_extractor, widths=((4,), (8, 8), (8,)))
    convolutions = [m for m in model.student if isinstance(m, nn.Conv2d)]
    originals = [m for m in model.teacher.features if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        for ours, theirs in zip(convolutions, originals, strict=True):
            ours.load_state_dict(theirs.state_dict())
    images = torch.randint(256, (3, 3, 16, 16), dtype=torch.uint8)
    assert model.eval()(images).abs().max() < 1e-4  # batch normalisation has an eps
    assert SMALL(relu).eval()(images).min() > 0.1


def test_the_student_is_small_and_ends_as_its_teacher_does():
    with torch.device("meta"):
        model = knowledge_distillation(relu, teacher=partial(vgg16, weights=None))
    teacher, student = count(model.teacher), count(model, learned=True)
    widths = (3, 16, 16, 16, 128, 16, 16, 256, 16, 16, 512, 16, 16, 512)
    assert student == sum(9 * a * b + b + 2 * b for a, b in pairwise(widths))
    assert student < teacher / 20
    with pytest.raises(ValueError, match=r"after the first must end with \[8, 8\] channels, as the teacher's do, got widths="):
        knowledge_distillation(relu, teacher=random_extractor, widths=((4,), (8,), (7,)))


def patterns() -> Split:
    """Slow waves of colour, which are normal, and the same with a square of noise; 3 × 16 × 16 bytes."""
    rng = np.random.RandomState(0)
    grid = np.arange(16) / 16
    waves = np.sin(6 * (grid[:, None] * rng.uniform(0.5, 1, (160, 3, 1, 1)) + grid * rng.uniform(0, 0.5, (160, 3, 1, 1))))
    images = 127 + 90 * waves + rng.uniform(-10, 10, waves.shape)
    odd = (np.arange(160) >= 80) & (np.arange(160) % 2 == 1)
    images[odd, :, 4:12, 4:12] = rng.uniform(0, 255, (odd.sum(), 3, 8, 8))
    inputs, targets = torch.from_numpy(images.astype(np.uint8)), torch.from_numpy(odd).float()[:, None]
    return Split(*(Part(inputs[rows], targets[rows]) for rows in (slice(80), slice(80, 120), slice(120, 160))))


def test_a_student_does_not_know_what_is_not_normal():
    made: list[Extractor] = []
    model = partial(SMALL, teacher=lambda: made.append(random_extractor()) or made[-1])
    t = Task("patterns", "", patterns, model, Recipe(epochs=15, batch_size=20, learning_rate=3e-3), "score", scope="layer")
    outcome = train(t, "relu", 0, test=True)
    assert outcome.test_scores["AUROC"] > 0.9
    assert outcome.history[-1] < outcome.history[0]
    assert outcome == train(t, "relu", 0, test=True)
    assert len(made) == 2
    weights = [sum(p.double().sum().item() for p in teacher.parameters()) for teacher in made]
    assert weights[0] == weights[1]
