"""`actune explore`: a page on which every function can be seen, moved and compared."""

from __future__ import annotations

import tempfile
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from .terminal import out, writable_path

__all__ = ["explore_command"]


def explore_command(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the page to this file; else it is opened.")] = None,
    model: Annotated[Path | None, typer.Option(help="A CARD.json of `actune card`: what it learned and sees is shown.")] = None,
) -> None:
    """Explore activation functions in the browser: curves, parameters, formulas of your own. It needs no network."""
    from ..inspection.cards import read_card
    from ..pages.explorer import explorer_page

    if output is not None:
        writable_path(output, "--output", (".html",))
    text = explorer_page(None if model is None else read_card(model))
    file = Path(tempfile.mkdtemp(prefix="actune-")) / "explorer.html" if output is None else output
    file.write_text(text, encoding="utf-8")
    out.print(f"explorer: {file}", highlight=False, soft_wrap=True)
    if output is None and not webbrowser.open(file.as_uri()):
        out.print("no browser was found; open the file in one", highlight=False, soft_wrap=True)
