"""What the papers declare: that it can be carried out, that every published claim is there, and that keys tell runs apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import declared_paper as little
import pytest
import torch

from actune.experiments.data.drawn import drawn_images
from actune.experiments.identity import recipe
from actune.experiments.losses import LOSSES
from actune.experiments.tasks import Task
from actune.experiments.training.networks import network_builder
from actune.module import Activation
from actune.papers import PAPERS, Experiment, Paper, Scale, Variant, list_experiments
from actune.papers.claims import OTHERS, measure_named
from actune.papers.declaration import SCALES, activation_choice, choice_text
from actune.papers.procedures import race, search_and_train, train_and_look_inside, train_once
from actune.papers.runs import perform, planned_runs, run_key
from actune.show.reproduction import PLOTS

EXPERIMENTS = {f"{p.name}/{e.name}": (p, e) for p in PAPERS.values() for e in p.experiments}
each_experiment = pytest.mark.parametrize(("paper", "experiment"), EXPERIMENTS.values(), ids=list(EXPERIMENTS))

# What the papers publish of their experiments, in words that a claim, its source or its figures must have.
PUBLISHED = {
    "mittag-leffler": [
        *[f"gated form of {f} is as accurate" for f in ("sigmoid", "tanh", "swish", "mish", "softsign", "relu", "gelu", "elu")],
        "Gated Swish is as accurate as the built-in one section 4, CIFAR-10",
        "Gated Mish is as accurate as the built-in one section 4, CIFAR-10",
        "Swish gains about 1.2 points over ReLU section 4, CIFAR-10",
        "Mish gains about 1.2 points over ReLU section 4, CIFAR-10",
        "40.73 s against 24.38 s",
        "1.67",
        "gated softsign takes about as long",
    ],
    "zorro": [
        "needs no normalisation",
        "no dead neurons",
        "No gradient explodes",
        "more accurate than ReLU, GELU and Swish in convolutional networks",
        "stable replacement for ReLU and GELU in vision transformers",
        "stable replacement for ReLU and GELU in language models",
        "in dense networks",
        "EMNIST",
        "trains faster",
        "forecasts as well",
        "classifies sequences",
    ],
    "pangaea": [
        "logσ(αx)·β·arcsinh(x) on wrn-10-4",
        "73.2 71.5",
        "αx − β·logσ(γx) on resnet-v1-56",
        "71 69.6",
        "Softplus(ELU(x)) on resnet-v2-56",
        "77.1 75.7",
        "The search finds a function that is better than ReLU",
        "A function can be general",
        "a specialised function is better",
        "CIFAR-10",
        "Parameters that learn",
        "Parameters for each channel",
    ],
    "sau": ["5.12", "5.63", "2.95", "2.50", "n = 20000", "1.7e-5", "Smoothing helps", "SMU is better", "SMU-1 is better"],
    "apalu": [
        "0.37 points with MobileNet on CIFAR-10",
        "0.04 points with GoogLeNet on CIFAR-10",
        "0.8 AUROC with one-class Deep SVDD on MNIST",
        "1.81 AUROC with DifferNet on MVTec AD",
        "1.11 AUROC with knowledge distillation on MVTec AD",
        "100 % accuracy",
        "ReLU, Leaky ReLU, ELU and GELU in dense regression",
        "ReLU, Leaky ReLU, ELU and GELU in recurrent regression",
    ],
    "mining": ["93.1", "78.8", "68.7", "54.7"],
}  # fmt: skip


def test_every_published_claim_is_there() -> None:
    missing = []
    for name, parts in PUBLISHED.items():
        claims = [c for e in PAPERS[name].experiments for c in e.claims if not c.check]
        texts = [f"{c.says} {c.source} {' '.join(f'{v:g}' for v in (c.published or {}).values())}" for c in claims]
        missing += [(name, part) for part in parts if not any(part in text for text in texts)]
    assert missing == []
    assert PUBLISHED.keys() == PAPERS.keys()


def test_there_are_enough_claims_and_sources() -> None:
    claims = [c for _, e in EXPERIMENTS.values() for c in e.claims]
    assert sum(not c.check for c in claims) >= 25
    assert all(c.says and c.source and c.certainty in ("P", "R", "M") for c in claims)
    assert all(e.claims for _, e in EXPERIMENTS.values())


def test_names_are_unique() -> None:
    assert list_experiments() == list(EXPERIMENTS)
    for paper in PAPERS.values():
        assert len({e.name for e in paper.experiments}) == len(paper.experiments)
    for _, e in EXPERIMENTS.values():
        says = [(c.says, c.part) for c in e.claims]
        assert len(set(says)) == len(says)
        assert len({choice_text(choice) for choice in e.functions.values()}) == len(e.functions)


@each_experiment
def test_claims_are_about_what_the_runs_give(paper: Paper, experiment: Experiment) -> None:
    """Functions are checked where an experiment is made; here measures, parts and the number of seeds."""
    assert {"smoke"} < experiment.scales.keys() <= set(SCALES)
    assert set(experiment.plots) <= PLOTS.keys()
    for scale, found in experiment.scales.items():
        given = {m.name for t in found.parts.values() for m in t.measured} | OTHERS.keys()
        for claim in experiment.claims:
            assert claim.measure is None or measure_named(claim.measure).name in given
            assert scale == "smoke" or claim.part is None or claim.part in found.parts
            assert set(claim.published or {}) <= experiment.functions.keys()
        assert len({t.measure.name for t in found.parts.values()} | {experiment.measure.name}) == 1
        assert scale == "smoke" or found.seeds >= 3  # with fewer there is nothing to decide on
        assert scale != "smoke" or len(found.parts) * found.seeds <= 4


@each_experiment
def test_smoke_networks_take_a_batch_with_every_function(paper: Paper, experiment: Experiment) -> None:
    searched = set(getattr(experiment.procedure, "keywords", {}).get("methods", ()))  # these are no functions yet
    for task in experiment.scales["smoke"].parts.values():
        split = task.split(experiment.first_seed)
        for label in experiment.functions.keys() - searched:
            choice = experiment.functions[label]
            model = network_builder(task, activation_choice(choice, task.scope))().eval()
            outputs = model(split.train.inputs[:2])
            assert torch.isfinite(LOSSES[task.loss].function(outputs, split.train.targets[:2])), label
            kind = choice if isinstance(choice, type) else Activation
            assert any(isinstance(m, kind) for m in model.modules()), label


@each_experiment
def test_networks_of_all_scales_are_built(paper: Paper, experiment: Experiment) -> None:
    """With the baseline; the extractor of MVTec's experiments needs weights that are not here."""
    for scale, found in experiment.scales.items():
        if scale == "smoke" or "mvtec" in experiment.name:
            continue
        models = {repr(t.model): t for t in found.parts.values()}
        for task in models.values():
            model = network_builder(task, activation_choice(experiment.functions[experiment.baseline], task.scope))()
            assert sum(p.numel() for p in model.parameters()) > 0


