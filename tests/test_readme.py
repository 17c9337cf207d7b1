"""The README is short and true: its tables are stored results, and what it claims of the catalogue holds."""

from __future__ import annotations

import pytest
from documentation import ROOT, generator

import actune
from actune.results import write_block

README = (ROOT / "README.md").read_text()
tables = generator("tables")


def test_it_is_read_in_a_minute() -> None:
    lines = README.splitlines()
    assert len(lines) <= 110
    assert [line for line in lines if len(line) > 132 and not line.startswith(("|", ">"))] == []


@pytest.mark.parametrize("page", tables.PAGES)
def test_the_tables_are_the_stored_results(page: str) -> None:
    assert tables.written(page) == (ROOT / page).read_text()


def test_claims_about_the_catalogue() -> None:
    assert len(actune.list_families()) > 90
    for paper in ("2409.19239", "2109.13210", "2111.04682", "2402.08244", "2411.13010", "2006.03179"):
        assert paper in README
        assert any(paper in actune.family(name).paper for name in actune.list_families()), paper


def test_a_document_without_the_block_is_refused() -> None:
    text = "a\n<!-- b: from c -->\nold\n<!-- end of b -->\nd"
    assert write_block(text, "b", "new") == "a\n<!-- b: from c -->\n\nnew\n\n<!-- end of b -->\nd"
    for wrong in ("", text.replace("end of b", "end of x"), text + text):
        with pytest.raises(ValueError, match=r"has [02] blocks 'b'; it needs one, from <!-- b: … --> to <!-- end of b -->"):
            write_block(wrong, "b", "new")
