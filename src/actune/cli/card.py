"""`actune card`: the activation functions of a trained model, where they are, what they have become, and what they see."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .terminal import Json, err, out, print_json, writable_path

__all__ = ["card_command"]


def card_command(
    model: Annotated[
        str,
        typer.Argument(help="FILE.py:NAME or MODULE:NAME, a model or what makes one; a FOLDER of save_pretrained; a CARD.json."),
    ],
    state: Annotated[Path | None, typer.Option(help="A state dict to load into the model: FILE.pt or FILE.safetensors.")] = None,
    inputs: Annotated[
        list[Path] | None,
        typer.Option("--input", help="A batch for the model: FILE.pt (a tensor, tuple or dict) or FILE.npy; may be given again."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the card to this file (JSON).")] = None,
    as_json: Json = False,
) -> None:
    """Describe a trained model: its activation functions, their learned values, and with inputs what they see."""
    from ..inspection.cards import card, read_card
    from ..inspection.models import read_batch, read_model
    from ..show.tables import card_table

    if output is not None:
        writable_path(output, "--output", (".json",))
    if model.lower().endswith(".json"):
        if state is not None or inputs:
            raise ValueError(f"{model!r} is a card that is finished; leave out --state and --input")
        found = read_card(model)
    else:
        net, batches = read_model(model, state), [read_batch(path) for path in inputs or ()]
        found = card(net, batches)
    if output is not None:
        found.save(output)
    if as_json:
        print_json(found.to_json())
        return
    out.print(card_table(found))
    for note in found.notes:
        err.print(note, highlight=False, soft_wrap=True)
    if output is not None:
        out.print(f"card: {output}", highlight=False, soft_wrap=True)
