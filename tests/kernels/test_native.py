"""The folder of compiled functions: whose it is, what is believed of it, and what happens without one or without a compiler."""

from __future__ import annotations

import ctypes
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
import torch

from actune.kernels.cpu import llvm

PATIENCE = 120


def number(n: int) -> str:
    return f"define i64 @number() {{\n  ret i64 {n}\n}}"


def called(n: int) -> int:
    """What the function gives that gives n."""
    found: int = llvm.compile_assembly(number(n), ("number",)).function("number", result=ctypes.c_int64)()
    return found


def files(place: Path) -> list[Path]:
    return sorted(p for p in place.rglob("*") if not p.is_dir())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of its own for compiled functions."""
    monkeypatch.setenv("ACTUNE_CACHE", str(tmp_path / "own"))
    llvm.folder.cache_clear()
    yield tmp_path / "own" / "kernels"
    llvm.folder.cache_clear()


@pytest.fixture
def compilations() -> Iterator[mock.Mock]:
    with mock.patch.object(llvm, "_machine_code", side_effect=llvm._machine_code) as spy:
        yield spy


def test_a_function_is_compiled_once_and_kept_where_the_user_says(place: Path, compilations: mock.Mock) -> None:
    assert [called(7), called(7), called(8)] == [7, 7, 8]
    assert compilations.call_count == 2
    assert len(files(place)) == 2
    assert files(place.parent.parent) == files(place)
    assert all(p.suffix == ".o" for p in files(place))
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b"", lambda b: b[:10], lambda b: b[:32], lambda b: b[:-1], lambda b: b + b"\0",
        lambda b: b[:200] + bytes([b[200] ^ 1]) + b[201:], lambda b: bytes([b[0] ^ 1]) + b[1:], lambda b: b[32:],
    ],
    ids=["empty", "torn in the digest", "no code", "torn", "longer", "changed code", "changed digest", "no digest"],
)  # fmt: skip
def test_a_file_that_is_not_whole_is_replaced(place: Path, compilations: mock.Mock, damage: Callable[[bytes], bytes]) -> None:
    assert called(11) == 11
    (path,) = files(place)
    good = path.read_bytes()
    path.write_bytes(damage(good))
    assert called(11) == 11
    assert compilations.call_count == 2
    assert path.read_bytes() == good


def test_a_folder_in_the_place_of_a_file_does_no_harm(place: Path) -> None:
    assert called(12) == 12
    (path,) = files(place)
    path.unlink()
    path.mkdir()
    assert called(12) == 12
    assert files(place) == []


@pytest.mark.skipif(sys.platform == "win32", reason="other rights")
@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_folder_that_others_can_write_to_is_not_used(place: Path, compilations: mock.Mock, mode: int) -> None:
    place.mkdir(parents=True)
    place.chmod(mode)
    assert [called(13), called(13)] == [13, 13]
    assert compilations.call_count == 2
    assert llvm.folder() is None
    assert files(place) == []


@pytest.mark.skipif(sys.platform == "win32", reason="other rights")
def test_the_folder_of_another_user_is_not_used(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place.mkdir(parents=True)
    place.chmod(0o700)
    user = os.geteuid() + 1
    monkeypatch.setattr(llvm.os, "geteuid", lambda: user)
    assert called(14) == 14
    assert llvm.folder() is None
    assert files(place) == []


@pytest.mark.parametrize("trouble", ["a file", "read only", "no home"])
def test_without_a_folder(trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions are compiled all the same."""
    (tmp_path / "file").touch()
    if trouble == "read only":
        monkeypatch.setattr(llvm.os, "access", lambda *_: False)
        monkeypatch.setenv("ACTUNE_CACHE", str(tmp_path / "own"))
    elif trouble == "a file":
        monkeypatch.setenv("ACTUNE_CACHE", str(tmp_path / "file"))
    else:
        monkeypatch.delenv("ACTUNE_CACHE", raising=False)
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setattr(Path, "expanduser", mock.Mock(side_effect=RuntimeError("no home")))
    llvm.folder.cache_clear()
    try:
        assert llvm.folder() is None
        assert called(15) == 15
        assert files(tmp_path) == [tmp_path / "file"]
    finally:
        llvm.folder.cache_clear()


def test_the_users_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACTUNE_CACHE", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    for name, value, wanted in (
        ("XDG_CACHE_HOME", tmp_path / "xdg", "xdg/actune"),
        ("HOME", tmp_path / "home", "home/.cache/actune"),
    ):
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setenv(name, str(value))
        llvm.folder.cache_clear()
        assert llvm.folder() == tmp_path / wanted / "kernels"
    llvm.folder.cache_clear()


