"""So many challengers a day, over restarts too."""

from pathlib import Path

import pytest

from feedmill.events.errors import UsageError
from feedmill.training.continual.starts import Starts

DAY_MS, FILE = 86_400_000, "spam.starts"


def test_so_many_starts_are_allowed_in_any_24_hours(tmp_path: Path) -> None:
    starts = Starts(tmp_path, FILE, 2)
    for now_ms in (1000, 2000):
        assert starts.next_ms(now_ms) == now_ms
        assert not starts.begin(now_ms)
    assert starts.begin(3000) == "no start is left for 1440 minutes"
    assert starts.next_ms(3000) == DAY_MS + 1000
    assert starts.next_ms(DAY_MS + 1000) == DAY_MS + 1000
    assert not starts.begin(DAY_MS + 1000)
    assert starts.next_ms(DAY_MS + 1500) == DAY_MS + 2000


def test_a_restart_counts_on(tmp_path: Path) -> None:
    assert not Starts(tmp_path, FILE, 1).begin(1000)
    assert Starts(tmp_path, FILE, 1).next_ms(2000) == DAY_MS + 1000
    assert Starts(tmp_path, FILE, 2).next_ms(2000) == 2000


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(UsageError, match=r"spam\.starts: .*remove it"):
        Starts(tmp_path, FILE, 1)
