"""A filter of one's own is one file and one line: it trains, and its signal decides in a feed."""

import filecmp
from pathlib import Path
from typing import Any

import pytest

from builders import grown_tree, own_filter
from builders.engine import Engine
from builders.training_data import sentences
from builders.waiting import until


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    return own_filter.grow_tree(folder)


def test_the_tree_has_one_file_and_one_line_more(tree: Path) -> None:
    ours, grown = grown_tree.ROOT / "filters", tree / "feedmill" / "filters"
    compared = filecmp.dircmp(ours, grown, ignore=["__pycache__"])
    assert (compared.left_only, compared.right_only) == ([], ["pills.py"])
    assert compared.diff_files == ["registry.py"]
    lines = (grown / "registry.py").read_text().splitlines()
    lines.remove('    "pills",')
    assert lines == (ours / "registry.py").read_text().splitlines()
    assert all(
        p.resolve() == grown_tree.ROOT / p.name for p in grown.parent.iterdir() if p != grown
    )


def test_a_filter_of_ones_own_decides(
    tree: Path, start_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_filter.train(tree)
    monkeypatch.setenv("PYTHONPATH", str(tree))
    engine: Engine = start_engine("pills+combiner", signals="pills:gate")
    offsets = {
        "selling": engine.post("selling", sentences(1, 98, own_filter.SELLING)[0]),
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
    until(lambda: sorted(engine.order()) == ["calm", "labelled"], 10)

    river = sentences(1, 99)[0].split()[0]
    rule = {"calm": {"verdict": "hide", "phrases": [river]}}
    engine.wait_applied(engine.set("rules/pills", rule))
    until(lambda: engine.truth("calm")["decision"] == "hide", 20)
    assert engine.truth("calm")["decided_by"] == "rule:calm"
    assert [r for beat in engine.instances().values() for r in beat["refused"]] == []
    assert engine.complaints() == []
