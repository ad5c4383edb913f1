import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import pairwise

import pytest

import feedmill.cli.feed as feed_module
from builders.commands import Run
from builders.golden import Golden
from builders.waiting import in_background, now_ms
from builders.written_redis import WrittenRedis
from feedmill.cli.feed import follow
from feedmill.streams.redis.reader import FeedReader, FeedSnapshot

pytestmark = pytest.mark.stack

GATES = {"spam": 0.01, "nsfw": 0.02, "misinformation": 0.03}


def test_a_feed_is_shown_with_its_version_weights_and_signals(
    run: Run, writer: WrittenRedis
) -> None:
    writer.signals("p1", {**GATES, "quality": 0.25, "engagement": 0.5, "report": 0.125})
    writer.set("weights", {"quality": 0.25, "engagement": 0.75})
    version = writer.feed("global", {"p1": 2500.5, "p2": 2400.25})
    lines = run("feed global").stdout.splitlines()
    assert lines[0] == f"global version {version}"
    weights = "alpha 0.25, beta 0.75, cost of hide 4, cost of report 18"
    assert lines[1].startswith(f"{weights}, config offset 0, 2 posts, fresh for ")
    assert lines[2].split() == [
        *("rank", "score", "post", "age", "author", "decision", "quality", "engagement"),
        *("hide", "report", "spam/nsfw/misinformation"),
    ]
    first, second = lines[3].split(), lines[4].split()
    assert first[:3] == ["1", "2500.500000", "p1"]
    shown = ["ann", "show", "0.2500", "0.5000", "0.0063", "0.1250", "0.01/0.02/0.03"]
    assert first[-7:] == shown
    assert second == ["2", "2400.250000", "p2", "-", "-", "-", "-", "-/-/-"]


def test_json_says_all_of_it_and_top_cuts(run: Run, writer: WrittenRedis) -> None:
    writer.signals("p1", {"quality": 0.25})
    scores = {f"p{i}": 10.0 - i for i in range(1, 6)}
    version = writer.feed("community:python", scores, fresh_until_ms=5)
    said = json.loads(run("feed community:python --top 2 --json").stdout)
    assert (said["feed"], said["version"], said["fresh"]) == ("community:python", version, False)
    assert [(p["rank"], p["post_id"], p["score"]) for p in said["posts"]] == [
        (1, "p1", 9.0),
        (2, "p2", 8.0),
    ]
    assert said["posts"][0]["signals"] == {"quality": 0.25}


@pytest.mark.usefixtures("run")
def test_a_terminal_gets_the_columns_that_fit_and_ids_whole(
    writer: WrittenRedis, golden: Golden
) -> None:
    ids = [f"demo-mx34hn15-{number}" for number in (1, 20, 300, 4000)]
    for place, post_id in enumerate(ids):
        signals = {**GATES, "quality": 0.25 + place / 10, "engagement": 0.05, "report": 0.125}
        writer.signals(post_id, signals, author_id=f"author-{place}")
    scores = {post_id: 2525.0 - place for place, post_id in enumerate(ids)}
    writer.feed("global", scores, fresh_until_ms=now_ms() + 600_000)
    tables = []
    for width in (60, 80, 100, 140):
        lines = on_a_terminal(width, "feed", "global", "--follow", "--for", "0.3")
        assert max(map(len, lines)) <= width
        assert all(sum(post_id in line.split() for line in lines) == 1 for post_id in ids)
        tables.append("\n".join([f"## {width} columns", *(line.rstrip() for line in lines)]))
    found = re.sub(r"fresh for \d+ s", "fresh for <n> s", "\n\n".join(tables))
    golden.check("feed_follow.txt", f"{found}\n")


def on_a_terminal(width: int, *words: str) -> list[str]:
    """Run a command on a terminal of this width, and return the lines that it left there."""
    own, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    command = [sys.executable, "-m", "feedmill.cli.main", *words]
    # Tests that run in several processes have the width of pytest's own terminal there.
    environment = {k: v for k, v in os.environ.items() if k != "COLUMNS"} | {"TERM": "xterm"}
    with subprocess.Popen(command, stdout=its, env=environment) as process:
        os.close(its)
        said = bytearray()
        with suppress(OSError):  # of a terminal that was left
            while part := os.read(own, 4096):
                said += part
    os.close(own)
    assert process.returncode == 0
    # Each table is drawn over the one before: it begins behind the last line that was erased.
    last = said.decode().split("\x1b[2K")[-1]
    return [line for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", last).splitlines() if line]


def test_an_empty_feed_is_no_missing_one(run: Run, writer: WrittenRedis) -> None:
    version = writer.feed("global", {})
    result = run("feed global")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"global version {version}\n")


ONE = {
    "arms": [
        {"name": "a", "share": 5000},
        {"name": "b", "share": 5000, "weights": {"quality": 0.75}},
    ],
    **{"feeds": ["global"], "salt": "s", "planned_n": 1000},
}


