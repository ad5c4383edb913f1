from pathlib import Path

import pytest

from feedmill.events.errors import UsageError
from feedmill.training.evaluation.looks import Look, log_look, read_looks

FIRST = Look("2026-01-01", "before the release", ["spam@0"], {"sms": 7})


def test_looks_are_counted_and_none_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "docs" / "looks.jsonl"
    second = Look("2026-01-02", "again", ["spam@1"], {})
    assert read_looks(path) == []
    assert [log_look(path, look) for look in (FIRST, second)] == [1, 2]
    assert read_looks(path) == [FIRST, second]


def test_a_log_that_is_none_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "looks.jsonl"
    path.write_text("notes\n")
    with pytest.raises(UsageError, match="expected a look in each line"):
        log_look(path, FIRST)
    assert path.read_text() == "notes\n"
