"""The report of a search as a page: all that `study_overview` tells, the verdict first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .formula import formula_scripts
from .page import asset, html_page

__all__ = ["report_page"]

_BODY = """<main class="report" id="report"></main>
<noscript><p>This report is drawn by scripts in this file; allow them.</p></noscript>"""
_STYLES = ("uplot.css", "page.css", "report.css")
_OWN = ("plots.js", "parts.js", "trials.js", "report.js")


def report_page(overview: Mapping[str, Any]) -> str:
    """The page as text; `overview` is what `study_overview` returns, and all that the page shows."""
    title = f"{overview['study']}: report of a search"
    scripts = (asset("uplot.js"), asset("dom.js"), *formula_scripts(), *map(asset, _OWN))
    return html_page(title, _BODY, styles=[*map(asset, _STYLES)], scripts=scripts, data=overview)
