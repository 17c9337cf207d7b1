"""What mkdocs calls while it builds the site: the generated pages join, and links to files beside docs/ lead to their pages."""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from catalogue import families_pages
from commands import command_page
from house import house_picture
from mkdocs.structure.files import File

import actune
from actune import discovery, experiments

ROOT = Path(__file__).resolve().parents[2]
BESIDE = {"benchmarks.md": "benchmarks/README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
HOUSE = "<!-- house -->"  # where a page has the picture


def families() -> list[str]:
    """The families that get a page: all, or those that ACTUNE_DOCS_FAMILIES names, for a quick build."""
    return os.environ.get("ACTUNE_DOCS_FAMILIES", "").split() or actune.list_families()


def on_config(config: Any) -> Any:
    """Put the families into the navigation, below the overview of the catalogue."""
    for entry in config.nav:
        if "Catalogue" in entry:
            entry["Catalogue"] = [{"All families": "catalogue/index.md"}, *({n: f"catalogue/{n}.md"} for n in families())]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages; none of them is ever written into docs/."""
    for place, text in pages().items():
        files.append(File.generated(config, place, content=text))
    return files


def pages() -> dict[str, str]:
    """The Markdown of the generated pages by file."""
    return {
        **families_pages(families()),
        **{page: _placed((ROOT / source).read_text(), source, page) for page, source in BESIDE.items()},
        "reference/command-line.md": command_page(),
        "reference/actune.md": names_page("actune", actune),
        "reference/discovery.md": names_page("actune.discovery", discovery),
        "reference/experiments.md": names_page("actune.experiments", experiments),
    }


def names_page(name: str, module: Any) -> str:
    """The public names of a module, each with its docstring."""
    return f"# {name}\n\n{module.__doc__}\n\n" + "\n\n".join(f"::: {name}.{public}" for public in module.__all__)


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Draw the house where a page asks for it, and let links to files beside docs/ lead to the pages made of them."""
    if HOUSE in markdown:
        markdown = markdown.replace(HOUSE, house_picture())
    return _placed(markdown, f"docs/{page.file.src_uri}", page.file.src_uri) if page.file.src_uri not in BESIDE else markdown


def on_post_page(output: str, **_: Any) -> str:
    """Name the search for a screen reader: the theme's dialog has no name."""
    return output.replace(
        'data-md-component="search" role="dialog"', 'data-md-component="search" role="dialog" aria-label="Search"'
    )


def _placed(text: str, source: str, page: str) -> str:
    """The text of a file at `source` for a page at `page`: with the links of that page, where they lead into docs/ or to BESIDE."""
    names = {path: name for name, path in BESIDE.items()} | {"README.md": "index.md"}

    def link(found: re.Match[str]) -> str:
        address = posixpath.normpath(posixpath.join(posixpath.dirname(source), found[2]))
        place = address.removeprefix("docs/") if address.startswith("docs/") else names.get(address)
        return found[0] if place is None else f"{found[1]}{posixpath.relpath(place, posixpath.dirname(page) or '.')}{found[3]}"

    return re.sub(r"(\]\()([\w./-]+\.(?:md|png|svg))(#[\w-]*\)|\))", link, text)
