"""Data for the detection of anomalies: what trains and validates is normal; targets of the test part are 0 normal, 1 anomaly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .files import cached_by_folder, open_data
from .images import read_idx
from .parts import Part, Split, last_validate

__all__ = ["contrast", "mvtec", "one_class"]


@cached_by_folder
def one_class(folder: str, digit: int, validation: float = 1 / 6) -> Split:
    """One class of MNIST or Fashion-MNIST against all others, as in Deep SVDD (Ruff et al., ICML 2018), section 4.2.

    The training images of the class train, but the last share of them, which validates; all test images test. Inputs, shape
    (n, 1, 28, 28), are contrasts, (x - mean) / mean |x - mean| for each image, scaled to [0, 1] by the least and the largest number
    of all training images of the class, as in the published code. Test images may leave that range.
    """
    if digit not in range(10):
        raise ValueError(f"digit must be a class from 0 to 9, got {digit!r}")
    train, test = (read_idx(f"{folder}/{part}") for part in ("train", "t10k"))
    normal = contrast(train.inputs[train.targets == digit])
    low, high = normal.min(), normal.max()
    scaled, tested = (normal - low) / (high - low), (contrast(test.inputs) - low) / (high - low)
    return last_validate(_normal(scaled), Part(tested, (test.targets != digit).long()), validation)


def contrast(images: Tensor) -> Tensor:
    """Global contrast normalisation with the L1 scale: bytes (n, 1, h, w) as numbers of mean 0 and mean absolute value 1."""
    centred = images.double() / 255
    centred -= centred.mean((1, 2, 3), keepdim=True)
    return (centred / centred.abs().mean((1, 2, 3), keepdim=True)).float()


def _normal(inputs: Tensor) -> Part:
    return Part(inputs, torch.zeros(len(inputs), dtype=torch.int64))


@cached_by_folder
def mvtec(category: str, side: int = 256, validation: float = 1 / 6) -> Split:
    """A category of MVTec AD (Bergmann et al., CVPR 2019) as bytes, shape (n, 3, side, side); grey images have equal colours.

    It is read from mvtec/CATEGORY/train/good and mvtec/CATEGORY/test/DEFECT, in the order of the names; `good` is no defect.
    """
    with open_data(f"mvtec/{category}") as folder:
        normal = _pictures(folder / "train" / "good", side)
        defects = sorted(path for path in (folder / "test").glob("*") if path.is_dir())
        if not defects:
            raise ValueError("there are no folders in test")
        tested = [_pictures(defect, side) for defect in defects]
    anomalous = [torch.full((len(found),), int(defect.name != "good")) for defect, found in zip(defects, tested, strict=True)]
    return last_validate(_normal(normal), Part(torch.cat(tested), torch.cat(anomalous)), validation)


def _pictures(folder: Path, side: int) -> Tensor:
    """All PNG files of a folder, in the order of their names, scaled to side × side."""
    from PIL import Image

    found = []
    for path in sorted(folder.glob("*.png")):
        try:
            with Image.open(path) as image:
                found.append(np.array(image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)))
        except (OSError, SyntaxError) as error:  # of Pillow, for what is not an image or breaks off
            raise ValueError(f"{path.parent.name}/{path.name}: {error}") from None
    if not found:
        raise ValueError(f"there are no PNG files in {folder.parent.name}/{folder.name}")
    return torch.from_numpy(np.stack(found)).movedim(-1, 1).contiguous()
