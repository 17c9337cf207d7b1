"""A recipe is followed: rates as those of torch's schedulers, decay, clipping, augmentation; alone and side by side."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import pytest
import torch
from quadrants import TINY
from torch import nn
from torch.optim import lr_scheduler

from actune import Activation
from actune.experiments import Part, Recipe, Split, Task, train, train_together
from actune.experiments.data.augmentation import AUGMENTATIONS, SHIFT, TURN, ZOOM, affine, crop, flip
from actune.experiments.recipe import OPTIMIZERS, SCHEDULES, learning_rate_at, make_optimizer, model_groups
from actune.experiments.training import steps
from actune.experiments.training.together import is_stackable, why_alone

SGD = {"optimizer": "sgd", "optimizer_options": {"momentum": 0.9, "nesterov": True}}
RECIPES = {
    "adamw": {"optimizer": "adamw", "optimizer_options": {"betas": (0.8, 0.99)}, "weight_decay": 3.0},
    "adam with decay": {"weight_decay": 0.1},
    "sgd": {"learning_rate": 0.1, **SGD},
    "sgd without momentum": {"learning_rate": 0.1, "optimizer": "sgd"},
    "rmsprop": {"optimizer": "rmsprop", "optimizer_options": {"alpha": 0.9, "momentum": 0.5, "centered": True}},
    "schedule": {"learning_rate": 0.01, "schedule": "cosine", "warmup": 0.2},
    "clip": {"learning_rate": 0.1, "clip": 0.05, **SGD},
}


# -- what a recipe may be ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"optimizer": "adamm"}, r"unknown optimizer 'adamm'; did you mean 'adam'\? \(known: adam, adamw, sgd, rmsprop\)"),
        ({"schedule": "cosin"}, r"unknown schedule 'cosin'; did you mean 'cosine'\?"),
        ({"augmentation": "flipp"}, r"unknown augmentation 'flipp'; did you mean 'flip'\?"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        ({"batch_size": 2.5}, "batch_size must be a whole number of at least 1, got 2.5"),
        ({"learning_rate": -1}, "learning_rate must be a number of at least 0, got -1"),
        ({"weight_decay": math.nan}, "weight_decay must be a number of at least 0, got nan"),
        ({"warmup": 1}, "warmup must be a number from 0 to below 1, got 1"),
        ({"clip": 0}, "clip must be a positive number, got 0"),
        ({"optimizer_options": {"momentum": 0.9}}, r"the optimizer 'adam' has no option 'momentum' \(it has betas, eps, amsgrad\)"),
        ({"optimizer": "sgd", "optimizer_options": {"momentun": 0.9}}, r"no option 'momentun'; did you mean 'momentum'\?"),
        ({"optimizer_options": {"betas": (0.9, 1)}}, "the option 'betas' of the optimizer 'adam' must be two numbers from 0"),
        ({"optimizer": "sgd", "optimizer_options": {"nesterov": True}}, "nesterov=True needs a momentum above 0 and no dampening"),
        ({"schedule": "steps", "schedule_options": {"at": (0.7, 0.5)}}, "the option 'at' of the schedule 'steps' must be rising"),
        ({"schedule": "steps", "schedule_options": {"at": (30, 60)}}, "must be rising shares of the training, such as"),
        ({"schedule_options": {"final": 0}}, r"the schedule 'constant' has no option 'final' \(it has none\)"),
        ({"schedule": "one cycle", "warmup": 0.1}, "the schedule 'one cycle' warms up by itself; leave out warmup=0.1"),
    ],
)  # fmt: skip
def test_a_wrong_recipe_is_refused_in_one_line(wrong, message):
    with pytest.raises(ValueError, match=message) as caught:
        Recipe(**wrong)
    assert "\n" not in str(caught.value)


def test_a_recipe_is_data():
    recipe = Recipe(5, **SGD)
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert hash(recipe) == hash(Recipe(5, **SGD))
    assert TINY.with_recipe(clip=1.0).recipe == replace(TINY.recipe, clip=1.0)
    assert [TINY.with_recipe(epochs=20).trained_for(share).recipe.epochs for share in (0.0, 0.5, 2)] == [1, 10, 40]


# -- the learning rate ---------------------------------------------------------------------------------------------------


def by_torch(scheduler, total: int, **options) -> list[float]:
    """The learning rates of torch's scheduler, from 0.5."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = scheduler(optimizer, **options)
    rates = []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("recipe", "scheduler", "options"),
    [
        ({}, lr_scheduler.ConstantLR, {"factor": 1.0}),
        ({"schedule": "cosine", "schedule_options": {"final": 0.1}}, lr_scheduler.CosineAnnealingLR,
         {"T_max": 200, "eta_min": 0.05}),
        ({"schedule": "linear"}, lr_scheduler.LinearLR, {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 200}),
        ({"schedule": "steps", "schedule_options": {"at": (0.3, 0.6, 0.8), "factor": 0.2}}, lr_scheduler.MultiStepLR,
         {"milestones": [60, 120, 160], "gamma": 0.2}),
        ({"warmup": 0.1}, lr_scheduler.LinearLR, {"start_factor": 1 / 20, "total_iters": 19}),
    ],
)  # fmt: skip
def test_schedules_are_those_of_torch(recipe, scheduler, options):
    found = [learning_rate_at(Recipe(learning_rate=0.5, **recipe), step, 200) for step in range(200)]
    assert found == pytest.approx(by_torch(scheduler, 200, **options), rel=1e-9, abs=1e-12)


