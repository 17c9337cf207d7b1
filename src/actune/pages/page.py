"""One self-contained page of HTML: its parts, its data, and a policy that lets nothing else run or load.

The texts of users, such as names of studies and formulas, reach a page only as data (JSON in a block that no browser executes) or
escaped by `escaped`. The scripts of a page show them as text, never as HTML. The Content-Security-Policy names the page's own
scripts and styles by their SHA-256 and allows no connection, so even a mistake there executes nothing and sends nothing.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

__all__ = ["asset", "escaped", "html_page"]


@cache
def asset(name: str) -> str:
    """The text of a script or a style sheet that the package ships."""
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")


def escaped(text: str) -> str:
    """The text for HTML, in which no character has a meaning."""
    return html.escape(text, quote=True)


def html_page(title: str, body: str, *, styles: Sequence[str], scripts: Sequence[str], data: Any) -> str:
    """The page as text.

    title    of the window, as plain text
    body     HTML between the page's header and its end; whoever writes it has escaped what it shows
    styles   texts of style sheets, and
    scripts  texts of classic scripts, which run in this order after the body
    data     what the scripts find with `dom.data()`: plain data as JSON has it; a number that JSON does not have raises ValueError
    """
    sheets = "".join(f"<style>{_contained(text, 'style')}</style>\n" for text in styles)
    programs = "".join(f"<script>{_contained(text, 'script')}</script>\n" for text in scripts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(styles, scripts)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="color-scheme" content="light dark">\n'
        f"<title>{escaped(title)}</title>\n{sheets}</head>\n<body>\n{body}\n"
        f'<script type="application/json" id="data">{_data(data)}</script>\n{programs}</body>\n</html>\n'
    )


def _policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """What the page may do: run and apply its own parts, show pictures that are in it, nothing else."""
    own = (f"{kind}-src {' '.join(map(_digest, texts))}" for kind, texts in (("script", scripts), ("style", styles)) if texts)
    return "; ".join(["default-src 'none'", *own, "img-src data:", "base-uri 'none'", "form-action 'none'"])


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _contained(text: str, tag: str) -> str:
    """The text of a script or style; one that would end its own element is a mistake of ours."""
    if f"</{tag}" in text.lower() or "<!--" in text:
        raise ValueError(f"the text of a {tag} holds '</{tag}' or '<!--', which HTML reads as its end; write it otherwise")
    return text


def _data(data: Any) -> str:
    """JSON in which no character can end the element that it stands in."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
