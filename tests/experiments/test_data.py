"""Readers of data beyond the tasks: EMNIST, one class against all, MVTec AD, all splits of tables, all of CIFAR-100."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from actune.experiments import Part, Recipe, Split, task, train, train_together
from actune.experiments.data import drawn
from actune.experiments.data.anomalies import mvtec, one_class
from actune.experiments.data.images import cifar100, emnist, idx_images
from actune.experiments.data.parts import shortened
from actune.experiments.data.sources import PICKLES
from actune.experiments.data.tables import uci, uci_by_seed

REAL = os.environ.get("ACTUNE_DATA") or None


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACTUNE_DATA", str(tmp_path))
    return tmp_path


def write_idx(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(header + values.astype(np.uint8).tobytes()))


def write_images(root: Path, stem: str, n: int, classes: np.ndarray) -> np.ndarray:
    images = np.random.RandomState(n).randint(0, 256, (n, 28, 28))
    write_idx(root / f"{stem}-images-idx3-ubyte.gz", images)
    write_idx(root / f"{stem}-labels-idx1-ubyte.gz", classes)
    return images


# -- parts, and what is drawn ----------------------------------------------------------------------------------------------


def test_a_shortened_split_has_the_first_inputs() -> None:
    whole = drawn.drawn_table()
    short = shortened(drawn.drawn_table, 20, 5)
    assert [len(p) for p in (short.train, short.validation, short.test)] == [20, 5, 16]
    assert torch.equal(short.train.inputs, whole.train.inputs[:20])
    assert torch.equal(short.validation.targets, whole.validation.targets[:5])
    assert len(shortened(drawn.drawn_table, 1000).train) == 32
    assert len(shortened(drawn.drawn_table, 20, test=3).test) == 3


@pytest.mark.parametrize("make", [getattr(drawn, name) for name in drawn.__all__])
def test_what_is_drawn_is_the_same_every_time_and_differs_by_part(make: Callable[[], Split]) -> None:
    first, second = make(), make()
    parts = (first.train, first.validation, first.test)
    for a, b in zip(parts, (second.train, second.validation, second.test), strict=True):
        assert torch.equal(a.inputs, b.inputs)
        assert torch.equal(a.targets, b.targets)
        assert len(a.inputs) == len(a.targets) > 0
    assert not torch.equal(first.train.inputs[:16], first.validation.inputs)
    assert not torch.equal(first.validation.inputs, first.test.inputs)


def test_anomalies_are_drawn_for_the_test_part_only() -> None:
    for split in (drawn.drawn_one_class(), drawn.drawn_pictures(32)):
        assert int(split.train.targets.sum()) == int(split.validation.targets.sum()) == 0
        assert set(split.test.targets.tolist()) == {0, 1}


# -- images ----------------------------------------------------------------------------------------------------------------


def test_how_many_images_are_read_and_validate_can_be_said(root: Path) -> None:
    images = write_images(root, "mnist/train", 120, np.arange(120) % 10)
    write_images(root, "mnist/t10k", 30, np.arange(30) % 10)
    for given, sizes in (({}, (100, 20)), ({"images": 60}, (50, 10)), ({"images": 60_000, "validation": 0.25}, (90, 30))):
        split = idx_images("mnist", **given)
        assert (len(split.train), len(split.validation), len(split.test)) == (*sizes, 30)
        seen = torch.cat([split.train.inputs, split.validation.inputs])[:, 0]
        assert np.array_equal(seen.numpy(), images[: sum(sizes)])
    with pytest.raises(ValueError, match=r"^validation must be a share between 0 and 1, got 1$"):
        idx_images("mnist", validation=1)


def test_emnist_is_upright_and_its_authors_validation_images_validate(root: Path) -> None:
    images = write_images(root, "emnist/emnist-letters-train", 60, np.arange(60) % 26 + 1)
    tested = write_images(root, "emnist/emnist-letters-test", 10, np.arange(10) % 26 + 1)
    split = emnist("letters")
    assert [len(p) for p in (split.train, split.validation, split.test)] == [50, 10, 10]
    assert split.train.inputs.shape[1:] == (1, 28, 28)
    assert np.array_equal(split.train.inputs[7, 0].numpy(), images[7].T)
    assert np.array_equal(split.validation.inputs[:, 0].numpy(), images[50:].transpose(0, 2, 1))
    assert np.array_equal(split.test.inputs[:, 0].numpy(), tested.transpose(0, 2, 1))
    assert split.train.targets.tolist()[:3] == [0, 1, 2]
    assert split.train.targets.max() == 25
    few = emnist("letters", images=20)
    assert [len(p) for p in (few.train, few.validation, few.test)] == [20, 10, 10]
    assert torch.equal(few.validation.inputs, split.validation.inputs)
    with pytest.raises(ValueError, match=r"^kind must be one of balanced, .*, got 'letter'$"):
        emnist("letter")
    with pytest.raises(FileNotFoundError, match=r"has no emnist/emnist-balanced-train-\S+ \(.*`actune data emnist` downloads it$"):
        emnist("balanced")


def test_all_of_cifar100_comes_before_a_part_of_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.RandomState(0)
    folder = root / "cifar100/cifar-100-python"
    folder.mkdir(parents=True)
    small = {f"{part}_{what}": rng.randint(0, 100, (20, *shape)).astype(np.uint8)
             for part in ("train", "test") for what, shape in (("images", (32, 32, 3)), ("fine", ()))}  # fmt: skip
    np.savez(root / "cifar100/cifar100-subset.npz", **small)
    pixels = rng.randint(0, 256, (40, 3072)).astype(np.uint8)
    content = pickle.dumps({b"data": pixels, b"fine_labels": list(range(40)), b"coarse_labels": [0] * 40}, protocol=2)
    for part in ("train", "test"):
        (folder / part).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{part} cannot be read \(its MD5 is \w+, that of the published file is \w+\)"):
            cifar100()
        monkeypatch.setitem(PICKLES, f"cifar100/cifar-100-python/{part}", hashlib.md5(content).hexdigest())
    split = cifar100()
    assert [len(p) for p in (split.train, split.validation, split.test)] == [36, 4, 40]
    assert np.array_equal(split.test.inputs.flatten(1).numpy(), pixels)
    assert split.test.targets.tolist() == list(range(40))


# -- anomalies -------------------------------------------------------------------------------------------------------------


def test_one_class_is_scaled_by_its_own_training_images(root: Path) -> None:
    images = write_images(root, "mnist/train", 120, np.arange(120) % 10)
    tested = write_images(root, "mnist/t10k", 30, np.arange(30) % 10)
    split = one_class("mnist", 3)
    assert [len(p) for p in (split.train, split.validation, split.test)] == [10, 2, 30]
    assert split.test.targets.tolist() == [int(i % 10 != 3) for i in range(30)]
    assert split.test.targets.dtype == split.train.targets.dtype == torch.int64
    assert split.train.targets.sum() == split.validation.targets.sum() == 0
    contrasts = [(x / 255 - (x / 255).mean()) / np.abs(x / 255 - (x / 255).mean()).mean() for x in (*images[3::10], *tested)]
    low, high = np.min(contrasts[:12]), np.max(contrasts[:12])
    expected = torch.from_numpy((np.array(contrasts) - low) / (high - low))
    found = torch.cat([split.train.inputs, split.validation.inputs, split.test.inputs])[:, 0]
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), expected, atol=1e-6)
    assert len(one_class("mnist", 3, validation=0.5).train) == 6
    with pytest.raises(ValueError, match=r"^digit must be a class from 0 to 9, got 10$"):
        one_class("mnist", 10)


PUBLISHED = {0: (-0.8826567065619495, 9.001545489292527), 1: (-0.6661464580883915, 20.108062262467364)}  # of Deep SVDD's code


@pytest.mark.skipif(REAL is None, reason="the published extremes are those of MNIST itself: ACTUNE_DATA is not set")
@pytest.mark.parametrize("digit", PUBLISHED)
def test_contrasts_of_mnist_have_the_extremes_of_the_published_code(digit: int) -> None:
    from actune.experiments.data.anomalies import contrast
    from actune.experiments.data.images import read_idx

    part = read_idx("mnist/train")
    found = contrast(part.inputs[part.targets == digit])
    assert (float(found.min()), float(found.max())) == pytest.approx(PUBLISHED[digit], abs=1e-6)


def draw(path: Path, colour: tuple[int, ...] | int, size: tuple[int, int] = (50, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if isinstance(colour, int) else "RGB", size, colour).save(path)


def draw_category(root: Path) -> None:
    """A category in the published layout: six good images to train on, and a good one, two of one defect and one of another."""
    folder = root / "mvtec/bottle"
    for i in range(6):
        draw(folder / f"train/good/{i:03}.png", (10 * i, 20, 30))
    draw(folder / "test/good/000.png", (200, 0, 0))
    for i in range(2):
        draw(folder / f"test/broken/{i:03}.png", 100 + i)
        draw(folder / f"ground_truth/broken/{i:03}_mask.png", 255)
    draw(folder / "test/scratch/000.png", (0, 0, 201))


def test_mvtec_is_read_in_its_published_layout(root: Path) -> None:
    draw_category(root)
    (root / "mvtec/bottle/license.txt").write_text("none of the images")
    split = mvtec("bottle", side=16)
    assert [len(p) for p in (split.train, split.validation, split.test)] == [5, 1, 4]
    for part in (split.train, split.validation, split.test):
        assert part.inputs.shape[1:] == (3, 16, 16)
        assert part.inputs.dtype == torch.uint8
    assert split.train.inputs[:, 0, 8, 8].tolist() == [0, 10, 20, 30, 40]
    assert split.validation.inputs[0, :, 8, 8].tolist() == [50, 20, 30]
    assert split.train.targets.sum() == split.validation.targets.sum() == 0
    assert split.test.targets.tolist() == [1, 1, 0, 1]  # broken, broken, good, scratch
    assert split.test.inputs[:, :, 8, 8].tolist() == [[100] * 3, [101] * 3, [200, 0, 0], [0, 0, 201]]


def test_a_category_that_is_missing_or_damaged_is_named_with_the_remedy(root: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"^ACTUNE_DATA='\S+' has no mvtec/bottle \(looked for \S+\); put it there, from \S+"
    ):
        mvtec("bottle")
    draw_category(root)
    image = root / "mvtec/bottle/test/broken/001.png"
    whole = image.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"not an image"):
        image.write_bytes(damaged)
        with pytest.raises(
            ValueError, match=r"bottle cannot be read \(broken/001\.png: .+\); put a fresh copy there, from \S+"
        ) as caught:
            mvtec("bottle")
        assert "\n" not in str(caught.value)
    image.write_bytes(whole)
    for image in (root / "mvtec/bottle/train/good").iterdir():
        image.unlink()
    with pytest.raises(ValueError, match=r"\(there are no PNG files in train/good\)"):
        mvtec("bottle")


# -- tables ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def yacht(root: Path) -> np.ndarray:
    rng = np.random.RandomState(0)
    rows = rng.normal(50, 20, (60, 3))
    rows[:, -1] = rows[:, 0] + rows[:, 1]
    (root / "uci").mkdir()
    (root / "uci/yacht.txt.gz").write_bytes(gzip.compress("\n".join(" ".join(map(str, r)) for r in rows).encode()))
    tests = {f"test_{i}": rng.permutation(60)[:6] for i in range(3)}
    np.savez(root / "uci/yacht_splits.npz", features=np.arange(2), target=np.array([2]), n_splits=3, **tests)
    return rows


def test_every_published_split_is_read(root: Path, yacht: np.ndarray) -> None:
    with np.load(root / "uci/yacht_splits.npz") as arrays:
        for k in range(3):
            split = uci("yacht", split=k)
            tested = yacht[arrays[f"test_{k}"], 2]
            training = torch.cat([split.train.targets, split.validation.targets])
            assert np.allclose(
                (split.test.targets[:, 0] - split.test.targets.mean()) * split.test.deviation, tested - tested.mean(), atol=1e-4
            )
            assert len(training) == 54
            assert torch.equal(uci_by_seed("yacht", k + 3).test.targets, split.test.targets)
    assert torch.equal(uci("yacht").test.targets, uci("yacht", split=0).test.targets)
    for wrong in (3, -1):
        with pytest.raises(ValueError, match=rf"^split must be from 0 to 2 for yacht, got {wrong}$"):
            uci("yacht", split=wrong)


def test_errors_can_be_had_in_original_units(yacht: np.ndarray) -> None:
    t = replace(task("uci-yacht"), data=partial(uci_by_seed, "yacht"), drawn=True, measures=("RMSE", "RMSE in original units"))
    t = replace(t, model=partial(t.model.func, inputs=2, outputs=1, width=8, layers=2), recipe=Recipe(3))
    outcomes = [train(t, "tanh", seed, test=True) for seed in range(3)]
    for seed, outcome in enumerate(outcomes):
        deviation = uci("yacht", seed).train.deviation
        assert 20 < deviation < 40
        for scores in (outcome.validation_scores, outcome.test_scores):
            assert scores["RMSE in original units"] == pytest.approx(deviation * scores["RMSE"])
            assert scores["RMSE"] == pytest.approx(
                math.sqrt(outcome.test_loss if scores is outcome.test_scores else outcome.validation_loss)
            )
    assert len({outcome.test_loss for outcome in outcomes}) == 3
    side_by_side = train_together(t, ["tanh"] * 3, range(3), test=True)
    for together, alone in zip(side_by_side, outcomes, strict=True):
        assert together.test_scores["RMSE in original units"] == pytest.approx(
            alone.test_scores["RMSE in original units"], rel=1e-4
        )


def test_parts_keep_their_deviation() -> None:
    part = Part(torch.zeros(4, 2), torch.zeros(4, 1), 2.5)
    assert part.rows(slice(2)).deviation == part.to("cpu").deviation == 2.5
    assert Part(part.inputs, part.targets).deviation == 1
    assert isinstance(Split(part, part, part).test.deviation, float)


def test_a_prediction_of_the_mean_has_the_deviation_as_its_error(root: Path, yacht: np.ndarray) -> None:
    """It is that of the training rows, in the numbers of the file."""
    split = uci("yacht", 1)
    with np.load(root / "uci/yacht_splits.npz") as arrays:
        rest = np.random.RandomState(0).permutation(np.setdiff1d(np.arange(60), arrays["test_1"]))
    assert split.train.deviation == pytest.approx(yacht[rest[len(rest) // 5 :], 2].std())


def test_a_folder_without_files_names_what_is_missing(root: Path) -> None:
    (root / "uci").mkdir()
    with pytest.raises(FileNotFoundError, match=rf"has no uci/yacht\.txt\.gz \(looked for {re.escape(str(root))}"):
        uci("yacht", 3)