def test_one_cycle_is_that_of_torch_between_its_steps():
    """The one of torch counts from the first step to the last, ours to the end of the last."""
    found = [learning_rate_at(Recipe(learning_rate=0.5, schedule="one cycle"), step, 2000) for step in range(2000)]
    assert found == pytest.approx(by_torch(lr_scheduler.OneCycleLR, 2000, max_lr=0.5, total_steps=2000), abs=2e-3)
    assert (found[0], max(found)) == (pytest.approx(0.02), pytest.approx(0.5))
    assert found[-1] < 1e-5


def test_after_the_warm_up_the_schedule_has_its_whole_shape():
    recipe = Recipe(learning_rate=1.0, schedule="cosine", warmup=0.25)
    rates = [learning_rate_at(recipe, step, 400) for step in range(400)]
    assert rates[:100] == pytest.approx([(step + 1) / 100 for step in range(100)])
    assert rates[100:] == pytest.approx([(1 + math.cos(math.pi * k / 300)) / 2 for k in range(300)])


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("total", [1, 2, 3, 7])
def test_no_schedule_fails_in_a_short_training(name, total):
    for warmup in (0.0, 0.3, 0.9) if name != "one cycle" else (0.0,):
        rates = [learning_rate_at(Recipe(schedule=name, warmup=warmup), step, total) for step in range(total)]
        assert all(0 <= rate <= 1e-3 for rate in rates)


def test_training_has_the_rate_of_each_step(monkeypatch):
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(steps, "learning_rate_at", lambda recipe, step, total: asked.append((step, total)) or 0.0)
    assert len(set(train(TINY, nn.Tanh, 0).history)) == 1  # at the rate 0 nothing moves
    assert asked == [(step, 12) for step in range(12)]  # three epochs of 50 points, 16 at a time


