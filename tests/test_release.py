"""What is published: a wheel, built from the sdist, that works in an environment where nothing else of actune is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path, PurePosixPath

import pytest
from documentation import PAGES

import actune
from actune.papers.declared import PAPERS

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCAL = shutil.ignore_patterns(".*", "build", "dist", "demo", "site", "results", "*.egg-info", "__pycache__")
# What an installation must not see: our sources.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel, as `make dist` makes them, of a copy: nothing is written among the sources."""
    pytest.importorskip("build", reason="build is not installed: pip install 'actune[dev]'")
    copy = shutil.copytree(ROOT, tmp_path_factory.mktemp("release") / "source", ignore=LOCAL)
    run(sys.executable, "-m", "build", "--no-isolation", cwd=copy)
    return copy / "dist"


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return message_from_string(archive.read(name).decode())


def sources() -> set[str]:
    """The files of the package, relative to its folder."""
    package = Path(actune.__file__).parent
    return {p.relative_to(package).as_posix() for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts}


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(only(built, "*.whl")) as archive:
        names = set(archive.namelist())
    own = {n for n in names if n.startswith("actune/")}
    assert {n.removeprefix("actune/") for n in own} == sources()
    rest = {PurePosixPath(n).name for n in names - own}
    assert rest == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "top_level.txt", "LICENSE", "uplot.LICENSE"}


def test_the_sdist_builds_and_explains_the_package_and_is_small(built: Path) -> None:
    sdist = only(built, "*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()}
    assert {f"src/actune/{name}" for name in sources()} <= names
    examples = {f"examples/{path.name}" for path in (ROOT / "examples").glob("*.py")}
    assert examples | {"README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "pyproject.toml"} <= names
    assert not any(name.startswith("tests/") for name in names)
    assert sdist.stat().st_size < 1_000_000
    assert only(built, "*.whl").stat().st_size < 1_000_000


def test_the_metadata_say_what_the_project_says(built: Path) -> None:
    told = metadata(only(built, "*.whl"))
    assert (told["Name"], told["Version"], told["License-Expression"]) == ("actune", PROJECT["version"], "MIT")
    assert told.get_all("Classifier") == PROJECT["classifiers"]
    assert told["Requires-Python"] == PROJECT["requires-python"]
    extras = set(told.get_all("Provides-Extra") or [])
    assert extras == set(PROJECT["optional-dependencies"])
    assert told.get_payload().strip() == (ROOT / "README.md").read_text().strip()


def test_the_changelog_names_the_version_or_is_about_what_is_not_released() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert headings[1:2] in ([], [PROJECT["version"]])


def test_the_citation_names_the_papers_as_they_are_declared() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: pip install 'actune[dev]'")
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["license"] == PROJECT["license"]
    papers = {(r["title"], r["url"]) for r in cited["references"]}
    assert papers == {(p.title, f"https://arxiv.org/abs/{p.arxiv}") for p in PAPERS.values() if p.arxiv is not None}
    assert all(r["authors"] for r in cited["references"])


def test_the_workflows_call_targets_that_make_has() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: pip install 'actune[dev]'")
    jobs = [job for path in (ROOT / ".github/workflows").glob("*.yml") for job in yaml.safe_load(path.read_text())["jobs"].values()]
    commands = "\n".join(step.get("run", "") for job in jobs for step in job.get("steps", ()))
    called = set(re.findall(r"^make (\w+)", commands, flags=re.MULTILINE))
    assert called == {"lint", "types", "test", "dist"}
    assert called <= set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def test_every_extra_that_a_message_recommends_exists() -> None:
    texts = [path.read_text() for folder in ("src", "examples", "tests") for path in (ROOT / folder).rglob("*.py")]
    texts += [page.read_text() for page in PAGES]
    named = {extra for text in texts for extra in re.findall(r"actune\[(\w+)\]", text)}
    assert {"export", "tensorboard", "ray", "postgres"} <= named <= set(PROJECT["optional-dependencies"])


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands of an environment that has the wheel, and what it depends on from the environment of the tests.

    The wheel is installed first, when pip sees nothing else. The folders that are lent come last on the path, and Python reads no
    .pth files in a folder that is lent like this, so an editable actune there stays unknown.
    """
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin/python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", only(built, "*.whl"), cwd=home)
    lent = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    own = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home).strip()
    (Path(own) / "lent.pth").write_text("\n".join(lent) + "\n")
    return home / "bin"


FIRST_STEPS = """
import actune, torch
from actune.pages.page import asset
print(actune.__file__)
print(actune.__version__)
print(len(actune.list_families()))
print(actune.Activation("swish")(torch.zeros(2, 3)).sum().item())
print(len(asset("uplot.js")) > 10_000)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the commands of an environment are elsewhere on Windows")
def test_the_first_steps_work_where_only_the_wheel_is(installed: Path, tmp_path: Path) -> None:
    file, version, families, zero, has_asset = run(installed / "python", "-c", FIRST_STEPS, cwd=tmp_path).splitlines()
    assert Path(file).is_relative_to(installed.parent)
    assert not Path(file).is_relative_to(ROOT)
    assert version == PROJECT["version"]
    assert int(families) > 80
    assert (zero, has_asset) == ("0.0", "True")

    assert "zorro_tanh" in run(installed / "actune", "list", "zorro", cwd=tmp_path)
    search = ("search", "digits", "--trials", "2", "--seeds", "2", "--together", "8", "--without", "confirmation")
    told = run(installed / "actune", *search, "--output", "best.json", "--plot", "best.png", cwd=tmp_path)
    assert "digits: test accuracy over 2 seeds" in told
    assert "formula" in run(installed / "actune", "show", "best.json", cwd=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"best.json", "best.png"}
