import gzip
import os
from pathlib import Path

import pytest

from feedmill.events.errors import UsageError
from feedmill.simulation.replay.inputs import (
    MAX_LINE_BYTES,
    lines_of_file,
    lines_of_stdin,
    open_file,
)


def test_a_line_that_is_too_long_is_one_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(b"x" * (2 * MAX_LINE_BYTES + 5) + b"\nshort\n")
    lines = list(lines_of_file(open_file(path)))
    assert [len(line) for line in lines] == [MAX_LINE_BYTES + 1, 6]


def test_a_broken_archive_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl.gz"
    path.write_bytes(gzip.compress(b"one\ntwo\nthree\n")[:-10])
    with pytest.raises(UsageError, match="broken or incomplete, get it again"):
        list(lines_of_file(open_file(path)))


@pytest.mark.parametrize("packed", [False, True])
def test_standard_input_gives_lines_as_they_come(*, packed: bool) -> None:
    reading, writing = os.pipe()
    data = b"one\ntwo\nthree"
    lines = lines_of_stdin(reading)
    assert next(lines) is None
    os.write(writing, gzip.compress(data) if packed else data)
    os.close(writing)
    assert [line for line in lines if line is not None] == [b"one", b"two", b"three"]
    os.close(reading)
