"""Random changes of a batch of images that leave its classes as they are, drawn from a generator of their own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

__all__ = ["AUGMENTATIONS", "Augmentation"]

Augmentation = Callable[[Tensor, torch.Generator], Tensor]  # images (n, colours, height, width) -> images of that shape
MARGIN = 4  # pixels by which a crop may move, as in He et al., 2016 (arXiv:1512.03385, section 4.2)
TURN, ZOOM, SHIFT = 0.25, 0.15, 0.1  # how far `affine` goes: radians (14 degrees), of the size, of the side


def flip(images: Tensor, draw: torch.Generator) -> Tensor:
    """Mirror each image from left to right with probability one half."""
    mirrored = torch.rand(len(images), generator=draw) < 0.5
    return torch.where(mirrored.to(images.device)[:, None, None, None], images.flip(-1), images)


def crop(images: Tensor, draw: torch.Generator) -> Tensor:
    """Add a margin of zeros to each image, and cut a window of its old size from a random place."""
    n, colours, height, width = images.shape
    moved = torch.randint(2 * MARGIN + 1, (2, n, 1), generator=draw)
    rows = (moved[0] + torch.arange(height))[:, None, :, None]
    columns = (moved[1] + torch.arange(width))[:, None, None, :]
    image, colour = torch.arange(n)[:, None, None, None], torch.arange(colours)[:, None, None]
    return pad(images, [MARGIN] * 4)[tuple(index.to(images.device) for index in (image, colour, rows, columns))]


def crop_and_flip(images: Tensor, draw: torch.Generator) -> Tensor:
    """Crop each image, then mirror it: the usual augmentation of CIFAR."""
    return flip(crop(images, draw), draw)


def affine(images: Tensor, draw: torch.Generator) -> Tensor:
    """Turn, zoom and shift each image by a random little; what comes in from outside repeats the border."""
    n, _, height, width = images.shape
    turn, zoom, across, down = 2 * torch.rand(4, n, generator=draw) - 1
    size, angle = 1 + ZOOM * zoom, TURN * turn
    cos, sin = size * angle.cos(), size * angle.sin()
    # From a place of the new image to that of the old; in both, the sides are at -1 and 1, whatever the shape of the image.
    rows = [cos, -sin * height / width, 2 * SHIFT * across, sin * width / height, cos, 2 * SHIFT * down]
    places = affine_grid(torch.stack(rows, 1).view(n, 2, 3), list(images.shape), align_corners=False).to(images.device)
    moved = grid_sample(images.to(places.dtype), places, padding_mode="border", align_corners=False)
    return moved if images.is_floating_point() else moved.round().to(images.dtype)


AUGMENTATIONS: dict[str, Augmentation | None] = {
    "none": None,
    "flip": flip,
    "crop": crop,
    "crop and flip": crop_and_flip,
    "affine": affine,
}
