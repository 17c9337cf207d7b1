"""Downloads from a server of the test: what has its checksum comes to its place, and nothing else is kept; errors are one line."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from actune.cli import main
from actune.experiments.data.downloads import download, missing_files
from actune.experiments.data.sources import DATA_SETS, PICKLES, DataSet, Published
from actune.experiments.tasks import TASKS

CONTENT = {"a.gz": b"one file" * 1000, "b.csv": b"1,2\n3,4\n"}


class Silent(SimpleHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """The address of a server, the folder that it gives out, and the paths that it was asked for."""
    folder = tmp_path / "published"
    folder.mkdir()
    handler = type("Handler", (Silent,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", folder, handler.asked
        running.shutdown()
        thread.join()


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def plain(server: tuple[str, Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set "toy" of two plain files; returns the folder of the server."""
    address, folder, _ = server
    files = []
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
        files.append(Published(f"{address}/{name}", sha256(content), {"": f"toy/{name}"}))
    monkeypatch.setitem(DATA_SETS, "toy", DataSet("https://example.org/toy", tuple(files)))
    return folder


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_files_come_to_their_places_once(plain: Path, server: tuple[str, Path, list[str]], tmp_path: Path) -> None:
    root, told = tmp_path / "new" / "data", []
    assert missing_files("toy", root) == ["toy/a.gz", "toy/b.csv"]
    written = download("toy", root, lambda done, total, address: told.append((done, total, address)))
    assert written == [root / "toy/a.gz", root / "toy/b.csv"]
    assert {path.name: path.read_bytes() for path in written} == CONTENT
    assert files_in(root) == ["toy/a.gz", "toy/b.csv"]
    assert list(root.glob("*")) == [root / "toy"]  # no folder is left behind
    assert missing_files("toy", root) == []
    assert told[-1] == (8, 8, f"{server[0]}/b.csv")
    assert server[2] == ["/a.gz", "/b.csv"]
    assert download("toy", root) == []
    assert server[2] == ["/a.gz", "/b.csv"]  # what is there is not asked for again
    (root / "toy/a.gz").write_bytes(b"damaged")
    assert download("toy", root) == [root / "toy/a.gz"]
    assert (root / "toy/a.gz").read_bytes() == CONTENT["a.gz"]


def test_a_file_with_another_checksum_is_not_kept(plain: Path, tmp_path: Path) -> None:
    (plain / "a.gz").write_bytes(b"something else")
    (tmp_path / "data/toy").mkdir(parents=True)
    (tmp_path / "data/toy/a.gz").write_bytes(b"old")
    with pytest.raises(ValueError, match=(
        r"^http://\S+/a\.gz does not have its checksum \(expected sha256:\w{64} but got \w{64}\), so it was not kept; "
        r"try again, or go to https://example\.org/toy$"
    )):  # fmt: skip
        download("toy", tmp_path / "data")
    assert files_in(tmp_path / "data") == ["toy/a.gz"]
    assert (tmp_path / "data/toy/a.gz").read_bytes() == b"old"


