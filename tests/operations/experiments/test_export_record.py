"""What a join's record says of the weights of an experiment."""

import json
from pathlib import Path
from typing import Any

from builders.experiment_tables import SETTING
from feedmill.events.signal import SignalNames
from feedmill.experiments.checks import FeedWeights
from feedmill.experiments.export_folder import ExportFolder, KeptSetting, Part
from feedmill.operations.experiments.export import ExportedSettings

WEIGHTS = {"quality": 0.5, "engagement": 0.5}


def weights_in(folder: Path, records: list[tuple[str, Any]]) -> FeedWeights:
    """The weights of `global` by these records of `config`, the offset of each its place."""
    settings = tuple(
        KeptSetting("config", offset, 1_000 + offset, key, json.dumps({"value": value}))
        for offset, (key, value) in enumerate(records)
    )
    made = ExportFolder(folder)
    made.write(Part(1, 1, {}, {}, 2_000, {}, settings=settings), {})
    exported = ExportedSettings(made, SignalNames())
    return exported.weights(exported.run("fresher"), {"global": 0.25})["global"]


def test_arms_have_their_effective_weights_and_the_offset_of_the_feeds(tmp_path: Path) -> None:
    own = {**WEIGHTS, "engagement": 2}
    found = weights_in(tmp_path, [("weights/global", own), ("experiments/fresher", SETTING)])
    assert (found.offset, found.changed, found.share) == (0, False, 0.25)
    assert {arm: one["half_life_hours"] for arm, one in found.arms.items()} == {
        "control": 24.0,
        "fresher": 6.0,
    }
    assert [one["engagement"] for one in found.arms.values()] == [2.0, 2.0]
    # What is left out would have its default again.
    assert found.arms["control"]["costs"] == {"hide": 4.0, "report": 18.0}


def test_only_a_change_between_start_and_stop_counts(tmp_path: Path) -> None:
    start = ("experiments/fresher", SETTING)
    stop = ("experiments/fresher", {**SETTING, "stopped": True})
    change, same = ("weights", {**WEIGHTS, "quality": 3}), ("weights", WEIGHTS)
    for name, records, is_changed, offset in (
        ("before", [change, start], False, -1),
        ("same", [start, same], False, -1),
        ("during", [start, change], True, -1),
        ("stopped", [start, change, stop], True, -1),
        ("after", [start, stop, change], False, -1),
        ("elsewhere", [start, ("weights/mine", WEIGHTS)], False, -1),
        ("back", [start, ("weights/global", change[1]), ("weights/global", WEIGHTS)], True, 2),
    ):
        found = weights_in(tmp_path / name, records)
        assert (found.changed, found.offset) == (is_changed, offset), name
