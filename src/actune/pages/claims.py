"""Claims of papers beside what was measured, as a page: all that `reproduction_overview` tells, the verdicts first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .page import asset, html_page

__all__ = ["claims_page"]

_BODY = """<main class="report" id="claims"></main>
<noscript><p>This report is drawn by scripts in this file; allow them.</p></noscript>"""


def claims_page(overview: Mapping[str, Any]) -> str:
    """The page as text; `overview` is what `reproduction_overview` returns, and all that the page shows."""
    styles, scripts = ("page.css", "report.css"), ("dom.js", "parts.js", "claims.js")
    return html_page("The papers, reproduced", _BODY, styles=[*map(asset, styles)], scripts=[*map(asset, scripts)], data=overview)