# -- optimizers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
def test_training_is_the_loop_that_one_would_write(name):
    """The recipe's optimizer, with its decay, clipping and rates, in a plain loop over torch's own parts."""
    t = TINY.with_recipe(epochs=2, **RECIPES[name])
    recipe, split = t.recipe, t.split(0)
    torch.manual_seed(7)
    orders = [torch.randperm(50) for _ in range(2)]
    model = t.model(lambda width: Activation("swish", scope="channel", channels=width))
    own = [p for i in (1, 3) for p in model[i].parameters()]
    weights = [p for i in (0, 2, 4) for p in model[i].parameters()]
    make = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD, "rmsprop": torch.optim.RMSprop}
    optimizer = make[recipe.optimizer](
        [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": own, "weight_decay": 0.0}],
        lr=recipe.learning_rate, **recipe.optimizer_options,
    )  # fmt: skip
    step = 0
    for order in orders:
        for batch in order.split(recipe.batch_size):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(recipe, step, 8)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(split.train.inputs[batch]), split.train.targets[batch]).backward()
            if recipe.clip is not None:
                length = torch.cat([p.grad.flatten() for p in weights + own]).norm()
                for p in weights + own:
                    p.grad *= min(1.0, recipe.clip / (float(length) + 1e-6))
            optimizer.step()
            step += 1
    expected = float(nn.functional.cross_entropy(model(split.validation.inputs), split.validation.targets).detach())
    found = train(t, "swish", 7).validation_loss
    assert found == pytest.approx(expected, rel=1e-5)
    plain = train(TINY.with_recipe(epochs=2, learning_rate=recipe.learning_rate), "swish", 7).validation_loss
    assert found != pytest.approx(plain, rel=1e-4)  # the recipe made a difference


@pytest.mark.parametrize("name", RECIPES)
def test_side_by_side_is_as_alone_with_every_recipe(name):
    """A report ends the widest formula early: what the optimizer keeps goes on in a smaller stack."""
    t = TINY.with_recipe(epochs=5, **RECIPES[name])
    names = ["swish", "rational", "sau"]
    assert all(is_stackable(t, f) for f in names)
    found = train_together(t, names, [0, 1, 2], report=lambda i, epoch, _: (i, epoch) == (1, 2), course=True)
    for i in (0, 2):
        alone = train(t, names[i], i, course=True)
        assert found[i].history == pytest.approx(alone.history, rel=1e-4)
        for key, after in alone.course.items():
            assert torch.tensor(found[i].course[key]).allclose(torch.tensor(after), rtol=1e-4, atol=1e-6)


def test_weights_decay_and_parameters_of_activations_do_not():
    """Gradients of zero, so that only decay moves: of the weights by the rate times the decay, of activations not."""
    recipe = Recipe(learning_rate=0.1, optimizer="adamw", weight_decay=0.5)
    model = nn.Sequential(nn.Linear(2, 3), Activation("swish"), nn.PReLU())
    before = [p.clone() for p in model.parameters()]
    optimizer = make_optimizer(recipe, model_groups(model, recipe))
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    weight, bias, *own = zip(before, model.parameters(), strict=True)
    assert all(torch.allclose(0.95 * old, new) for old, new in (weight, bias))
    assert all(torch.equal(old, new) for old, new in own)
    assert len(own) == 2


def test_every_optimizer_trains():
    for name in OPTIMIZERS:
        options = SGD | {"learning_rate": 0.1} if name == "sgd" else {"optimizer": name, "learning_rate": 0.01}
        history = train(TINY.with_recipe(epochs=40, **options), nn.Tanh, 0).history
        assert history[-1] < 0.8 * history[0], name


# -- augmentation --------------------------------------------------------------------------------------------------------