@each_experiment
def test_everything_has_a_digest(paper: Paper, experiment: Experiment) -> None:
    """Otherwise a network could change and its old runs would count."""
    for found in experiment.scales.values():
        assert all(recipe(task)["network"] for task in found.parts.values())


# -- keys ------------------------------------------------------------------------------------------------------------------


def test_the_keys_of_all_runs_are_distinct() -> None:
    runs = [run for paper, e in EXPERIMENTS.values() for scale in SCALES for run in planned_runs(paper, e, scale)]
    assert len(runs) == len({run_key(run) for run in runs}) > 5000


def test_keys_are_those_of_any_process() -> None:
    """With other seeds of Python's own hashes, other orders of imports, in any process."""
    code = "import actune.show.reproduction as s; from actune.papers.runs import *; from actune.papers import PAPERS\n"
    code += "print([run_key(r) for p in PAPERS.values() for e in p.experiments for r in planned_runs(p, e, 'laptop', 1)])"
    there = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True
    )
    here = [run_key(run) for paper, e in EXPERIMENTS.values() for run in planned_runs(paper, e, "laptop", 1)]
    assert there.stdout.strip() == str(here)


def test_the_key_of_a_stored_run() -> None:
    """Results that are stored bear it: a change of how keys are made would throw them all away."""
    (run, *_) = planned_runs(PAPERS["mining"], PAPERS["mining"].experiment("out-of-range"), "laptop")
    assert run_key(run) == "88c835b8a69730c4"


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A function that declares the little experiment with these changes and gives the keys of its runs at laptop scale."""

    def keys(**changes: Any) -> list[str]:
        paper = little.paper(little.experiment(**changes))
        monkeypatch.setitem(PAPERS, paper.name, paper)
        run_key.cache_clear()
        return [run_key(run) for run in planned_runs(paper, paper.experiments[0], "laptop")]

    yield keys
    run_key.cache_clear()


def laptop(task: Task, **changes: Any) -> dict[str, Scale]:
    return {"laptop": Scale({"a": replace(task, **changes)}, seeds=2)}


A = little.part("a")


@pytest.mark.parametrize(
    "changes",
    [
        {"scales": {"laptop": Scale({"a": A.with_recipe(learning_rate=0.5)}, seeds=2)}},
        {"scales": laptop(A, data=drawn_images)},
        {"scales": laptop(A, scope="layer")},
        {"scales": laptop(A, measures=("RMSE",))},
        {"scales": laptop(A, prepare=little.part)},
        {"scales": {"laptop": Scale({"a": A}, seeds=2, arguments={"gain": 3.0})}},
        {"procedure": train_once},
        {"functions": {"relu": Variant("relu", learns=()), "gelu": Variant("gelu", scope="layer")}},
        {"first_seed": 2002},
        {"name": "two"},
    ],
    ids=["recipe", "data", "scope", "measures", "prepare", "arguments", "procedure", "functions", "seed", "name"],
)
def test_a_key_changes_with_what_a_run_depends_on(keys: Any, changes: dict[str, Any]) -> None:
    before = set(keys(scales={"laptop": Scale({"a": A}, seeds=2)}))
    assert before.isdisjoint(keys(**{"scales": {"laptop": Scale({"a": A}, seeds=2)}} | changes))


def test_a_key_does_not_change_with_anything_else(keys: Any) -> None:
    before = keys(scales={"laptop": Scale({"a": A}, seeds=2)})
    said = replace(A, summary="other words")
    after = keys(scales={"laptop": Scale({"a": said}, seeds=3)}, claims=(little.BETTER,), plots=(), baseline="gelu")
    assert after[: len(before)] == before


# -- procedures ------------------------------------------------------------------------------------------------------------


@each_experiment
def test_a_run_of_each_experiment(paper: Paper, experiment: Experiment) -> None:
    """The last function, on each part of the smoke scale: what the claims are about is measured."""
    needed = {experiment.measure.name if c.measure is None else c.measure for c in experiment.claims}
    for run in planned_runs(paper, experiment, "smoke"):
        if run.function == list(experiment.functions)[-1]:
            line = perform(run, device="cpu", storage=None, command="a command")
            assert needed <= line["scores"].keys()
            json.dumps(line, allow_nan=False)


@pytest.mark.parametrize(
    ("name", "procedure", "more"),
    [
        ("sau/smoothness", train_once, {"history"}),
        ("zorro/depth", train_and_look_inside, {"history", "layers"}),
        ("mittag-leffler/training-time", race, {"turns"}),
        ("pangaea/search", search_and_train, {"history", "found"}),
        ("pangaea/parameters", train_once, {"history", "course"}),
    ],
)
def test_a_run_gives_what_its_claims_are_about(name: str, procedure: Any, more: set[str]) -> None:
    paper, experiment = EXPERIMENTS[name]
    assert getattr(experiment.procedure, "func", experiment.procedure) is procedure
    run = list(planned_runs(paper, experiment, "smoke"))[2 if name == "pangaea/search" else 0]
    line = perform(run, device="cpu", storage=None, command="a command")
    assert more <= line.keys()
    assert line["key"] == run_key(run)
    assert line["command"] == "a command"
    if "layers" in more:
        assert {len(v) for v in line["layers"].values()} == {9}  # activations between ten layers
        assert 0 <= line["scores"]["dead units"] <= 1
    if "found" in more:
        assert line["found"]


def test_an_experiment_names_its_functions_and_scales() -> None:
    with pytest.raises(ValueError, match="the experiment 'one' has no function 'gelu'"):
        little.experiment(functions={"relu": "relu"})
    with pytest.raises(ValueError, match=r"the experiment 'one' has the scale 'tiny' \(known: smoke, laptop, full\)"):
        little.experiment(scales={"tiny": Scale(little.TWO_PARTS)})


def test_a_variant_in_words_and_as_a_module() -> None:
    variant = Variant("sau", learns=("alpha",), initial=(("n", 4.0),), scope="layer")
    assert str(variant) == "sau; alpha learns; n=4; for each layer"
    assert str(Variant("sau", learns=())) == "sau; nothing learns"
    made = activation_choice(variant, "channel")
    assert isinstance(made, Activation)
    assert made.scope == "layer"
    assert [name for name, p in made.named_parameters() if p.requires_grad] == ["alpha"]
    assert activation_choice("relu", "channel") == "relu"
