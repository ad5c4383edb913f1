"""A tree of feedmill in which one filter's model raises on whatever it gets."""

from __future__ import annotations

import shutil
from pathlib import Path

from builders.own_filter import ROOT

_BREAKS = """

def _raise(self: FilterModel, batch: PostBatch) -> Scores:
    if self.name == "{name}":
        raise RuntimeError("this model is broken")
    return _whole(self, batch)


_whole = FilterModel.score_batch
FilterModel.score_batch = _raise
"""


def break_model(folder: Path, name: str) -> Path:
    """Make the tree in a folder, which put on PYTHONPATH goes before the installed feedmill."""
    packages = folder / "feedmill"
    packages.mkdir(parents=True)
    for init in ROOT.glob("*/__init__.py"):
        if init.parent.name != "filters":
            (packages / init.parent.name).symlink_to(init.parent)
    shutil.copytree(ROOT / "filters", packages / "filters")
    with (packages / "filters" / "model.py").open("a", encoding="utf-8") as module:
        module.write(_BREAKS.format(name=name))
    return folder
