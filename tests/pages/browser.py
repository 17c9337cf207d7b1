"""A real browser for tests of pages: Chromium, which watches for errors and for requests that leave the page."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from command_line import run

WIDTHS = (390, 1400)
SCHEMES = ("light", "dark")
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
          "--disable-component-update", "--disable-sync"]  # fmt: skip


def chromium() -> str:
    """The path of the browser; without one the test is skipped, or fails where `ACTUNE_BROWSER=required`."""
    found = (
        os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    )
    if found is None:
        told = "no Chromium on this machine; install it (Debian: apt-get install chromium) or name it in CHROMIUM"
        (pytest.fail if os.environ.get("ACTUNE_BROWSER") == "required" else pytest.skip)(told)
    return found


@contextmanager
def launched() -> Iterator[Any]:
    """A browser of playwright."""
    path = chromium()
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'actune[dev]'")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_FLAGS)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, file: Path, *, width: int = 1400, scheme: str = "light", fragment: str = "") -> Iterator[Any]:
    """The page in a file, in a window of this width; afterwards it must have had no error and no request but for itself."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme,
                                  permissions=["clipboard-read", "clipboard-write"])  # fmt: skip
    page = context.new_page()
    troubles: list[str] = []
    address = file.resolve().as_uri()
    page.on("console", lambda m: troubles.append(f"console: {m.text}") if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: troubles.append(f"error: {e}"))
    page.on("request", lambda r: troubles.append(f"request: {r.url}") if not r.url.startswith((address, "data:")) else None)
    page.goto(address + fragment)
    yield page
    context.close()
    assert troubles == [], "\n".join(troubles)


def page_of_command(
    browser: Any, capsys: Any, monkeypatch: Any, file: Path, *arguments: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a command prints with `--report FILE --json`, and the data in the page that it writes there."""
    code, out, errors = run(capsys, monkeypatch, *arguments, "--report", str(file), "--json")
    assert code == 0, errors
    found = json.loads(out)
    assert found["report"] == str(file)
    with opened(browser, file) as page:
        return found, page.evaluate("dom.data()")


def violations(page: Any) -> list[str]:
    """What axe-core finds that is serious or critical, a line each."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{v['id']}: {v['help']}: {v['nodes'][0]['html'][:200]}" for v in found if v["impact"] in ("serious", "critical")]