def test_what_cannot_be_reached_is_one_line(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (plain / "a.gz").unlink()
    with pytest.raises(
        OSError, match=r"^http://\S+/a\.gz cannot be downloaded \(404 .*\); try again, or go to https://example\.org"
    ):
        download("toy", tmp_path / "data")
    nobody = Published("http://127.0.0.1:9/x", sha256(b""), {"": "nobody/x"})
    monkeypatch.setitem(DATA_SETS, "nobody", DataSet("https://example.org/nobody", (nobody,)))
    with pytest.raises(OSError, match=r"^http://127\.0\.0\.1:9/x cannot be downloaded \(.*refused.*\); try again") as caught:
        download("nobody", tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert files_in(tmp_path / "data") == []


def tar(members: dict[str, bytes]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return written.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return written.getvalue()


@pytest.mark.parametrize("pack", [tar, zipped])
def test_the_members_of_an_archive_that_are_named_are_taken(pack, server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address, folder, asked = server
    members = {"in/x.gz": gzip.compress(b"packed"), "in/y.data": b"1,2\n" * 50, "in/z": b"a pickle", "../evil": b"outside"}
    content = pack(members)
    (folder / "archive").write_bytes(content)
    taken = {"in/x.gz": "toy/x.gz", "in/y.data": "toy/y.data.gz", "in/z": "toy/deep/z"}
    published = Published(f"{address}/archive", f"md5:{hashlib.md5(content).hexdigest()}", taken)
    monkeypatch.setitem(DATA_SETS, "toy", DataSet("https://example.org", (published,)))
    monkeypatch.setitem(PICKLES, "toy/deep/z", hashlib.md5(b"a pickle").hexdigest())
    root = tmp_path / "data"
    assert download("toy", root) == [root / target for target in taken.values()]
    assert files_in(tmp_path) == ["data/toy/deep/z", "data/toy/x.gz", "data/toy/y.data.gz", "published/archive"]
    assert (root / "toy/x.gz").read_bytes() == members["in/x.gz"]
    assert gzip.decompress((root / "toy/y.data.gz").read_bytes()) == members["in/y.data"]
    assert (root / "toy/deep/z").read_bytes() == b"a pickle"
    assert download("toy", root) == []
    (root / "toy/deep/z").write_bytes(b"damaged")  # its own checksum is known
    assert len(download("toy", root)) == 3
    assert (root / "toy/deep/z").read_bytes() == b"a pickle"
    assert len(asked) == 2


def test_only_known_data_sets_with_an_address_are_downloaded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^unknown data set 'minst'; did you mean 'mnist'\? \(known: mnist, .*\)$"):
        download("minst", tmp_path)
    with pytest.raises(
        ValueError, match=r"^mvtec has no address to download from; put it into \S+/mvtec, from https://www\.mvtec\.com/"
    ):
        download("mvtec", tmp_path)
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("name", DATA_SETS)
def test_the_rows_are_well_formed(name: str) -> None:
    found = DATA_SETS[name]
    assert found.patterns
    assert found.source.startswith("http")
    for file in found.published:
        kind, _, digest = file.checksum.partition(":")
        assert (kind, len(digest)) in (("md5", 32), ("sha256", 64))
        assert file.address.startswith("http")
        assert all(target.startswith(f"{name}/") for target in file.members.values())
        assert file.members


def test_every_task_that_reads_files_says_where_they_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTUNE_DATA", str(tmp_path))
    told = set()
    for t in TASKS.values():
        if not t.drawn and t.name != "digits":
            with pytest.raises(FileNotFoundError) as caught:
                t.split(0)
            folder = str(caught.value).partition(" has no ")[2].partition("/")[0]
            assert str(caught.value).endswith(f"; `actune data {folder}` downloads it") == bool(DATA_SETS[folder].published)
            told.add(folder)
    assert {"mnist", "cifar10", "cifar100", "sign-digits", "uci", "california", "timeseries", "tinyshakespeare"} <= told


# -- the command -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def run_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Exit code, output and errors of `actune ARGUMENTS`."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["actune", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


def test_the_command_lists_and_downloads(run_command, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "data"
    monkeypatch.setenv("ACTUNE_DATA", str(root))

    def listed() -> dict[str, dict[str, object]]:
        code, out, _ = run_command("data", "--json")
        assert code == 0
        found = json.loads(out)
        assert found["folder"] == str(root)
        return {record["name"]: record for record in found["data"]}

    assert list(listed()) == list(DATA_SETS)
    assert listed()["toy"] == {
        "name": "toy",
        "missing": ["toy/a.gz", "toy/b.csv"],
        "download": True,
        "source": "https://example.org/toy",
    }
    code, out, _ = run_command("data", "toy")
    assert (code, out.split()) == (0, [str(root / "toy/a.gz"), str(root / "toy/b.csv")])
    assert listed()["toy"]["missing"] == []
    assert listed()["mvtec"]["download"] is False
    assert run_command("data", "toy")[1] == f"toy is in {root} already\n"
    code, out, _ = run_command("data")
    rows = {cells[1].strip(): [c.strip() for c in cells[2:4]] for line in out.splitlines() if len(cells := line.split("│")) > 4}
    assert rows["toy"] == ["yes", "yes"]
    assert rows["mvtec"] == ["no", "by hand"]


def test_the_command_needs_a_folder(run_command, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACTUNE_DATA", raising=False)
    code, _, err = run_command("data", "toy")
    assert (code, err) == (2, "actune: ACTUNE_DATA is not set; let it name the folder for data, or give --folder\n")
    code, out, _ = run_command("data", "toy", "--folder", str(tmp_path / "here"), "--json")
    assert json.loads(out)["written"] == [str(tmp_path / "here/toy/a.gz"), str(tmp_path / "here/toy/b.csv")]
    assert "no data folder" in run_command("data")[1]
    (plain / "a.gz").write_bytes(b"damaged")
    code, _, err = run_command("data", "toy", "--folder", str(tmp_path / "there"))
    assert code == 2
    assert err.strip().startswith("actune: http://127.0.0.1")
    assert "\n" not in err.strip()
