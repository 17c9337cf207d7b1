"""Links of the documentation lead somewhere: files and headings that exist, and sites that we know."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from documentation import PAGES, ROOT

DOCUMENTS = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "benchmarks/README.md"]
LINK = re.compile(r"\]\(([^)\s]+)\)")
HOSTS = {"arxiv.org", "keepachangelog.com", "optuna.org", "semver.org"}
MADE = re.compile(r"(catalogue/[\w]+|reference/[\w-]+)\.md")  # pages that exist on the site only; mkdocs checks links to them


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: str(d.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    assert [link for link in LINK.findall(without_code(document.read_text())) if not leads(document, link)] == []


def leads(document: Path, link: str) -> bool:
    """Whether a link of a document leads to something that exists."""
    if link.startswith("https://"):
        return link.split("/")[2] in HOSTS
    place, _, heading = link.partition("#")
    target = (document.parent / place).resolve() if place else document
    if (ROOT / "docs") in target.parents and MADE.fullmatch(str(target.relative_to(ROOT / "docs"))):
        return True
    return target.exists() and (not heading or heading in headings(target))


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)


def headings(document: Path) -> set[str]:
    """The anchors of a document, as mkdocs and the usual forges make them."""
    found = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE), flags=re.MULTILINE
    )
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in found}


@pytest.mark.parametrize("link", ["nowhere.md", "tutorial.md#nothing", "https://example.org/a", "#nothing"])
def test_a_link_that_leads_nowhere_is_found(link: str) -> None:
    assert not leads(ROOT / "docs/index.md", link)
    assert leads(ROOT / "docs/index.md", "tutorial.md#is-it-better")
