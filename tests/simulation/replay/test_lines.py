import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from feedmill.events.engagement import Engagement
from feedmill.events.errors import BadEvent, UsageError
from feedmill.events.post import Post
from feedmill.events.signal import SignalNames
from feedmill.simulation.replay.lines import (
    MAX_LINE_BYTES,
    lines_of_file,
    lines_of_stdin,
    open_file,
    open_lines,
    parse_line,
)
from feedmill.simulation.replay.options import Counts, ReplayOptions
from feedmill.simulation.replay.sender import with_send_time
from feedmill.simulation.schedule import OutgoingRecord

GOOD = {
    b'{"post_id":"a","author_id":"b","created_at_ms":1700000000005,"text":"t","more":1}': (
        "posts",
        Post,
    ),
    b'{"post_id":"a","user_id":"u","kind":"like","at_ms":1700000000005}': (
        "engagements",
        Engagement,
    ),
    b'{"topic":"engagements","key":"a","value":{"post_id":"a","user_id":"u","kind":"like",'
    b'"at_ms":1700000000005}}': ("engagements", Engagement),
    b'{"post_id":"a","deleted":true}': ("posts", OutgoingRecord),
    b'{"topic":"posts","key":"a","value":null}': ("posts", OutgoingRecord),
    b'{"topic":"overrides","key":"post:a|*","value":null}': ("overrides", OutgoingRecord),
    b'{"topic":"signals.spam","value":{"post_id":"a","post_offset":0,"value":0.5,"model":"m",'
    b'"version":"1","at_ms":5}}': ("signals.spam", OutgoingRecord),
}


@pytest.mark.parametrize("line", GOOD)
def test_a_line_is_recognised(line: bytes) -> None:
    timed = parse_line(line, SignalNames())
    assert (timed.topic, type(timed.event)) == GOOD[line]
    again = with_send_time(timed.event, None)
    assert again.key == (b"post:a|*" if timed.topic == "overrides" else b"a")


BAD = {
    b"nothing": "malformed",
    b"[1]": "Expected `object`",
    b"\xff\xfe": "",
    b"[" * 100_000: "",
    b"{}": "none of these",
    b'{"topic":"posts"}': "missing required field `value`",
    b'{"topic":"posts","value":7}': "Expected `object`",
    b'{"topic":"posts","key":"x","value":{"post_id":"a","author_id":"b","created_at_ms":1700000000005,'
    b'"text":"t"}}': "Expected the record's key",
    b'{"topic":"config","key":"weights","value":{}}': "Expected a topic",
    b'{"topic":"signals.unknown","value":{"post_id":"a"}}': "Expected a topic",
    b'{"post_id":"a","user_id":"u","kind":"love","at_ms":5}': "Expected one of impression, click",
}


@pytest.mark.parametrize("line", BAD, ids=range(len(BAD)))
def test_a_bad_line_is_refused_with_the_reason(line: bytes) -> None:
    with pytest.raises(BadEvent) as error:
        parse_line(line, SignalNames())
    assert BAD[line] in str(error.value)
    assert str(error.value)


def lines_file(folder: Path, *, bad: bool = False) -> Path:
    path = folder / "lines.jsonl.gz"
    line = b'{"post_id":"a%d","author_id":"b","created_at_ms":%d,"text":"t"}'
    lines = [line % (n, 1_700_000_000_000 + n * 500) for n in range(6)]
    if bad:
        lines[2:2] = [b"", b"broken"]
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    return path


def due_times(path: Path, **given: Any) -> list[float]:
    options = ReplayOptions(str(path), **given)
    return [t.due_s for t in open_lines(options, SignalNames(), Counts()).events if t is not None]


def test_a_file_is_paced_by_count_by_its_times_or_not_at_all(tmp_path: Path) -> None:
    path = lines_file(tmp_path)
    assert due_times(path) == [0.0] * 6
    assert due_times(path, rate=10.0) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert due_times(path, speed=1.0) == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert due_times(path, posts=2) == [0.0, 0.0]


def test_bad_lines_are_counted_and_skipped_or_with_strict_nothing_is_sent(tmp_path: Path) -> None:
    path, counts = lines_file(tmp_path, bad=True), Counts()
    events = list(open_lines(ReplayOptions(str(path)), SignalNames(), counts).events)
    assert (len(events), counts.skipped) == (6, 1)
    assert counts.complaints[0].startswith("line 4: JSON is malformed")
    with pytest.raises(UsageError, match=r"1 bad lines, nothing was sent(.|\n)*line 4"):
        open_lines(ReplayOptions(str(path), strict=True), SignalNames(), Counts())
    good = ReplayOptions(str(lines_file(tmp_path)), strict=True)
    assert len(list(open_lines(good, SignalNames(), Counts()).events)) == 6


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
