"""`actune list` and `actune show`: the functions of the catalogue, and one in full."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .terminal import Json, out, print_json, read_function, writable_path

__all__ = ["list_command", "show_command"]


def list_command(
    pattern: Annotated[str, typer.Argument(help="Only names or papers that contain this text.")] = "",
    as_json: Json = False,
) -> None:
    """List the activation functions of the catalogue."""
    from ..catalogue.registry import family, list_families
    from ..show.tables import families_table

    found = [
        f
        for f in map(family, list_families())
        if pattern.lower() in f"{f.name} {' '.join(f.aliases)} {f.paper} {f.summary}".lower()
    ]
    if not found:
        raise ValueError(f"no activation function has {pattern!r} in its name or source; `actune list` shows all")
    if as_json:
        print_json([_family_record(f) for f in found])
    else:
        out.print(families_table(found))


def show_command(
    function: Annotated[str, typer.Argument(help="A name, a formula, or a FILE.json of a search.")],
    plot: Annotated[Path | None, typer.Option(help="Write a picture: function, derivative, parameters varied (PNG).")] = None,
    as_json: Json = False,
) -> None:
    """Show one function: formula, derivative, parameters, source, facts, and its curve."""
    from ..catalogue.registry import resolve
    from ..show.braille import braille_table, can_draw
    from ..show.tables import family_table

    found = resolve(read_function(function))
    if plot is not None:
        from ..show.plots import plot_family

        plot_family(writable_path(plot), found)
    if as_json:
        print_json(
            _family_record(found)
            | {"derivative": str(found.expr.diff().simplify()), "latex": found.latex(), "plot": plot and str(plot)}
        )
        return
    out.print(family_table(found))
    if can_draw(out.encoding):
        out.print()
        out.print(braille_table(found, out.width))
    if plot is not None:
        out.print(f"plot: {plot}", highlight=False)


def _family_record(f: Any) -> dict[str, Any]:
    """A family as plain data; of a formula that was typed in no facts are known."""
    facts = {"kinks": list(f.kinks), "bounds": list(f.bounds), "odd": f.odd, "even": f.even, "monotone": f.monotone}
    return {
        "name": f.name, "aliases": list(f.aliases), "formula": str(f.expr), "text": f.text, "paper": f.paper, "summary": f.summary,
        "reported": f.reported, "notes": f.notes, "facts": facts if f.is_declared else None,
        "parameters": {
            n: {"initial": p.init, "constraint": str(p.constraint), "trainable": p.trainable} for n, p in f.params.items()
        },
    }  # fmt: skip
