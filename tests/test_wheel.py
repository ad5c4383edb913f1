"""The wheel: what it contains, and what it needs. `.ci/run` installs one and runs the demo."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
# What only the extras `train` and `experiments` install, by module.
TRAIN_MODULES = {"lightgbm", "matplotlib", "pyarrow", "scipy", "sklearn"}


def setuptools_table() -> dict[str, Any]:
    content = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    table: dict[str, Any] = content["tool"]["setuptools"]
    return table


def tracked_files(*folders: str) -> list[PurePosixPath]:
    """The files of these folders that git knows and that are there."""
    listed = subprocess.run(
        ["git", "ls-files", "--", *folders],  # noqa: S607 - the git on the path
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    names = [PurePosixPath(line) for line in listed.stdout.splitlines()]
    return [name for name in names if (ROOT / name).exists()]


def packaged_files() -> list[PurePosixPath]:
    return tracked_files(*setuptools_table()["package-dir"].values())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel of a copy of the tree, so that nothing left over from another build is in it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in (*packaged_files(), *map(Path, ("pyproject.toml", "README.md", "LICENSE"))):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    build = f"from setuptools.build_meta import build_wheel; build_wheel({str(out)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, check=True)
    (path,) = out.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (each for each in wheel.namelist() if each.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


def test_it_holds_the_files_of_the_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert inside == {f"feedmill/{name}" for name in packaged_files()}


def test_no_pattern_of_data_files_is_left_over() -> None:
    folders = setuptools_table()["package-dir"]
    for package, patterns in setuptools_table()["package-data"].items():
        top, _, rest = package.removeprefix("feedmill.").partition(".")
        folder = ROOT / folders[f"feedmill.{top}"] / rest.replace(".", os.sep)
        assert [each for each in patterns if not any(folder.glob(each))] == [], package


def test_it_has_the_command_and_the_licence(wheel: zipfile.ZipFile) -> None:
    texts = {name.rpartition("/")[2]: wheel.read(name).decode() for name in wheel.namelist()
             if ".dist-info/" in name}  # fmt: skip
    assert "feedmill = feedmill.cli.main:main" in texts["entry_points.txt"]
    assert texts["LICENSE"] == (ROOT / "LICENSE").read_text("utf-8")


def test_its_description_is_the_readme(metadata: Message) -> None:
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert str(metadata.get_payload()).strip() == (ROOT / "README.md").read_text("utf-8").strip()


def imports_at_import_time(text: str) -> set[str]:
    """Top-level packages that a module imports as soon as it is imported."""
    found = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_only_training_and_experiments_need_their_extras() -> None:
    found = {
        str(name): wrong
        for name in packaged_files()
        if name.suffix == ".py"
        and name.parts[0] not in ("training", "experiments")
        and (wrong := imports_at_import_time((ROOT / name).read_text("utf-8")) & TRAIN_MODULES)
    }
    assert found == {}


def test_the_extra_train_installs_what_training_needs(metadata: Message) -> None:
    required = metadata.get_all("Requires-Dist") or []
    plain = {
        line.split(">")[0].split(";")[0].strip() for line in required if "extra ==" not in line
    }
    assert not plain & {"matplotlib", "pyarrow", "scipy", "scikit-learn"}
    extra = {line.split(">")[0] for line in required if 'extra == "train"' in line}
    assert extra == {"matplotlib", "pyarrow", "scikit-learn"}
    extra = {line.split(">")[0] for line in required if 'extra == "experiments"' in line}
    assert extra == {"duckdb", "pyarrow"}
