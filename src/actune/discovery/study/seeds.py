"""The seed of a study, and what is derived from it."""

from __future__ import annotations

import hashlib
from random import Random
from weakref import WeakKeyDictionary

from optuna.study import Study

from .attributes import SEED

__all__ = ["candidate_generator", "number_from", "study_seed", "training_seed"]


_SEEDS: WeakKeyDictionary[Study, int] = WeakKeyDictionary()


def study_seed(study: Study, wanted: int | None = None) -> int:
    """The seed of the study, written at its first use, and read once: it does not change."""
    seed = _SEEDS[study] if study in _SEEDS else study.user_attrs.get(SEED)
    if seed is None:
        seed = 0 if wanted is None else wanted
        study.set_user_attr(SEED, seed)
    _SEEDS[study] = seed
    if wanted is not None and wanted != seed:
        raise ValueError(f"seed={wanted}, but the study {study.study_name!r} was begun with {seed}; leave it out to go on")
    return seed


def training_seed(study: Study) -> int:
    """The seed of the trainings of a study's task, and of its probe."""
    return number_from(study_seed(study), "training") % 2**31


def number_from(*words: object) -> int:
    """A number of 64 bits that depends on these words, on every machine alike."""
    return int.from_bytes(hashlib.sha256(":".join(map(str, words)).encode()).digest()[:8], "big")


def candidate_generator(seed: int, number: int, name: str) -> Random:
    """The generator that draws the candidate of this trial for the activation of this name."""
    return Random(number_from(seed, number, name))
