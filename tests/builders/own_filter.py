"""A tree of feedmill with one more filter: one file and one line more than the repository has."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

from builders.training_data import sentences

ROOT = Path(__file__).parents[2]
NAME = "pills"
SELLING = "BUY pills NOW!!!"
FILE = '''"""Pills: posts that sell them."""

from feedmill.events.gates import GatePolicy
from feedmill.filters.model import Evidence
from feedmill.filters.spec import FilterSpec

FILTER = FilterSpec(
    name="pills",
    evidence=Evidence(views=("text",)),
    recipe="linear",
    believed_self_labels=frozenset(("advertisement",)),
    gate=GatePolicy(hide_at=0.97),
)
'''
LINE = '    "pills",\n'
_LAST_LINE = '    "misinformation",\n'


def grow_tree(folder: Path) -> Path:
    """Make the tree in a folder, which put on PYTHONPATH goes before the installed feedmill.

    All packages are the repository's but `filters`, which is a copy with the file and the line.
    """
    packages = folder / "feedmill"
    packages.mkdir()
    for init in ROOT.glob("*/__init__.py"):
        package = init.parent
        if package.name != "filters":
            (packages / package.name).symlink_to(package)
    shutil.copytree(ROOT / "filters", packages / "filters")
    (packages / "filters" / f"{NAME}.py").write_text(FILE, encoding="utf-8")
    registry = packages / "filters" / "registry.py"
    text = registry.read_text(encoding="utf-8")
    assert text.count(_LAST_LINE) == 1
    registry.write_text(text.replace(_LAST_LINE, _LAST_LINE + LINE), encoding="utf-8")
    return folder


def train(tree: Path) -> None:
    """Train the filter on generated posts by the tree's own command, into the tree's own store."""
    labelled, ordinary = tree / "labelled.csv", tree / "ordinary.csv"
    selling, fine = sentences(150, 1, SELLING), sentences(150, 2)
    with labelled.open("w", newline="") as file:
        rows = [*((text, 1) for text in selling), *((text, 0) for text in fine)]
        csv.writer(file).writerows([("text", "label"), *rows])
    with ordinary.open("w", newline="") as file:
        rows = [(text, i % 60) for i, text in enumerate(sentences(400, 3))]
        csv.writer(file).writerows([("text", "author"), *rows])
    words = ["train", NAME, "--data", str(labelled), "--ordinary", f"{ordinary},group=author"]
    store = tree / "feedmill" / "filters" / "artifacts"
    done = subprocess.run(
        [sys.executable, "-m", "feedmill.cli.main", *words, "--out", str(store)],
        env={**os.environ, "PYTHONPATH": str(tree)},
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
