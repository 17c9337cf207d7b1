"""Results in files: whole lines, whoever writes and however it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from actune.results import append_result, read_results


def test_lines_come_back_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.jsonl"
    assert read_results(path) == []
    written = [{"name": "first"}, {"name": "αx · β\u2028 in one line", "x": [1, None]}]
    assert [append_result(path, line) for line in written] == [True, True]
    assert read_results(path) == written
    with pytest.raises(ValueError, match="Out of range float values"):
        append_result(path, {"x": float("nan")})
    assert read_results(path) == written


@pytest.mark.parametrize("torn", ['{"a": 3', "{", '{"a": 3}'])
@pytest.mark.parametrize("before", [[], [{"a": 1}, {"a": 2}]])
def test_a_torn_last_line_is_dropped_and_repaired(tmp_path: Path, torn: str, before: list[dict[str, int]]) -> None:
    path = tmp_path / "a.jsonl"
    for line in before:
        append_result(path, line)
    with path.open("a") as file:
        file.write(torn)
    assert read_results(path) == before
    append_result(path, {"a": 4})
    assert read_results(path) == [*before, {"a": 4}]


def test_a_line_is_appended_once(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    assert append_result(path, {"key": 1, "x": 1}, once="key")
    assert not append_result(path, {"key": 1, "x": 2}, once="key")
    assert append_result(path, {"key": 2}, once="key")
    assert read_results(path) == [{"key": 1, "x": 1}, {"key": 2}]


def test_processes_may_write_at_the_same_time(tmp_path: Path) -> None:
    """Long lines, which are written in several pieces; each process tries to write all of them."""
    path, ready = tmp_path / "a.jsonl", tmp_path / "ready"
    code = (
        "import sys, time; from pathlib import Path; from actune.results import append_result\n"
        "print(flush=True)\n"
        f"while not Path({str(ready)!r}).exists(): time.sleep(0.001)\n"
        f"print(sum(append_result(Path({str(path)!r}), {{'key': i, 'x': 'x' * 20000}}, once='key') for i in range(60)))"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for w in writers:
        assert w.stdout is not None
        w.stdout.readline()
    ready.touch()
    counts = [int(w.communicate(timeout=60)[0]) for w in writers]
    assert sum(counts) == 60
    assert [line["key"] for line in read_results(path)] == list(range(60))
