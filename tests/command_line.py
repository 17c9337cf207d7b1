"""Running `actune` in the process of a test."""

from __future__ import annotations

import sys

import pytest

from actune.cli import main


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    """Exit code, output, errors of `actune ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["actune", *arguments])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err
