"""The reference of the command line, from the commands themselves: what `--help` says, as a page."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import typer.main

from actune import results
from actune.cli import app

__all__ = ["command_page", "commands"]


def commands() -> dict[str, Any]:
    """The commands of `actune` by name."""
    return dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def command_page() -> str:
    """The page, in Markdown."""
    parts = ["# Command line", "What `actune COMMAND --help` says. Bad input ends with one line and exit code 2."]
    for name, command in commands().items():
        parts += [f"## actune {name}", command.help.strip(), f"```text\n{synopsis(name, command)}\n```"]
        for kind, title in (("argument", "argument"), ("option", "option")):
            rows = [row(p) for p in command.params if p.param_type_name == kind and p.name != "help"]
            parts += [results.markdown_table((title, "what it is", "default"), rows)] if rows else []
        examples = command.epilog.partition(":")[2].split("  |  ") if command.epilog else []
        parts += ["```sh\n" + "\n".join(e.strip() for e in examples) + "\n```"] if examples else []
    return "\n\n".join(parts)


def synopsis(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    shown = [f"{p.name.upper()}{'…' if p.nargs == -1 else ''}" for p in arguments]
    return " ".join(["actune", name, *(s if p.required else f"[{s}]" for s, p in zip(shown, arguments, strict=True)), "[OPTIONS]"])


def row(p: Any) -> tuple[str, str, str]:
    """The line of one argument or option."""
    names = (
        p.name.upper()
        if p.param_type_name == "argument"
        else ", ".join(sorted((*p.opts, *p.secondary_opts), key=len, reverse=True))
    )
    takes = "" if p.param_type_name == "argument" or p.is_flag else f" {value_word(p)}"
    default = "required" if p.required else "" if p.default in (None, False, "", ()) or callable(p.default) else f"`{p.default}`"
    help_text = (p.help or "").replace("|", "\\|").replace("<", "&lt;")
    return f"`{names}{takes}`", help_text, default


def value_word(p: Any) -> str:
    """What the value of an option is, in a word."""
    kind = p.type_descriptor.annotation
    inner = typing.get_args(kind)[0] if typing.get_args(kind) else kind
    return {int: "NUMBER", float: "NUMBER", Path: "PATH"}.get(inner, "TEXT")
