"""Networks of images: the published numbers of parameters and of multiplications, and where their activations are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from actune import Activation
from actune.experiments.models.all_cnn import all_cnn_c
from actune.experiments.models.factory import HIDDEN
from actune.experiments.models.googlenet import googlenet_cifar
from actune.experiments.models.images import Bytes
from actune.experiments.models.lenet import lenet5
from actune.experiments.models.mobilenet import mobilenet_v1
from actune.experiments.models.resnet import resnet_v1, resnet_v2, wide_resnet
from actune.experiments.models.shufflenet import shufflenet_v2
from actune.experiments.models.transformer import FEED_FORWARD, vit

Model = Callable[..., nn.Module]


class Observed(nn.Module):
    """ReLU that checks the width at its dimension, and counts its calls."""

    def __init__(self, width: int, dim: int = -1, place: str = HIDDEN):
        super().__init__()
        self.width, self.dim, self.place, self.calls = width, dim, place, 0

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[self.dim] == self.width
        self.calls += 1
        return torch.relu(x)


def relu(width: int, dim: int = -1, place: str = HIDDEN) -> nn.Module:
    return nn.ReLU()


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def on_meta(model: Model) -> nn.Module:
    """The network without memory for its weights: shapes and operations only."""
    with torch.device("meta"):
        return model(relu)


# The published number of parameters, and who says so.
PARAMETERS = [
    (lenet5, 61_706, "d2l.ai and many others: 156 + 2,416 + 48,120 + 10,164 + 850"),
    (partial(lenet5, colours=3, side=32), 62_006, "PyTorch's CIFAR-10 tutorial, whose network it is: 456 in the first layer"),
    (all_cnn_c, 1_369_738, "Keras versions of All-CNN-C; the paper says 1.3 M (Table 2)"),
    (resnet_v1, 853_018, "the paper says 0.85 M (Table 6); versions of it with option A that count say this"),
    (partial(resnet_v1, depth=20), 269_722, "the paper says 0.27 M (Table 6); likewise"),
    (partial(resnet_v2, bottleneck=False), 855_578, "github.com/osmr/imgclsmob, PreResNet-56"),
    (partial(wide_resnet, depth=28, widening=10), 36_479_194, "github.com/osmr/imgclsmob; the paper says 36.5 M (Table 4)"),
    (partial(wide_resnet, depth=16, widening=10), 17_116_634, "github.com/osmr/imgclsmob; the paper says 17.1 M (Table 4)"),
    (partial(wide_resnet, depth=40, widening=8), 35_748_314, "github.com/osmr/imgclsmob; the paper says 35.7 M (Table 4)"),
    (partial(shufflenet_v2, size=0.5, stem="imagenet", classes=1000), 1_366_792, "torchvision, shufflenet_v2_x0_5"),
    (partial(shufflenet_v2, size=1.0, stem="imagenet", classes=1000), 2_278_604, "torchvision, shufflenet_v2_x1_0"),
    (partial(shufflenet_v2, size=1.5, stem="imagenet", classes=1000), 3_503_624, "torchvision, shufflenet_v2_x1_5"),
    (partial(shufflenet_v2, size=2.0, stem="imagenet", classes=1000), 7_393_996, "torchvision, shufflenet_v2_x2_0"),
    (shufflenet_v2, 1_263_854, "forks of github.com/kuangliu/pytorch-cifar that list parameters"),
    (partial(mobilenet_v1, stem="imagenet", classes=1000), 4_231_976, "github.com/osmr/imgclsmob; the paper says 4.2 M (Table 6)"),
    (partial(mobilenet_v1, multiplier=0.75, stem="imagenet", classes=1000), 2_585_560, "github.com/osmr/imgclsmob"),
    (partial(mobilenet_v1, multiplier=0.5, stem="imagenet", classes=1000), 1_331_592, "github.com/osmr/imgclsmob"),
    (mobilenet_v1, 3_217_226, "forks of github.com/kuangliu/pytorch-cifar that list parameters"),
    (googlenet_cifar, 6_166_250, "forks of github.com/kuangliu/pytorch-cifar that list parameters"),
    (partial(vit, side=224, patch=16, classes=1000), 5_717_416, "timm, vit_tiny_patch16_224"),
]


@pytest.mark.parametrize(("model", "parameters", "source"), PARAMETERS)
def test_the_number_of_parameters_is_the_published_one(model, parameters, source):
    assert count(on_meta(model)) == parameters, source


def test_the_bottlenecks_of_resnet_v2_are_those_of_keras():
    """Its examples/cifar10_resnet.py has biases in all convolutions; the summary at depth 56 says 1,663,338 trainable."""
    model = on_meta(resnet_v2)
    assert count(model) + sum(m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d)) == 1_663_338


def test_wrn_10_4_has_one_block_in_each_stage():
    """No published number: the first layer; blocks of 16, 64, 128 to 64, 128, 256 with their shortcuts; the scores."""
    blocks = sum(2 * a + 9 * a * b + 2 * b + 9 * b * b + a * b for a, b in pairwise((16, 64, 128, 256)))
    assert count(on_meta(wide_resnet)) == 27 * 16 + blocks + 2 * 256 + 2570 == 1_198_810


def test_normalising_all_cnn_adds_a_scale_for_each_channel():
    assert count(on_meta(partial(all_cnn_c, normalised=True))) == 1_369_738 + 3 * 96 + 5 * 192


# Multiplications and additions of an image, in millions, as published: strides and paddings show here.
OPERATIONS = [
    (lenet5, (1, 28, 28), 0.4165, "d2l.ai's network: 117,600 + 240,000 + 48,000 + 10,080 + 840"),
    (resnet_v1, (3, 32, 32), 127.06, "github.com/osmr/imgclsmob, with normalisation, activations and 1 × 1 shortcuts"),
    (partial(resnet_v2, bottleneck=False), (3, 32, 32), 127.03, "github.com/osmr/imgclsmob, likewise"),
    (partial(wide_resnet, depth=28, widening=10), (3, 32, 32), 5246.98, "github.com/osmr/imgclsmob, likewise"),
    (partial(shufflenet_v2, size=0.5, stem="imagenet", classes=1000), (3, 224, 224), 41, "the paper, Table 5"),
    (partial(shufflenet_v2, size=1.0, stem="imagenet", classes=1000), (3, 224, 224), 146, "the paper, Table 5"),
    (partial(shufflenet_v2, size=2.0, stem="imagenet", classes=1000), (3, 224, 224), 591, "the paper, Table 5"),
    (partial(mobilenet_v1, stem="imagenet", classes=1000), (3, 224, 224), 569, "the paper, Table 6"),
    (partial(mobilenet_v1, multiplier=0.5, stem="imagenet", classes=1000), (3, 224, 224), 149, "the paper, Table 6"),
    (mobilenet_v1, (3, 32, 32), 47.18, "forks of github.com/kuangliu/pytorch-cifar, with normalisation"),
    (googlenet_cifar, (3, 32, 32), 1529.43, "forks of github.com/kuangliu/pytorch-cifar, with normalisation"),
]


@pytest.mark.parametrize(("model", "shape", "millions", "source"), OPERATIONS)
def test_the_number_of_operations_is_about_the_published_one(model, shape, millions, source):
    network = on_meta(model)
    with FlopCounterMode(display=False) as counted, torch.device("meta"):
        network(torch.empty(1, *shape, dtype=torch.uint8))
    assert counted.get_total_flops() / 2e6 == pytest.approx(millions, rel=0.02), source


# Small networks: model, shape of an image, number of activations, place of them.
SMALL = [
    (lenet5, (1, 28, 28), 4, HIDDEN),
    (partial(lenet5, colours=3, side=32, pooling="average"), (3, 32, 32), 4, HIDDEN),
    (partial(all_cnn_c, width=4), (3, 32, 32), 8, HIDDEN),
    (partial(all_cnn_c, width=4, normalised=True), (3, 32, 32), 8, HIDDEN),
    (partial(resnet_v1, depth=14, width=4), (3, 16, 16), 13, HIDDEN),
    (partial(resnet_v2, depth=20, width=4), (3, 16, 16), 19, HIDDEN),
    (partial(resnet_v2, depth=14, width=4, bottleneck=False), (3, 16, 16), 13, HIDDEN),
    (partial(wide_resnet, width=2), (3, 16, 16), 7, HIDDEN),
    (partial(shufflenet_v2, size=0.5), (3, 16, 16), 37, HIDDEN),
    (partial(shufflenet_v2, size=0.5, stem="imagenet"), (3, 64, 64), 37, HIDDEN),
    (partial(mobilenet_v1, multiplier=0.125), (3, 32, 32), 27, HIDDEN),
    (partial(mobilenet_v1, multiplier=0.125, stem="imagenet"), (3, 64, 64), 27, HIDDEN),
    (partial(googlenet_cifar, multiplier=0.125), (3, 16, 16), 64, HIDDEN),
    (partial(googlenet_cifar, multiplier=0.125, stride=2), (3, 32, 32), 64, HIDDEN),
    (partial(vit, side=16, width=8, depth=2, heads=2), (3, 16, 16), 2, FEED_FORWARD),
]


def images(shape: tuple[int, ...], n: int = 3) -> Tensor:
    return torch.randint(256, (n, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("model", "shape", "activations", "place"), SMALL)
def test_each_activation_is_a_module_of_its_own_at_its_place(model, shape, activations, place):
    made: list[Observed] = []

    def factory(width: int, dim: int = -1, place: str = HIDDEN) -> nn.Module:
        made.append(Observed(width, dim, place))
        return made[-1]

    network = model(factory, classes=7)
    scores = network(images(shape))
    assert scores.shape == (3, 7)
    assert [m.calls for m in made] == [1] * activations
    assert {m.place for m in made} == {place}
    scores.logsumexp(-1).sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@pytest.mark.parametrize(("model", "shape", "activations", "place"), SMALL)
def test_each_channel_may_have_parameters_of_its_own(model, shape, activations, place):
    made = []

    def factory(width: int, dim: int = -1, place: str = HIDDEN) -> nn.Module:
        made.append(Activation("swish", scope="channel", channels=width, dim=dim))
        return made[-1]

    model(factory)(images(shape)).square().sum().backward()
    assert all(m.beta.grad is not None and m.beta.grad.shape == (m.channels,) for m in made)


@pytest.mark.parametrize(
    ("model", "side"),
    [
        (partial(lenet5, side=32, colours=3), 32),
        (partial(all_cnn_c, width=8, normalised=True, dropout=(0, 0)), 16),
        (partial(resnet_v1, depth=8, width=4), 16),
        (partial(resnet_v2, depth=11, width=4), 16),
        (partial(wide_resnet, width=4, widening=2), 16),
        (partial(shufflenet_v2, size=0.5), 8),
        (partial(mobilenet_v1, multiplier=0.125), 16),
        (partial(googlenet_cifar, multiplier=0.125), 8),
        (partial(vit, side=16, width=32, depth=2, heads=2), 16),
    ],
)
def test_it_learns(model, side):
    """Which of the three colours is bright."""
    torch.manual_seed(0)
    network, y = model(relu, classes=3), torch.arange(12) % 3
    x = images((3, side, side), 12)
    x[torch.arange(12), y] |= 128
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(30):
        loss = nn.functional.cross_entropy(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5


def test_the_residuals_of_v1_are_added_to_the_image():
    """Without residuals, a network of identities is its first layer at every fourth pixel, with zeros for new channels."""
    network = resnet_v1(lambda *_: nn.Identity(), depth=8, width=4).eval()
    assert isinstance(network, nn.Sequential)
    for block in network[4:7]:
        nn.init.zeros_(block.residual[-1].weight)
    x = images((3, 16, 16))
    first = network[:4](x)
    last = network[4:7](first)
    assert last.shape == (3, 16, 4, 4)
    assert torch.equal(last[:, :4], first[:, :, ::4, ::4])
    assert not last[:, 4:].any()


def test_shufflenet_mixes_both_halves():
    """A unit keeps the first half of its channels as they are, at the even places of what it gives."""
    network = shufflenet_v2(relu, size=0.5).eval()
    assert isinstance(network, nn.Sequential)
    x = torch.randn(2, 48, 4, 4)
    found = network[5](x)
    assert torch.equal(found[:, ::2], x[:, :24])
    assert not torch.isclose(found[:, 1::2], x[:, 24:]).all()


def test_poolings_of_lenet_differ():
    x = images((1, 28, 28))
    networks = [lenet5(relu, pooling=pooling) for pooling in ("max", "average")]
    networks[1].load_state_dict(networks[0].state_dict())
    most, mean = (network[1:4](network[0](x)) for network in networks)  # type: ignore[index]
    assert (most > mean).float().mean() > 0.5
    assert not (most < mean).any()


def test_convolutions_of_resnets_begin_as_published():
    torch.manual_seed(0)
    weights = [m.weight for m in wide_resnet(relu).modules() if isinstance(m, nn.Conv2d)]
    for weight in weights:
        assert weight.std().item() == pytest.approx((2 / (weight.shape[0] * weight[0, 0].numel())) ** 0.5, rel=0.15)


def test_dropout_of_all_cnn_stands_where_the_paper_has_it():
    network = all_cnn_c(relu, width=4)
    shares = [(i, m.p) for i, m in enumerate(network.children()) if isinstance(m, nn.Dropout)]
    assert shares == [(1, 0.2), (8, 0.5), (15, 0.5)]


def test_branches_of_googlenet_see_as_far_as_published():
    """One pixel changes 1 × 1, 3 × 3, 5 × 5 and, by pooling, 3 × 3 places of the branches."""
    network = googlenet_cifar(lambda *_: nn.Identity(), multiplier=0.125).eval()
    assert isinstance(network, nn.Sequential)
    x = torch.zeros(1, 24, 9, 9)
    bright = x.clone()
    bright[:, :, 4, 4] = 1
    changed = [(branch(bright) != branch(x)).any(1).sum().item() for branch in network[4].branches]
    assert changed == [1, 9, 25, 9]


def test_blocks_of_vit_are_those_of_torch():
    """`nn.TransformerEncoderLayer` with the normalisation first, with equal weights."""
    torch.manual_seed(0)
    network = vit(relu, width=16, depth=1, heads=2)
    assert isinstance(network, nn.Sequential)
    block, theirs = network[2], nn.TransformerEncoderLayer(16, 2, 64, 0, batch_first=True, norm_first=True)
    norm, attended = block.attended
    second_norm, inner, _, outer = block.feed_forward
    for ours, copied in (
        *((norm, theirs.norm1), (block.mixed, theirs.self_attn.out_proj), (second_norm, theirs.norm2)),
        *((inner, theirs.linear1), (outer, theirs.linear2)),
    ):
        for p in ours.parameters():
            nn.init.normal_(p)
        copied.load_state_dict(ours.state_dict())
    nn.init.normal_(attended.weight)
    theirs.self_attn.load_state_dict(
        {
            "in_proj_weight": attended.weight,
            "in_proj_bias": attended.bias,
            "out_proj.weight": block.mixed.weight,
            "out_proj.bias": block.mixed.bias,
        }
    )
    x = torch.randn(3, 5, 16)
    torch.testing.assert_close(block(x), theirs(x))


def test_vit_sees_where_patches_are():
    torch.manual_seed(0)
    network, x = vit(relu, side=16, width=16, depth=1, heads=2), images((3, 16, 16))
    assert not torch.allclose(network(x), network(x.roll(4, 2)), atol=1e-4)


def test_scores_of_all_cnn_are_means_over_6_by_6():
    """The paper, section 3: global averaging over 6 × 6 places."""
    network = all_cnn_c(relu, width=4)
    assert isinstance(network, nn.Sequential)
    assert network[:-2](images((3, 32, 32))).shape == (3, 10, 6, 6)


def test_blocks_of_v2_add_to_what_is_not_activated_yet():
    """The first of a stage adds to a projection of what is; all others to their input itself."""
    network = resnet_v2(relu, depth=20, width=4).eval()
    assert isinstance(network, nn.Sequential)
    first, second = network[2], network[3]
    for block in (first, second):
        nn.init.zeros_(block.residual[-1].weight)
    x = torch.randn(2, 4, 8, 8)
    assert torch.equal(first(x), first.projection(torch.relu(first.first[0](x))))
    x = torch.randn(2, 16, 8, 8)
    assert torch.equal(second(x), x)


def test_bytes_become_numbers_around_zero():
    assert Bytes()(torch.tensor([0, 51, 255], dtype=torch.uint8)[None, :, None, None]).flatten().tolist() == [
        -1,
        pytest.approx(-0.6),
        1,
    ]


@pytest.mark.parametrize(("model", "shape", "activations", "place"), [row for row in SMALL if row[1][0] == 3])
def test_channels_stay_last_in_memory(model, shape, activations, place):
    """Layers that change the layout make others copy: the network would be slower."""
    network, layouts = model(relu), []
    for module in network.modules():
        module.register_forward_hook(
            lambda m, x, y: layouts.append(y.is_contiguous(memory_format=torch.channels_last)) if y.dim() == 4 else None
        )
    network(images(shape))
    assert layouts
    assert all(layouts)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (partial(lenet5, side=64), r"^side must be 28 or 32 for LeNet-5, got 64; crop or pad the images$"),
        (partial(lenet5, pooling="mean"), r"^pooling must be one of average, max, got 'mean'$"),
        (partial(resnet_v1, depth=21), r"^depth must be 6n \+ 2 here, such as 20, got 21$"),
        (partial(resnet_v1, depth=2), r"^depth must be 6n \+ 2 here, such as 20, got 2$"),
        (partial(resnet_v2, depth=32), r"^depth must be 9n \+ 2 here, such as 29, got 32$"),
        (partial(wide_resnet, depth=12), r"^depth must be 6n \+ 4 here, such as 22, got 12$"),
        (partial(shufflenet_v2, size=3), r"^size must be one of 0\.5, 1\.0, 1\.5, 2\.0, got 3$"),
        (partial(mobilenet_v1, stem="cifar10"), r"^stem must be one of cifar, imagenet, got 'cifar10'; did you mean 'cifar'\?$"),
        (partial(vit, patch=5), r"^patch must divide the side of the images, 32, got 5$"),
        (partial(vit, width=64), r"^heads must divide the width, 64, got 3$"),
    ],
)
def test_bad_arguments_are_told_in_one_line(model, message):
    with pytest.raises(ValueError, match=message):
        model(relu)
