"""Every task of the registry: its data are read, split and learned from; what is missing or damaged is said in one line.

Where ACTUNE_DATA is not set, small files in the published formats stand in for the data sets.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import pickle
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from actune.experiments import Outcome, Part, Recipe, Split, Task, compare, list_tasks, rank, task, train
from actune.experiments.data.sources import PICKLES
from actune.experiments.data.synthetic import FEYNMAN, OUTPUTS, feynman, harmonic, polynomial
from actune.experiments.losses import LOSSES
from actune.experiments.tasks import TASKS

compare_module = sys.modules["actune.experiments.comparison"]
DRAWN = [name for name, t in TASKS.items() if t.drawn]
NO_DOWNLOAD = ["digits", *DRAWN]
STORED = [name for name in TASKS if name not in NO_DOWNLOAD]


# -- files that stand in for the published ones ---------------------------------------------------------------------------


def idx(values: np.ndarray) -> bytes:
    return gzip.compress(bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes() + values.tobytes())


def stand_ins(root: Path) -> None:
    """A small file for each one that the tasks read."""
    rng = np.random.RandomState(0)
    pixels = lambda *shape: rng.randint(0, 256, shape).astype(np.uint8)  # noqa: E731
    for name in ("mnist", "fashion-mnist", "cifar10/cifar-10-batches-py", "cifar100", "sign-digits", "uci", "california"):
        (root / name).mkdir(parents=True)
    for name in ("mnist", "fashion-mnist"):
        for part, n in (("train", 120), ("t10k", 30)):
            (root / name / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(pixels(n, 28, 28)))
            (root / name / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx((np.arange(n) % 10).astype(np.uint8)))
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        batch = {b"data": pixels(20, 3072), b"labels": [i % 10 for i in range(20)], b"batch_label": name.encode()}
        (root / "cifar10/cifar-10-batches-py" / name).write_bytes(pickle.dumps(batch, protocol=2))
    fine = {f"{part}_fine": np.arange(n) % 100 for part, n in (("train", 200), ("test", 100))}
    images = {f"{part}_images": pixels(n, 32, 32, 3) for part, n in (("train", 200), ("test", 100))}
    np.savez(root / "cifar100/cifar100-subset.npz", **images, **fine)
    np.savez(root / "sign-digits/sign_digits_gray64.npz", images=pixels(100, 64, 64), labels=np.arange(100) % 10)
    for name in list_tasks():
        if name.startswith("uci-"):
            table(root / "uci", name.removeprefix("uci-"), task(name).model.keywords["inputs"], rng)
    housing = rng.uniform(1, 100, (80, 9))
    (root / "california/cal_housing.data.gz").write_bytes(gzip.compress("\n".join(",".join(map(str, r)) for r in housing).encode()))
    (root / "timeseries").mkdir()
    for name, columns in (
        ("airline-passengers", 1),
        ("daily-min-temperatures", 1),
        ("monthly-sunspots", 1),
        ("sp500-2000", 6),
        ("ETTh1", 7),
    ):
        rows = [f'"day {i}",' + ",".join(f"{v:.3f}" for v in rng.uniform(50, 90, columns)) for i in range(400)]
        (root / "timeseries" / f"{name}.csv").write_text("\n".join(["date," + ",".join("abcdefg"[:columns]), *rows]) + "\n")
    (root / "tinyshakespeare").mkdir()
    (root / "tinyshakespeare/input.txt").write_text("To be, or not to be: that is the question.\n" * 200)


def table(folder: Path, name: str, inputs: int, rng: np.random.RandomState) -> None:
    rows = rng.normal(5, 2, (60, inputs + 1))
    rows[:, 0] = 7  # a column that says nothing, as in naval-propulsion-plant
    (folder / f"{name}.txt.gz").write_bytes(gzip.compress("\n".join(" ".join(map(str, r)) for r in rows).encode()))
    tests = {f"test_{i}": rng.permutation(60)[:6] for i in range(2)}
    np.savez(folder / f"{name}_splits.npz", features=np.arange(inputs), target=np.array([inputs]), n_splits=2, **tests)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    stand_ins(root)
    return root


def give_checksums(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pickles of a folder be the published ones."""
    for name in PICKLES:
        if (root / name).exists():
            monkeypatch.setitem(PICKLES, name, hashlib.md5((root / name).read_bytes()).hexdigest())