def test_an_arm_is_shown_under_its_own_weights(run: Run, writer: WrittenRedis) -> None:
    writer.set("experiments/one", ONE)
    version = writer.feed("global", {"p1": 1.5}, arms={"one.b": {"p2": 2.5}})
    lines = run("feed global --arm b").stdout.splitlines()
    assert lines[0] == f"global arm one.b version {version}"
    assert lines[1].startswith("alpha 0.75, beta 0.5, ")
    assert lines[3].split()[:3] == ["1", "2.500000", "p2"]
    said = json.loads(run("feed global --arm b --json").stdout)
    assert (said["arm"], said["version"], said["posts"][0]["post_id"]) == ("one.b", version, "p2")
    followed = run("feed global --arm b --follow --for 1").stdout
    assert followed.startswith(f"global arm one.b version {version}\n")
    # The control reads the feed itself.
    assert run("feed global --arm a").stdout == run("feed global").stdout
    refused = run("feed global --arm c")
    text = "the feed `global` has no arm `c`; Redis has the arms a, b of `one`"
    assert (refused.exit_code, text in refused.output) == (1, True)
    writer.set("experiments/one", {**ONE, "stopped": True})
    writer.feed("global", {"p1": 1.5})
    assert "no arm `b`; Redis has none" in run("feed global --arm b").output


class ScriptedReader(FeedReader):
    """Takes the next step before it reads a feed; after the last one it interrupts `follow`."""

    def __init__(self, writer: WrittenRedis, *steps: Callable[[], object]) -> None:
        super().__init__(writer.client, writer.prefix)
        self._steps = iter(steps)
        self.read_at_s: list[float] = []

    def feed(self, feed: str, top: int, arm: str = "") -> FeedSnapshot | None:
        step = next(self._steps, None)
        if step is None:
            raise KeyboardInterrupt
        step()
        self.read_at_s.append(time.monotonic())
        return super().feed(feed, top, arm)


def nothing() -> None:
    """A step in which the feed stays as it is."""


def versions_in(output: str) -> list[int]:
    return [int(version) for version in re.findall(r"^global version (\d+)$", output, re.M)]


def test_follow_prints_each_version_that_it_reads_once(
    writer: WrittenRedis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(feed_module, "POLL_S", 0.05)
    monkeypatch.setattr(feed_module, "PAUSE_PLAIN_S", 0.01)
    written: list[int] = []

    def write() -> None:
        written.append(writer.feed("global", {"p1": float(len(written)), "p2": 5.0}))

    def write_three() -> None:
        for _ in range(3):
            write()

    follow(ScriptedReader(writer, write, nothing, write, write_three, nothing), "global", 5, 60)
    assert versions_in(capsys.readouterr().out) == [written[0], written[1], written[-1]]
    assert len(written) == 5


def test_follow_pauses_however_often_a_feed_changes(
    writer: WrittenRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "PAUSE_PLAIN_S", 0.2)
    reader = ScriptedReader(writer, *[nothing] * 4)

    def write_on(stop: threading.Event) -> None:
        while not stop.is_set():
            writer.feed("global", {"p1": 1.0})

    with in_background(write_on):
        follow(reader, "global", 5, 60)
    # At least: a slow machine makes it more, and nothing less.
    assert min(later - sooner for sooner, later in pairwise(reader.read_at_s)) > 0.19


def test_follow_tells_when_a_feed_has_grown_stale(
    writer: WrittenRedis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(feed_module, "POLL_S", 0.05)
    version = writer.feed("global", {"p1": 1.0}, fresh_until_ms=now_ms() + 600_000)
    info = f"{writer.prefix}feed:{{global}}:info"
    grow_stale = partial(writer.client.hset, info, "fresh_until_ms", now_ms() - 1000)
    follow(ScriptedReader(writer, nothing, grow_stale, nothing), "global", 5, 60)
    output = capsys.readouterr().out
    assert versions_in(output) == [version] * 2
    states = [line.split(", ")[-1] for line in output.splitlines() if line.startswith("alpha")]
    assert states[0].startswith("fresh for")
    assert states[1].startswith("STALE for")


def test_follow_shows_a_change_without_waiting_for_the_next_poll(
    writer: WrittenRedis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(feed_module, "POLL_S", 3600.0)
    monkeypatch.setattr(feed_module, "PAUSE_PLAIN_S", 0.0)
    writer.feed("global", {"p1": 0.0})

    def write_on(stop: threading.Event) -> None:
        while not stop.wait(0.1):
            writer.feed("global", {"p1": 1.0})

    with in_background(write_on):
        follow(ScriptedReader(writer, nothing, nothing), "global", 5, 30)
    assert len(versions_in(capsys.readouterr().out)) == 2


def test_follow_waits_for_a_feed_but_not_for_ever(run: Run) -> None:
    result = run("feed nowhere --follow --for 0.5")
    assert result.exit_code == 1
    assert "waiting for the feed `nowhere`" in result.stderr


def test_follow_as_json_is_a_line_a_version(run: Run, writer: WrittenRedis) -> None:
    version = writer.feed("global", {"p1": 1.0})
    lines = run("feed global --follow --for 0.3 --json").stdout.splitlines()
    assert [json.loads(line)["version"] for line in lines] == [version]
