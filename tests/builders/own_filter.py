"""A tree of feedmill with one more filter: one file and one line more than the repository has."""

import csv
from pathlib import Path

from builders import grown_tree
from builders.training_data import sentences

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
    """Make the tree in a folder."""
    files = {f"filters/{NAME}.py": FILE}
    return grown_tree.grow_tree(folder, files, {"filters/registry.py": (_LAST_LINE, LINE)})


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
    grown_tree.run_feedmill(tree, *words, "--out", str(store))