@pytest.fixture
def stood_in(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small files, also where ACTUNE_DATA is set."""
    monkeypatch.setenv("ACTUNE_DATA", str(made))
    give_checksums(made, monkeypatch)
    return made


@pytest.fixture
def data(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real files where ACTUNE_DATA is set."""
    if not os.environ.get("ACTUNE_DATA"):
        monkeypatch.setenv("ACTUNE_DATA", str(made))
        give_checksums(made, monkeypatch)


def parts(split: Split) -> tuple[Part, Part, Part]:
    return split.train, split.validation, split.test


# -- every task ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_tasks())
def test_the_data_suit_the_network_and_the_loss(name: str, data: None) -> None:
    t = task(name)
    split = t.split(0)
    model = t.model(lambda width, dim=-1: nn.Tanh())
    for part in parts(split):
        assert len(part) == len(part.inputs) == len(part.targets) > 0
        assert part.inputs.isfinite().all()
        outputs = model(part.inputs[:3])
        assert LOSSES[t.loss].function(outputs, part.targets[:3]).isfinite()
        if LOSSES[t.loss].classes:
            assert part.targets.dtype == torch.int64
            assert part.targets.min() >= 0
            assert part.targets.max() < outputs.shape[-1]
            assert outputs.shape[:-1] == part.targets[:3].shape
        else:
            assert part.targets.dtype == torch.float32
            assert part.targets.isfinite().all()
            assert outputs.shape == part.targets[:3].shape
    if LOSSES[t.loss].classes:
        assert torch.isin(split.test.targets, split.train.targets).all()


@pytest.mark.parametrize("name", list_tasks())
def test_a_part_of_every_task_is_learned(name: str, stood_in: Path) -> None:
    """Ten steps on a hundred examples, with parameters for each channel, lower the loss on them; twice the same."""
    t = task(name)
    few = Part(t.split(0).train.inputs[:100], t.split(0).train.targets[:100])
    short = replace(t, data=lambda: Split(few, few, few), drawn=False, recipe=replace(t.recipe, epochs=10, batch_size=100))
    outcome = train(short, "x*sigmoid(b*x); b=1", 0, course=True, test=True)
    assert outcome.history[-1] < outcome.history[0]
    assert outcome.test_loss == outcome.validation_loss
    assert train(short, "x*sigmoid(b*x); b=1", 0, course=True, test=True) == outcome
    widths = {len(values[0]) for values in outcome.course.values()}
    assert min(widths) >= 16  # the channels, not the places of an image or the characters of a line


@pytest.mark.parametrize("name", list_tasks())
def test_tasks_can_be_sent_to_another_process(name: str) -> None:
    assert pickle.loads(pickle.dumps(task(name))).summary == task(name).summary


def test_the_documentation_names_every_task() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/guides/task.md").read_text()
    shown = {name if not name.startswith("uci-") else "uci-" for name in list_tasks()}
    assert [name for name in shown if f"`{name}`" not in page] == []
    assert sum(name.startswith("uci-") for name in list_tasks()) == 8


@pytest.mark.parametrize("name", [name for name in STORED if "uci" in name or name == "california-housing"])
def test_tables_are_standardised_by_the_training_part_alone(name: str, data: None) -> None:
    split = task(name).split(0)
    for values in (split.train.inputs, split.train.targets):
        mean, spread = values.double().mean(0), values.double().std(0, correction=0)
        assert mean.abs().max() < 1e-5
        assert ((spread - 1).abs() < 1e-4).logical_or(spread == 0).all()
    assert split.test.targets.mean().abs() > 1e-5
    assert split.validation.targets.mean().abs() > 1e-5


def test_the_published_rows_of_a_table_are_its_test_part(stood_in: Path) -> None:
    with np.load(stood_in / "uci/yacht_splits.npz") as splits:
        tested = splits["test_0"]
    rows = np.loadtxt(stood_in / "uci/yacht.txt.gz")
    split = task("uci-yacht").split(0)
    expected = rows[tested, -1]
    found = split.test.targets[:, 0].numpy()
    assert np.allclose(np.argsort(found), np.argsort(expected))
    assert sum(map(len, parts(split))) == len(rows)
    targets = torch.cat([p.targets for p in parts(split)])
    assert len(targets.unique()) == len(np.unique(rows[:, -1]))  # every row once


def test_images_are_those_of_the_files(stood_in: Path) -> None:
    raw = gzip.decompress((stood_in / "mnist/train-images-idx3-ubyte.gz").read_bytes())[16:]
    split = task("mnist").split(0)
    together = torch.cat([split.train.inputs, split.validation.inputs])
    assert together.numpy().tobytes() == raw
    assert [len(p) for p in parts(split)] == [100, 20, 30]
    batch = pickle.loads((stood_in / "cifar10/cifar-10-batches-py/data_batch_2").read_bytes())
    split = task("cifar10").split(0)
    assert split.train.inputs[20:40].numpy().tobytes() == batch[b"data"].tobytes()
    assert [len(p) for p in parts(split)] == [90, 10, 20]
    with np.load(stood_in / "cifar100/cifar100-subset.npz") as arrays:
        assert torch.equal(task("cifar100").split(0).test.inputs[3, 1], torch.from_numpy(arrays["test_images"][3, :, :, 1]))


def test_a_series_is_split_in_the_order_of_time(stood_in: Path) -> None:
    values = np.loadtxt(stood_in / "timeseries/sp500-2000.csv", delimiter=",", skiprows=1, usecols=4)
    changes = np.diff(np.log(values))
    split = task("sp500").split(0)
    scale = changes[: int(0.7 * len(changes))].std()
    targets = torch.cat([p.targets[:, 0] for p in parts(split)])
    assert torch.allclose(targets.double() * scale, torch.from_numpy(changes[24:]), atol=1e-6)
    for part in parts(split):
        assert torch.equal(part.inputs[1:, -1], part.targets[:-1, 0])  # what was to be said is then known
        assert torch.equal(part.inputs[1:, :-1], part.inputs[:-1, 1:])


def test_the_text_is_followed_by_itself(stood_in: Path) -> None:
    every = (stood_in / "tinyshakespeare/input.txt").read_bytes()
    split = task("tiny-shakespeare").split(0)
    first = split.train
    assert bytes(first.inputs[:2].flatten().tolist()) == every[:128]
    assert bytes(first.targets[:2].flatten().tolist()) == every[1:129]
    assert bytes(split.test.targets[-1].tolist()) in every[-130:]


def test_the_next_character_is_not_seen() -> None:
    model = task("tiny-shakespeare").model(lambda width, dim=-1: nn.Tanh())
    text = torch.randint(128, (1, 64))
    changed = text.clone()
    changed[0, 40] = (text[0, 40] + 1) % 128
    same = (model(text) == model(changed)).all(-1)[0]
    assert same[:40].all()
    assert not same[40:56].any()  # the sixteen characters that the layers reach back


# -- files that are missing or damaged -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STORED)
def test_without_a_folder_one_line_says_what_to_do(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ACTUNE_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"^ACTUNE_DATA is not set; let it name a folder that holds \S+, from .*$"):
        task(name).split(0)
    monkeypatch.setenv("ACTUNE_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError) as caught:
        compare(name, ["gelu"], seeds=2)
    line = str(caught.value)
    assert line.startswith(f"ACTUNE_DATA='{tmp_path}' has no ")
    assert re.search(rf"\(looked for {re.escape(str(tmp_path))}/\S+\); put it there, from ", line)
    assert "\n" not in line


DAMAGED = {
    "mnist": ("mnist/t10k-images-idx3-ubyte.gz", lambda raw: raw[: len(raw) // 2]),
    "fashion-mnist": ("fashion-mnist/train-labels-idx1-ubyte.gz", lambda raw: idx(np.zeros(7, np.uint8))),
    "sign-digits": ("sign-digits/sign_digits_gray64.npz", lambda raw: raw[:1000]),
    "cifar10": ("cifar10/cifar-10-batches-py/test_batch", lambda raw: raw[:-100]),
    "cifar100": ("cifar100/cifar100-subset.npz", lambda raw: b""),
    "uci-yacht": ("uci/yacht.txt.gz", lambda raw: gzip.compress(b"<html>")),
    "california-housing": ("california/cal_housing.data.gz", lambda raw: b"not gzip"),
    "etth1": ("timeseries/ETTh1.csv", lambda raw: raw.replace(b"day", b",,,,,,,")),
    "tiny-shakespeare": ("tinyshakespeare/input.txt", lambda raw: raw[:300]),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_named_with_the_remedy(name: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, damage = DAMAGED[name]
    for source in (made / file).parent.iterdir():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        ((tmp_path / file).parent / source.name).write_bytes(source.read_bytes())
    (tmp_path / file).write_bytes(damage((made / file).read_bytes()))
    monkeypatch.setenv("ACTUNE_DATA", str(tmp_path))
    give_checksums(made, monkeypatch)
    with pytest.raises(
        ValueError, match=rf"^\S*{re.escape(Path(file).name)} cannot be read \(.+\); put a fresh copy there, from \S+"
    ):
        task(name).split(0)


def test_a_pickle_that_would_call_something_is_refused(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
            return os.mkdir, (str(tmp_path / "taken over"),)

    folder = tmp_path / "cifar10/cifar-10-batches-py"
    folder.mkdir(parents=True)
    for source in (made / "cifar10/cifar-10-batches-py").iterdir():
        (folder / source.name).write_bytes(source.read_bytes())
    (folder / "data_batch_3").write_bytes(pickle.dumps({b"data": Hostile()}, protocol=2))
    monkeypatch.setenv("ACTUNE_DATA", str(tmp_path))
    give_checksums(made, monkeypatch)
    with pytest.raises(ValueError, match=r"data_batch_3 cannot be read \(its MD5 is \w+, that of the published file is \w+\)"):
        task("cifar10").split(0)
    give_checksums(tmp_path, monkeypatch)  # and if it had the checksum
    with pytest.raises(ValueError, match=r"data_batch_3 cannot be read \(it would call posix\.mkdir\)"):
        task("cifar10").split(0)
    assert not (tmp_path / "taken over").exists()


def test_another_folder_is_read_anew(stood_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = task("tiny-shakespeare").split(0)
    assert task("tiny-shakespeare").split(0) is first
    (tmp_path / "tinyshakespeare").mkdir()
    (tmp_path / "tinyshakespeare/input.txt").write_text("Friends, Romans, countrymen, lend me your ears.\n" * 200)
    monkeypatch.setenv("ACTUNE_DATA", str(tmp_path))
    assert not torch.equal(task("tiny-shakespeare").split(0).train.inputs, first.train.inputs)


# -- functions to continue -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DRAWN)
def test_networks_are_judged_outside_the_range_that_they_saw(name: str) -> None:
    split = task(name).split(3)
    assert split.train.inputs.abs().max() <= 1
    for part in (split.validation, split.test):
        assert (part.inputs.abs() > 1).any(1).all()
        assert 1.4 < part.inputs.abs().max() <= 1.5
    assert split.train.targets.mean(0).abs().max() < 1e-4
    assert (split.train.targets.std(0) - 1).abs().max() < 1e-2
    assert torch.isin(split.test.inputs, split.validation.inputs).all(1).sum() <= 1  # by chance, of a thousand


@pytest.mark.parametrize("name", DRAWN)
def test_the_seed_draws_the_functions_and_tests_have_their_own(name: str) -> None:
    t = task(name)
    drawn = {(s, h): t.data(s, h).train.targets for s in (0, 1, 1000) for h in (False, True)}
    assert torch.equal(t.data.__wrapped__(0, False).train.targets, drawn[0, False])
    values = list(drawn.values())
    assert not any(torch.equal(a, b) for i, a in enumerate(values) for b in values[:i])


def readings(points: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Every equation of every choice of inputs, with mean 0 and length 1 over the points; and the equations' rows."""
    values, rows = [], []
    for i, f in enumerate(FEYNMAN):
        for places in permutations(range(points.shape[1]), f.__code__.co_argcount):
            values.append(f(*points[:, places].T))
            rows.append(i)
    return unit(np.array(values)), rows


def unit(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean(-1, keepdims=True)
    return centred / np.linalg.norm(centred, axis=-1, keepdims=True)


def test_no_equation_is_another_one_in_disguise() -> None:
    """Of other inputs, scaled and shifted: what is held out would not be new."""
    values, rows = readings(np.random.RandomState(0).uniform(1.5, 3.5, (40, 5)))
    first, second = np.nonzero(np.abs(values @ values.T) > 1 - 1e-9)
    assert {(rows[i], rows[j]) for i, j in zip(first, second, strict=True) if rows[i] != rows[j]} == set()


def test_equations_that_are_tested_on_are_met_nowhere_else() -> None:
    def met(held_out: bool) -> set[int]:
        found: set[int] = set()
        for seed in (*range(12), 100, 1000, 2**31 - 1):
            split = feynman(seed, held_out)
            values, rows = readings(split.train.inputs[:20].double().numpy() + 2.5)
            likeness = np.abs(unit(split.train.targets[:20].double().numpy().T) @ values.T)
            assert likeness.max(1).min() > 1 - 1e-9
            assert len({rows[i] for i in likeness.argmax(1)}) == OUTPUTS
            found |= {rows[i] for i in likeness.argmax(1)}
        return found

    assert met(held_out=True) == set(range(0, len(FEYNMAN), 2))
    assert met(held_out=False) == set(range(1, len(FEYNMAN), 2))


@pytest.mark.parametrize("index", range(len(FEYNMAN)))
def test_equations_are_finite_and_vary(index: int) -> None:
    f = FEYNMAN[index]
    values = f(*np.random.RandomState(index).uniform(1, 4, (f.__code__.co_argcount, 10_000)))
    assert np.isfinite(values).all()
    assert values.std() > 1e-3


def test_polynomials_and_waves_are_what_they_say() -> None:
    """The fifth differences of a polynomial of degree four vanish; waves have no frequency above their highest."""
    split = polynomial(5, False)
    x, y = split.train.inputs.double().numpy(), split.train.targets.double().numpy()
    basis = np.stack([x[:, 0] ** i * x[:, 1] ** j for i in range(5) for j in range(5 - i)], 1)
    fitted = np.linalg.lstsq(basis, y, rcond=None)[0]
    outside = split.test.inputs.double().numpy()
    beyond = np.stack([outside[:, 0] ** i * outside[:, 1] ** j for i in range(5) for j in range(5 - i)], 1)
    assert np.allclose(beyond @ fitted, split.test.targets.numpy(), atol=1e-3)
    wave = harmonic(5, False)
    steep = np.diff(wave.train.targets.numpy()[np.argsort(wave.train.inputs[:, 0].numpy())], axis=0)
    assert np.abs(steep).max() < 1  # a thousand points: smooth
    assert len(np.unique(np.sign(wave.train.targets.numpy()), axis=0)) > 1


def test_a_comparison_has_fresh_functions_and_a_ranking_never_sees_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, bool]] = []

    def watched(seed: int, held_out: bool) -> Split:
        seen.append((seed, held_out))
        return harmonic(seed, held_out)

    t = replace(task("ood-harmonic"), data=watched, recipe=Recipe(epochs=1))
    rank(t, ["gelu", "relu"], seeds=[100, 101])
    assert set(seen) == {(100, False), (101, False)}
    seen.clear()
    c = compare(t, ["gelu"], seeds=3)
    assert set(seen) == {(1000, True), (1001, True), (1002, True)}
    assert c.measure.name == "RMSE"


# -- comparisons of other measures -----------------------------------------------------------------------------------------


def told(monkeypatch: pytest.MonkeyPatch, losses: dict[str, list[float]]) -> None:
    """Let `train` answer from a table of test losses: activation -> one for each seed."""

    def answer(what: Task, activation: str, seed: int, *, test: bool, device: str) -> Outcome:
        loss = losses[activation][seed - 1000]
        score = {"RMSE": math.sqrt, "bits per character": lambda nats: nats / math.log(2)}[what.measure.name](loss)
        return Outcome(loss, {}, 0.1, (loss,), loss == math.inf, loss, {what.measure.name: score})

    monkeypatch.setattr(compare_module, "train", answer)


LOSS = {"relu": [4.0, 4.41, 3.61, 4.0], "gelu": [1.0, 1.21, 1.0, 0.81], "tanh": [9.0, 9.61, 9.0, 8.41]}


def test_a_smaller_error_is_a_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    told(monkeypatch, LOSS)
    c = compare("ood-harmonic", ["tanh", "gelu"], seeds=4)
    assert [r.name for r in c.rows] == ["gelu", "relu", "tanh"]
    assert [round(r.score.mean, 6) for r in c.rows] == [1.0, 2.0, 3.0]
    assert c.row("gelu").difference.mean == pytest.approx(1.0)
    assert c.row("tanh").difference.mean == pytest.approx(-1.0)
    assert [r.name for r in c.rows if r.better] == ["gelu"]
    assert c.above("tanh") == ["gelu", "relu"]
    assert c.above("gelu") == []
    gelu = c.row("gelu")
    assert c.verdict() == (
        "gelu beats relu on ood-harmonic: test RMSE 1.000 against 2.000, a gain of +1.000 "
        f"(95 % interval {gelu.difference.low:+.3f} to {gelu.difference.high:+.3f}, corrected p = {gelu.p_corrected:.2g}) "
        "over 4 seeds. 1 of 2 functions beat it."
    )
    assert str(c).splitlines()[:2] == ["ood-harmonic, test RMSE over 4 seeds:", "gelu: 1.000"]
    assert c.verdict_on("relu") == "relu is the baseline itself on ood-harmonic: test RMSE 2.000."
    plain = c.to_json()
    assert plain["measure"] == "RMSE"
    assert plain["functions"][0]["RMSE"]["mean"] == pytest.approx(1.0)


def test_where_a_network_diverges_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    told(monkeypatch, LOSS | {"tanh": [math.inf, 0.1, 0.1, 0.1], "relu": [4.0, math.inf, 4.0, 4.0]})
    c = compare("ood-harmonic", ["tanh", "gelu"], seeds=4)
    assert not any(r.better for r in c.rows)
    assert c.row("tanh").score.mean == math.inf
    assert c.row("gelu").p_corrected == 1
    assert c.rows[0].name == "gelu"
    assert c.to_json()["functions"][-1]["RMSE"]["mean"] is None


def test_diverged_numbers_have_an_infinite_loss() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * math.nan

    outcome = train(task("ood-harmonic").with_recipe(epochs=2), Broken, 0, test=True)
    assert outcome.diverged
    assert (outcome.validation_loss, outcome.test_loss) == (math.inf, math.inf)
    assert outcome.validation_accuracy is outcome.test_accuracy is None


def test_bits_are_those_of_the_loss(monkeypatch: pytest.MonkeyPatch, stood_in: Path) -> None:
    told(monkeypatch, {"relu": [math.log(2)] * 2, "gelu": [0.0] * 2})
    c = compare("tiny-shakespeare", ["gelu"], seeds=2)
    assert c.row("relu").score.mean == pytest.approx(1.0)
    assert "test bits per character 0.000 against 1.000" in c.verdict()


def test_a_task_with_an_unknown_loss_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the task 'digits' has the loss 'mes'; did you mean 'mse'\?"):
        replace(task("digits"), loss="mes")
