"""The site builds without a warning, loads nothing from anywhere, and opens without an error from a disk."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from documentation import ROOT

import actune

pytest.importorskip("material", reason="mkdocs-material is not installed: pip install 'actune[docs]'")
sys.path.insert(0, str(ROOT / "tests/pages"))
from browser import SCHEMES, WIDTHS, launched, violations

FAMILIES = ("elu", "ml_tanh", "swish")  # those that get a page here; `make docs` makes all
LOADED = {"script": ("src",), "img": ("src", "srcset"), "iframe": ("src",), "source": ("src", "srcset"), "link": ("href",)}
TOLD = {"canonical", "next", "prev", "alternate", "edit"}  # links of a head that load nothing


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it, with a few families."""
    folder = tmp_path_factory.mktemp("site")
    env = os.environ | {"ACTUNE_DOCS_FAMILIES": " ".join(FAMILIES), "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.strip() == ""
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


def pages(site: Path) -> list[Path]:
    return sorted(path for path in site.rglob("*.html") if path.name != "404.html")


def test_there_is_a_page_for_each_family_guide_and_reference(site: Path) -> None:
    names = {str(path.relative_to(site).with_suffix("")) for path in pages(site)}
    assert {f"catalogue/{name}" for name in (*FAMILIES, "index")} <= names
    assert {f"guides/{path.stem}" for path in (ROOT / "docs/guides").glob("*.md")} <= names
    assert {"reference/actune", "reference/discovery", "reference/experiments", "reference/command-line", "benchmarks"} <= names
    public = (site / "reference/actune.html").read_text()
    assert [name for name in actune.__all__ if f'id="actune.{name}"' not in public] == []


class Loads(HTMLParser):
    """What a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "link" and set((given.get("rel") or "").split()) <= TOLD:
            return
        self.found += [given[a] or "" for a in LOADED.get(tag, ()) if a in given]


def loads(text: str) -> list[str]:
    parser = Loads()
    parser.feed(text)
    return parser.found


def test_no_page_loads_anything_from_the_network(site: Path) -> None:
    """Neither in its HTML nor by a style sheet."""
    for path in pages(site):
        text = path.read_text()
        assert [a for a in loads(text) if re.match(r"(https?:)?//", a)] == [], path
        assert re.findall(r"url\([\"']?(?:https?:)?//[^)]*\)|@import [^;]*//[^;]*;", text) == [], path
    for path in site.rglob("*.css"):
        assert re.findall(r"url\([\"']?(?:https?:)?//[^)]*\)|@import [^;]*//[^;]*;", path.read_text()) == [], path


def test_what_is_loaded_from_the_network_is_found() -> None:
    assert loads('<script src="https://a.b/c.js"></script><link rel="stylesheet" href="//x/y.css"><link rel="next" href="z">') == [
        "https://a.b/c.js",
        "//x/y.css",
    ]


@pytest.mark.parametrize("width", WIDTHS)
def test_pages_open_from_a_disk_without_an_error(site: Path, browser: Any, width: int) -> None:
    """No message on the console, no request outside the site, nothing to scroll to the side."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=SCHEMES[width > 500])
    page = context.new_page()
    troubles: list[str] = []
    page.on("console", lambda m: troubles.append(f"{page.url}: {m.text}") if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: troubles.append(f"{page.url}: {e}"))
    allowed = (site.resolve().as_uri(), "data:", "blob:", "about:")
    page.on("request", lambda r: troubles.append(f"{page.url} asks for {r.url}") if not r.url.startswith(allowed) else None)
    for path in pages(site):
        page.goto(path.resolve().as_uri())
        if page.evaluate("document.documentElement.scrollWidth") > width:
            troubles.append(f"{path.name} is wider than {width}")
    context.close()
    assert troubles == []


def test_the_search_finds_a_family_from_a_disk(site: Path, browser: Any) -> None:
    page = browser.new_page()
    page.goto((site / "index.html").resolve().as_uri())
    page.get_by_placeholder("Search").fill("ml_tanh")
    page.locator(".md-search-result__item", has_text="ml_tanh").first.wait_for(timeout=30_000)
    page.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_pages_can_be_read_by_everybody(site: Path, browser: Any, scheme: str) -> None:
    page = browser.new_page(color_scheme=scheme)
    found = []
    for name in ("index", "tutorial", "catalogue/index", "catalogue/ml_tanh", "design"):
        page.goto((site / f"{name}.html").resolve().as_uri())
        found += [f"{name}: {v}" for v in violations(page)]
    page.close()
    assert found == []
