"""Tables that are refused, each with what was expected and found: `refused_tables.txt`."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders.experiment_tables import experiment_of, user_columns, write_table
from builders.golden import Golden
from builders.refusals import Refusals
from feedmill.events.errors import UsageError
from feedmill.experiments import table
from feedmill.experiments.table import read_table


def changed(name: str, value: Any) -> dict[str, Any]:
    """Twenty users, one column of which is changed, or None to leave it out."""
    columns = user_columns(1, 20)
    if value is None:
        del columns[name]
    else:
        columns[name] = value
    return columns


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_both_kinds_of_files_are_the_same_table(tmp_path: Path, ending: str) -> None:
    columns = user_columns(2, 500)
    found = read_table(write_table(tmp_path / f"t.{ending}", columns), experiment_of())
    assert (found.arm == (columns["arm"] == "fresher")).all()
    assert (found.complete == columns["complete"]).all()
    assert list(found.sums) == ["take_rate", "actions", "reporters"]
    assert found.impressions_before is not None
    assert np.isnan(found.impressions_before).sum() == columns["pre_impressions"].null_count
    assert list(found.elsewhere) == ["take_rate"]
    assert found.day_impressions is not None and found.day_sums is not None
    assert (found.day_impressions.sum(axis=1) == found.impressions).all()
    assert (found.day_sums.sum(axis=1) == found.sums["take_rate"]).all()
    assert found.client is not None and list(found.client) == list(columns["client"])


def test_a_window_is_over_on_a_day_or_not_yet(tmp_path: Path) -> None:
    columns = user_columns(3, 300, days=6.0)
    found = read_table(write_table(tmp_path / "t.csv", columns), experiment_of())
    days = found.look_days(72)
    assert set(days) == {-1, 0, 1, 2}
    assert ((days < 0) == ~columns["complete"]).all()


def test_wrong_tables_are_refused(tmp_path: Path, golden: Golden) -> None:
    refusals = Refusals(UsageError, table)
    tables = {
        "without users": changed("user", None),
        "a user twice": changed("user", ["u1"] * 2 + [f"v{n}" for n in range(18)]),
        "without impressions": changed("impressions", None),
        "without a guardrail": changed("reporters", None),
        "another arm": changed("arm", ["control"] * 19 + ["b"]),
        "no arm at all": changed("arm", [None] * 20),
        "no text": changed("arm", [b"\xff"] * 20),
        "no arm": changed("computed_arm", ["control"] * 19 + [None]),
        "a text": changed("served", ["many"] * 20),
        "a negative sum": changed("take_rate", [1.0] * 19 + [-1.0]),
        "an empty sum": changed("take_rate", [1.0] * 19 + [None]),
        "an infinite period before": changed("pre_take_rate", [1.0] * 19 + [np.inf]),
        "years of exposures": changed("first_exposure_ms", [1e12] * 19 + [9e15]),
        "no flag": changed("complete", [1] * 20),
    }
    for title, columns in tables.items():
        path = write_table(tmp_path / "t.parquet", columns)
        refusals.add(title, read_table, path, experiment_of())
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no more")
    refusals.add("no Parquet", read_table, tmp_path / "broken.parquet", experiment_of())
    (tmp_path / "empty.csv").touch()
    refusals.add("an empty file", read_table, tmp_path / "empty.csv", experiment_of())
    refusals.add("a folder", read_table, tmp_path, experiment_of())
    refusals.add("nowhere", read_table, tmp_path / "nowhere.csv", experiment_of())
    assert refusals.not_reached() == []
    text = re.sub(r"(Parquet .*|Cannot .*|Empty .*)", "…", refusals.text())
    golden.check("refused_tables.txt", text.replace(str(tmp_path), "<folder>"))
