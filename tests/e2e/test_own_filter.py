"""A filter of one's own is one file and one line: it trains, and its signal decides in a feed."""

import csv
from pathlib import Path
from typing import Any

import pytest

from builders.engine import Engine
from builders.grown_tree import grow_tree, run_feedmill
from builders.training_data import sentences
from builders.waiting import until

SELLING = "BUY pills NOW!!!"
FILE = '''"""Pills: posts that sell them."""

from feedmill.events.gates import GatePolicy
from feedmill.filters.model import Evidence, FilterSpec

FILTER = FilterSpec(
    name="pills",
    evidence=Evidence(views=("text",)),
    recipe="linear",
    believed_self_labels=frozenset(("advertisement",)),
    gate=GatePolicy(hide_at=0.97),
)
'''
LINE = {"events/built_in.py": ('    "misinformation",\n', '    "pills",\n')}


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
    store = tree / "feedmill" / "filters" / "artifacts"
    words = ("--data", str(labelled), "--ordinary", f"{ordinary},group=author", "--out", str(store))
    run_feedmill(tree, "train", "pills", *words)


def test_a_filter_of_ones_own_decides(
    tmp_path: Path, start_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = grow_tree(tmp_path / "tree", {"filters/pills.py": FILE}, LINE)
    train(tree)
    monkeypatch.setenv("PYTHONPATH", str(tree))
    # The builders of this test know `pills` by its declaration; in the tree it is built in.
    engine: Engine = start_engine("pills+combiner", signals="pills:gate", FEEDMILL_SIGNALS="")
    offsets = {
        "selling": engine.post("selling", sentences(1, 98, SELLING)[0]),
        "calm": engine.post("calm", sentences(1, 99)[0]),
        "labelled": engine.post("labelled", sentences(1, 97)[0], self_labels=["Advertisement"]),
    }
    for name in ("spam", "nsfw", "misinformation"):
        for post_id, offset in offsets.items():
            engine.signal(name, post_id, offset, 0.0)
    decided = engine.wait_decided(offsets)
    assert decided["selling"]["decision"] == "hide"
    assert decided["selling"]["decided_by"].startswith("pills@")
    # Its own gate hides from 0.97 on: the author's label, 0.95, demotes.
    assert decided["labelled"]["decision"] == "demote"
    assert decided["calm"]["decision"] == "show"
    until(lambda: sorted(engine.order()) == ["calm", "labelled"])

    river = sentences(1, 99)[0].split()[0]
    rule = {"calm": {"verdict": "hide", "phrases": [river]}}
    engine.wait_applied(engine.set("rules/pills", rule))
    until(lambda: engine.truth("calm")["decision"] == "hide")
    assert engine.truth("calm")["decided_by"] == "rule:calm"
    assert [r for beat in engine.instances().values() for r in beat["refused"]] == []
    assert engine.complaints() == []
