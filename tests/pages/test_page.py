"""A page holds its texts as data, runs its own scripts only, and draws in both colour schemes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser import SCHEMES, WIDTHS, opened, violations

from actune.pages.page import asset, escaped, html_page

STYLES = (asset("uplot.css"), asset("page.css"))
SCRIPTS = (asset("uplot.js"), asset("dom.js"), asset("plots.js"))
HOSTILE = "<img src=x onerror=\"document.title='hit'\"></script><script>document.title='hit'</script> & \u2028"
BODY = '<main><h1>A plot</h1><div id="here"></div><p id="name"></p></main>'
DRAW = """
const x = Float64Array.from({length: 101}, (_, i) => i / 10 - 5);
const y = x.map(Math.tanh);
plots.draw(document.getElementById("here"), {title: "tanh", x: {label: "x", values: x}, y: {label: "y"},
  series: [{label: "tanh(x)", values: y, low: y.map((v) => v - 0.2), high: y.map((v) => v + 0.2)}]});
document.getElementById("name").textContent = dom.data().name;
"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("pages") / "page.html"
    file.write_text(html_page(HOSTILE, BODY, styles=STYLES, scripts=(*SCRIPTS, DRAW), data={"name": HOSTILE}), encoding="utf-8")
    return file


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_page_draws_and_shows_hostile_text_as_text(browser: Any, page_file: Path, width: int, scheme: str) -> None:
    with opened(browser, page_file, width=width, scheme=scheme) as page:
        assert page.locator("#name").text_content() == HOSTILE
        assert page.evaluate("document.querySelector('title').textContent") == HOSTILE
        assert page.locator("canvas").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert violations(page) == []


def test_the_policy_stops_what_is_not_the_pages_own(browser: Any, page_file: Path) -> None:
    """A script that gets in by mistake does not run, and nothing can be fetched."""

    def attack() -> None:
        with opened(browser, page_file) as page:
            page.evaluate("""() => { const s = document.createElement("script"); s.textContent = "document.title = 'hit'";
                                     document.body.append(s); }""")
            assert page.title() != "hit", "the script ran"
            sent = page.evaluate("fetch('https://example.org').then(() => 'sent', () => 'refused')")
            assert sent == "refused"

    with pytest.raises(AssertionError, match="Content Security Policy"):
        attack()


def test_what_cannot_be_shown_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        html_page("t", "", styles=(), scripts=(), data=float("nan"))
    with pytest.raises(ValueError, match="'</script'"):
        html_page("t", "", styles=(), scripts=("'</script>'",), data=None)


def test_escaped_text_has_no_meaning() -> None:
    assert escaped("<a href='b\"&'>") == "&lt;a href=&#x27;b&quot;&amp;&#x27;&gt;"
