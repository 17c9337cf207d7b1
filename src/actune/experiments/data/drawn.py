"""Small data that is drawn, in the shapes of the real sets: for a look at whether an experiment runs at all."""

from __future__ import annotations

import torch

from .parts import Part, Split

__all__ = ["drawn_images", "drawn_one_class", "drawn_pictures", "drawn_table", "drawn_text", "drawn_windows"]

_SIZES = (32, 16, 16)  # inputs of the three parts


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn_images(colours: int = 3, side: int = 32, classes: int = 10) -> Split:
    """Images of noise as bytes, each as bright as its class, and their classes."""
    parts = []
    for seed, n in enumerate(_SIZES):
        noise = torch.randint(0, 128, (n, colours, side, side), generator=_generator(seed))
        targets = torch.arange(n) % classes
        parts.append(Part((noise + (targets * 127 // classes)[:, None, None, None]).to(torch.uint8), targets))
    return Split(*parts)


def drawn_pictures(side: int = 256) -> Split:
    """Pictures as bytes; those of the test part are brighter where they are anomalies."""
    split = drawn_images(3, side, 2)
    train, validation = (Part(p.inputs, torch.zeros_like(p.targets)) for p in (split.train, split.validation))
    return Split(train, validation, split.test)


def drawn_one_class() -> Split:
    """Grey images of 28 × 28 from 0 to 1; anomalies, in the test part only, have another contrast."""
    train, validation, test = (torch.rand(n, 1, 28, 28, generator=_generator(i)) for i, n in enumerate(_SIZES))
    targets = torch.arange(len(test)) % 2
    others = test * (1 - 0.5 * targets[:, None, None, None])
    normal, more = (Part(x, torch.zeros(len(x), dtype=torch.long)) for x in (train, validation))
    return Split(normal, more, Part(others, targets))


def drawn_table(inputs: int = 8) -> Split:
    """Normal numbers, and their sine and sum."""
    rows = [torch.randn(n, inputs, generator=_generator(i)) for i, n in enumerate(_SIZES)]
    return Split(*(Part(x, x[:, :1].sin() + x.sum(1, keepdim=True) / inputs) for x in rows))


def drawn_windows(steps: int = 24) -> Split:
    """Pieces of a sine wave with noise, and the value after each."""
    parts = []
    for i, n in enumerate(_SIZES):
        time = torch.rand(n, 1, generator=_generator(i)) * 100 + torch.arange(steps + 1)
        wave = (time / 4).sin() + 0.1 * torch.randn(n, steps + 1, generator=_generator(i))
        parts.append(Part(wave[:, :-1], wave[:, -1:]))
    return Split(*parts)


def drawn_text(symbols: int = 128, length: int = 64) -> Split:
    """Pieces of codes that go up by one, with the codes that follow."""
    parts = []
    for i, n in enumerate(_SIZES):
        begin = torch.randint(0, symbols, (n, 1), generator=_generator(i))
        codes = (begin + torch.arange(length + 1)) % symbols
        parts.append(Part(codes[:, :-1], codes[:, 1:]))
    return Split(*parts)