@pytest.mark.parametrize("step", ["mkstemp", "replace"])
def test_a_file_that_cannot_be_written_is_no_error(place: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """A full disk; nothing is left behind."""
    module = llvm.os if step == "replace" else llvm.tempfile
    monkeypatch.setattr(module, step, mock.Mock(side_effect=OSError("No space left on device")))
    assert called(16) == 16
    assert files(place) == []


def test_the_oldest_files_go(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more than so many a quarter, those unused for the longest time."""
    monkeypatch.setattr(llvm, "_MOST", 8)
    kept: dict[int, Path] = {}
    for n in range(8):
        before = set(files(place))
        called(n)
        (kept[n],) = set(files(place)) - before
        os.utime(kept[n], (1000 + n, 1000 + n))
    called(0)  # used again
    called(100)
    gone = {n for n, p in kept.items() if not p.exists()}
    assert gone == {1, 2}
    assert called(1) == 1


def test_a_name_says_all_that_the_code_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    import llvmlite
    from llvmlite import binding

    monkeypatch.setattr(llvm, "_target", llvm._target.__wrapped__)  # kept otherwise
    names = {llvm._digest(number(1)), llvm._digest(number(2))}
    for owner, name, new in (
        (llvm, "_feature_text", lambda: "+none"), (llvmlite, "__version__", "0"), (binding, "get_host_cpu_name", lambda: "other"),
        (binding, "get_process_triple", lambda: "other"),
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, new)
            names.add(llvm._digest(number(1)))
    assert len(names) == 6


def test_a_function_lives_as_long_as_it_is_held() -> None:
    functions = [llvm.compile_assembly(number(n), ("number",)).function("number", result=ctypes.c_int64) for n in range(50)]
    assert [f() for f in functions] == list(range(50))


@pytest.mark.parametrize("text", ["nonsense", "define i64 @number() {\n  ret i32 1\n}"])
def test_what_is_no_assembly_is_refused_and_not_kept(place: Path, text: str) -> None:
    with pytest.raises(RuntimeError):
        llvm.compile_assembly(text, ("number",))
    assert files(place) == []


# -- processes -------------------------------------------------------------------------------------------------------------

USE = """
import torch, actune
x = torch.linspace(-3, 3, 1000, requires_grad=True)
act = actune.Activation("swish", scope="channel", channels=1000)
act(x[None]).sum().backward()
wanted = torch.nn.functional.silu(x)
assert torch.allclose(act(x[None])[0], wanted, atol=1e-6), "wrong values"
assert torch.allclose(x.grad, torch.autograd.grad(wanted.sum(), x)[0], atol=1e-5), "wrong slopes"
print("right")
"""


def process(code: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )


def test_several_processes_start_at_once(tmp_path: Path) -> None:
    """On an empty folder: all are right, nothing is torn, and the next finds all that it needs."""
    started = [process(USE, ACTUNE_CACHE=str(tmp_path / "own")) for _ in range(4)]
    for p in started:
        out, err = p.communicate(timeout=PATIENCE)
        assert (out.strip(), err) == ("right", "")
    kept = files(tmp_path)
    assert kept
    assert all(p.parent == tmp_path / "own" / "kernels" and llvm._read_code(p) for p in kept)
    refuse = "from actune.kernels.cpu import llvm\nllvm._machine_code = None\n"
    out, err = process(refuse + USE, ACTUNE_CACHE=str(tmp_path / "own")).communicate(timeout=PATIENCE)
    assert (out.strip(), err) == ("right", "")
    assert files(tmp_path) == kept


def test_without_a_compiler_the_formula_serves_and_says_so_once(tmp_path: Path) -> None:
    code = "import sys; sys.modules['llvmlite'] = None\n" + USE + USE.replace("swish", "softplus").split("wanted")[0]
    out, err = process(code, ACTUNE_CACHE=str(tmp_path)).communicate(timeout=PATIENCE)
    assert out.strip() == "right", err
    assert err.count("LLVM does not work here") == 1
    assert "actune computes every function by torch operators" in err
    assert files(tmp_path) == []


def test_a_processor_without_what_kernels_are_made_of_is_left_to_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a warning: nothing is broken."""
    for machine, features, able in (
        ("x86_64", {"avx2", "fma", "f16c"}, {torch.float16, torch.bfloat16, torch.float32, torch.float64}),
        ("AMD64", {"avx2", "fma"}, {torch.bfloat16, torch.float32, torch.float64}),
        ("x86_64", {"avx", "fma"}, set()),
        ("arm64", set(), {torch.float16, torch.bfloat16, torch.float32, torch.float64}),
        ("riscv64", set(), set()),
    ):  # fmt: skip
        monkeypatch.setattr(llvm.platform, "machine", lambda machine=machine: machine)
        monkeypatch.setattr(llvm, "cpu_features", lambda features=features: frozenset(features))
        assert {d for d in (torch.float16, torch.bfloat16, torch.float32, torch.float64) if llvm._capable(d)} == able