def images(n: int = 64) -> torch.Tensor:
    return torch.randint(1, 256, (n, 3, 8, 10), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_a_flip_mirrors_about_half_of_the_images():
    x = images(400)
    y = flip(x, torch.Generator().manual_seed(1))
    mirrored = (y == x.flip(-1)).flatten(1).all(1)
    assert torch.equal(y[~mirrored], x[~mirrored])
    assert 150 < int(mirrored.sum()) < 250


def test_a_crop_is_a_window_of_the_padded_image_at_every_place():
    x = images(2000)
    y = crop(x, torch.Generator().manual_seed(1))
    padded = nn.functional.pad(x, [4] * 4)
    places = set()
    for before, after in zip(padded, y, strict=True):
        at = [(i, j) for i in range(9) for j in range(9) if torch.equal(before[:, i : i + 8, j : j + 10], after)]
        assert len(at) == 1
        places |= set(at)
    assert len(places) == 81


def test_an_affine_change_turns_zooms_and_shifts_within_its_bounds():
    # The colours are the row and the column of each pixel, so that a changed image tells where its pixels come from.
    height, width = 24, 40
    row, column = torch.meshgrid(torch.arange(height) - 11.5, torch.arange(width) - 19.5, indexing="ij")
    where = torch.stack([column, row]).float()
    changed = affine(where.expand(300, 2, height, width), torch.Generator().manual_seed(1))
    centre = (slice(None), slice(None), slice(9, 15), slice(17, 23))  # never from outside
    here = torch.cat([where[centre[1:]].flatten(1), torch.ones(1, 36)])
    matrices = torch.linalg.lstsq(here.T.expand(300, 36, 3), changed[centre].flatten(2).mT).solution.mT  # (300, 2, 3)
    size = torch.linalg.det(matrices[:, :, :2]).sqrt()
    turn = torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0])
    straight = torch.stack([torch.stack([turn.cos(), -turn.sin()], 1), torch.stack([turn.sin(), turn.cos()], 1)], 1)
    torch.testing.assert_close(matrices[:, :, :2], size[:, None, None] * straight, atol=1e-3, rtol=0)  # no shear
    shifts = matrices[:, :, 2] / torch.tensor([width, height])
    for found, bound in ((size - 1, ZOOM), (turn, TURN), (shifts[:, 0], SHIFT), (shifts[:, 1], SHIFT)):
        assert 0.9 * bound < float(found.max()) < 1.001 * bound
        assert 0.9 * bound < -float(found.min()) < 1.001 * bound
    grey = torch.full((3, 1, 8, 10), 7, dtype=torch.uint8)
    assert torch.equal(affine(grey, torch.Generator().manual_seed(1)), grey)  # what comes in from outside is no black


def two_kinds() -> Split:
    part = Part(images(), torch.arange(64) % 2)
    return Split(part, part, part)


def network(activation) -> nn.Module:
    class Scaled(nn.Module):
        def forward(self, x):
            return x.float() / 255

    return nn.Sequential(Scaled(), nn.Flatten(), nn.Linear(240, 4), activation(4), nn.Linear(4, 2))


IMAGES = Task("images", "two kinds", two_kinds, network, Recipe(3, 16, augmentation="crop and flip"))


@pytest.mark.parametrize("name", [name for name in AUGMENTATIONS if name != "none"])
def test_training_images_are_changed_and_others_are_not(name, monkeypatch):
    seen: list[tuple[bool, torch.Tensor]] = []

    def watched(activation):
        model = network(activation)
        model.register_forward_pre_hook(lambda module, args: seen.append((module.training, args[0].clone())))
        return model

    t = replace(IMAGES, model=watched).with_recipe(augmentation=name)
    first = train(t, nn.Tanh, 3)
    trained = [x for training, x in seen if training]
    assert len(trained) == 12
    rows = {tuple(row) for row in images().flatten(1).tolist()}
    assert not {tuple(row) for x in trained for row in x.flatten(1).tolist()} <= rows
    assert all(torch.equal(x, images()) for training, x in seen if not training)
    assert not torch.equal(torch.cat(trained[:4]).sort(0).values, torch.cat(trained[4:8]).sort(0).values)  # each epoch its own
    seen.clear()
    assert train(t, nn.RReLU, 3) != first
    assert all(map(torch.equal, trained, [x for training, x in seen if training]))  # random numbers of its own change no batch
    assert train(t, nn.Tanh, 3) == first


# -- what is not stacked -------------------------------------------------------------------------------------------------


def test_what_a_stack_cannot_do_has_a_reason():
    assert why_alone(TINY, "swish") is None
    assert why_alone(TINY.with_recipe(augmentation="flip"), "swish") == "its batches are changed on the way (flip)"
    assert why_alone(IMAGES, "swish") == "its network is not `mlp` with a hidden layer"
    assert why_alone(TINY, nn.Tanh) == "the activation is a module that is not made from a formula"
    assert why_alone(replace(TINY, scope="layer"), "swish") == "the activation has its parameters per layer"
    assert why_alone(TINY, "mittag_leffler(-abs(x), 0.8, 1)") == "no kernel computes the activation"
