"""How findings write partitions and times."""

from feedmill.operations.status.finding import ranges, seconds


def test_partitions_and_times_are_written_as_people_read_them() -> None:
    assert [ranges(n) for n in ([], [5], [3, 0, 1, 7, 2])] == ["", "5", "0-3, 7"]
    assert [seconds(ms) for ms in (500, 119_000, 120_000, 7_200_000)] == [
        *("0 s", "119 s", "2 min", "2 h")
    ]
