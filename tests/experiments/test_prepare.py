"""What a task does to its networks before they train: under the seed, without an influence on the batches, and known to a study."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from quadrants import TINY
from torch import Tensor, nn

from actune import resolve
from actune.discovery import Fisher
from actune.experiments import MEASURES, Part, Split, train, train_together
from actune.experiments.identity import network, training_key
from actune.experiments.losses import LOSSES
from actune.experiments.models.small import strided
from actune.experiments.training.together import why_alone


def draws(model: nn.Module, part: Part) -> None:
    torch.rand(1000)


def shakes(model: nn.Module, part: Part, *, by: float = 0.5) -> None:
    assert len(part) == 50
    with torch.no_grad():
        for p in model.parameters():
            p += by * torch.randn_like(p)


def images() -> Split:
    part = Part(torch.arange(50 * 64, dtype=torch.float32).sin().view(50, 1, 8, 8) * 128, torch.arange(50) % 2)
    return Split(part, part, part)


DRAWS, SHAKES = replace(TINY, prepare=draws), replace(TINY, prepare=shakes)


def test_what_it_draws_changes_no_batch():
    assert train(DRAWS, "swish", 3, test=True) == train(TINY, "swish", 3, test=True)
    flipped = replace(TINY, data=images, model=partial(strided, side=8, widths=(4,), outputs=2)).with_recipe(augmentation="flip")
    assert train(replace(flipped, prepare=draws), "swish", 3) == train(flipped, "swish", 3)


def test_it_is_done_once_under_the_seed():
    assert train(SHAKES, "swish", 3) == train(SHAKES, "swish", 3)
    seen: list[Tensor] = []
    watched = replace(TINY, prepare=lambda model, part: seen.append(model[0].weight.detach().clone()) or shakes(model, part))
    assert train(watched, "swish", 3) == train(SHAKES, "swish", 3) != train(TINY, "swish", 3)
    torch.manual_seed(3)
    _ = [torch.randperm(50) for _ in range(TINY.recipe.epochs)]
    assert torch.equal(seen[0], TINY.model(lambda width: nn.Tanh())[0].weight)
    assert len(seen) == 1


def test_such_networks_train_one_by_one():
    assert why_alone(SHAKES, "swish") == "its networks are prepared before they train"
    assert train_together(SHAKES, ["swish", "swish"], [0, 1]) == [train(SHAKES, "swish", seed) for seed in (0, 1)]


def test_a_study_knows_how_networks_were_prepared():
    f = resolve("swish")
    tasks = [TINY, DRAWS, SHAKES, replace(TINY, prepare=partial(shakes, by=0.1)), replace(TINY, prepare=partial(shakes, by=0.2))]
    assert len({network(t) for t in tasks}) == len({training_key(t, 0, f) for t in tasks}) == 5
    assert network(replace(TINY, prepare=partial(shakes, by=0.1))) == network(tasks[3])
    assert network(replace(TINY, prepare=lambda model, part: None)) is None


# -- losses of scores ----------------------------------------------------------------------------------------------------


def test_scores_are_made_small_where_all_is_normal():
    scores = torch.tensor([[-1.0], [4.0], [3.0], [50.0]], requires_grad=True)
    targets = torch.tensor([[0.0], [0.0], [0.0], [1.0]])
    assert LOSSES["score"].function(scores, targets) == 2
    assert LOSSES["score"].function(scores, targets[:, 0].long()) == 2
    beyond = LOSSES["soft boundary"].function(scores, targets)
    assert beyond.item() == pytest.approx((0 + 4 + 3) / 3 / 0.1)
    beyond.backward()
    assert scores.grad.flatten().tolist() == pytest.approx([0, 10 / 3, 10 / 3, 0])


def test_tasks_of_scores_are_about_the_area_under_the_curve_and_not_searched_by_fisher():
    for loss in ("score", "soft boundary"):
        t = replace(TINY, name="odd", loss=loss)
        assert t.measured == (MEASURES["AUROC"],)
        with pytest.raises(ValueError, match="the task 'odd' has no Fisher information: its network's outputs are no") as e:
            Fisher(t)(resolve("tanh"))
        assert "\n" not in str(e.value)
