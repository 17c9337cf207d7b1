"""All-CNN-C (Springenberg et al., Striving for simplicity: the all convolutional net, arXiv:1412.6806)."""

from __future__ import annotations

from torch import nn

from .factory import ActivationFactory
from .images import Bytes

__all__ = ["all_cnn_c"]


def all_cnn_c(
    activation: ActivationFactory,
    *,
    width: int = 96,
    colours: int = 3,
    classes: int = 10,
    normalised: bool = False,
    dropout: tuple[float, float] = (0.2, 0.5),
) -> nn.Module:
    """Nine convolutions, the third and sixth of which halve the image in place of pooling, and the mean of the scores over it.

    Unlike in the paper's Table 1, the scores are linear, as in most versions since: what bounds the outputs of an activation would
    else bound the scores.

    width        channels of the first three convolutions; the next five have twice as many
    normalised   batch normalisation after each convolution but the last, which then have no biases (the paper has none)
    dropout      the shares of the image, and of what each halving gives, that training drops
    """
    # (kernel, stride, padding, channels): the seventh is not padded, so that scores are means over 6 × 6 of an image of 32 × 32
    first, second = ((3, 1, 1), (3, 1, 1), (3, 2, 1)), ((3, 1, 1), (3, 1, 1), (3, 2, 1), (3, 1, 0), (1, 1, 0))
    rows = [*((*row, width) for row in first), *((*row, 2 * width) for row in second)]
    modules: list[nn.Module] = [Bytes(), nn.Dropout(dropout[0])]
    inputs = colours
    for kernel, stride, padding, outputs in rows:
        modules += [nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=not normalised)]
        modules += [nn.BatchNorm2d(outputs)] * normalised + [activation(outputs, 1)]
        modules += [nn.Dropout(dropout[1])] * (stride == 2)
        inputs = outputs
    return nn.Sequential(*modules, nn.Conv2d(inputs, classes, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
