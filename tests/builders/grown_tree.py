"""A tree of feedmill with something more: some files, and some lines in those that are there."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


def grow_tree(folder: Path, files: Mapping[str, str], lines: Mapping[str, tuple[str, str]]) -> Path:
    """Make the tree in a folder, which put on PYTHONPATH goes before the installed feedmill.

    `files` are new, by their paths, as `filters/pills.py`; `lines` has by path a text that stands
    there once, and what comes behind it.  Packages without any are the repository's own.
    """
    packages = folder / "feedmill"
    packages.mkdir(parents=True)
    changed = {path.partition("/")[0] for path in (*files, *lines)}
    for init in ROOT.glob("*/__init__.py"):
        package = init.parent
        if package.name in changed:
            shutil.copytree(package, packages / package.name)
        else:
            (packages / package.name).symlink_to(package)
    for path, text in files.items():
        (packages / path).write_text(text, encoding="utf-8")
    for path, (before, more) in lines.items():
        text = (packages / path).read_text(encoding="utf-8")
        assert text.count(before) == 1, path
        (packages / path).write_text(text.replace(before, before + more), encoding="utf-8")
    return folder


def run_feedmill(tree: Path, *words: str) -> str:
    """Run a command of the tree, which must succeed; return what it printed."""
    return run_python(tree, "-m", "feedmill.cli.main", *words)


def run_python(tree: Path, *words: str) -> str:
    """Run Python with the tree, which must succeed; return what it printed."""
    done = subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "PYTHONPATH": str(tree)},
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
