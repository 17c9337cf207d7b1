"""Teacher and student: a small network learns to give the features of a large one, and fails where an image is not normal.

Salehi et al., "Multiresolution Knowledge Distillation for Anomaly Detection", CVPR 2021, arXiv:2011.11108.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from .extractors import Extractor, outputs_at, vgg16, vgg_layers
from .factory import ActivationFactory

__all__ = ["knowledge_distillation"]

_STUDENT = ((16, 16), (16, 128), (16, 16, 256), (16, 16, 512), (16, 16, 512))  # the widths of the authors' code


def knowledge_distillation(
    activation: ActivationFactory,
    *,
    teacher: Callable[[], Extractor] = vgg16,
    widths: Sequence[Sequence[int]] = _STUDENT,
    value: float = 0.5,
) -> nn.Module:
    """A student of a frozen teacher in the form of VGG; its outputs, (n, 1), are scores, for images as the teacher takes them.

    widths   the channels of the student's convolutions, block by block; each block but the first ends with as many as the
             teacher's, where the two are compared
    value    the weight of the squared error beside the direction, 1 - cosine

    A task trains it by the loss "score".
    """
    made = teacher()
    ends = [block[-1] for block in widths[1:]]
    if ends != made.channels:
        raise ValueError(f"the blocks of the student after the first must end with {made.channels} channels, as the teacher's do, "
                         f"got widths={widths!r}")  # fmt: skip
    return Distillation(made, *vgg_layers(activation, widths, normalised=True), value)


class Distillation(nn.Module):
    """How far the features of the student are from those of the teacher, for each image."""

    def __init__(self, teacher: Extractor, layers: nn.Sequential, ends: Sequence[int], value: float):
        super().__init__()
        self.teacher, self.student, self.taps, self.value = teacher, layers, tuple(ends[1:]), value

    def forward(self, images: Tensor) -> Tensor:
        wanted = self.teacher(images)
        found = outputs_at(self.student, self.taps, self.teacher.normalise(images))
        return torch.stack([self._distance(a, b) for a, b in zip(found, wanted, strict=True)]).sum(0)[:, None]

    def _distance(self, found: Tensor, wanted: Tensor) -> Tensor:
        """The mean squared error of one layer's features, and one minus the cosine between them, (n,)."""
        found, wanted = found.flatten(1), wanted.flatten(1)
        return self.value * (found - wanted).square().mean(1) + 1 - cosine_similarity(found, wanted)
