"""`feedmill examination`, from a file and from the topic."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from builders.commands import CommandTopics, Run
from builders.events import NOW_MS
from feedmill.cli.main import main
from feedmill.events.decode import encode
from feedmill.events.engagement import Engagement, EngagementKind
from feedmill.streams.environment import read_environment

PLANTED = (1.0, 0.6, 0.3)


def examination(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["examination", *arguments])


def events(users: int) -> list[Engagement]:
    """Two posts that swap places, of which one is clicked twice as often."""
    random, found = np.random.default_rng(4), list[Engagement]()

    def add(post_id: str, user: int, kind: EngagementKind, position: int) -> None:
        found.append(Engagement(post_id, f"u{user}", kind, NOW_MS, position=position))

    for user in range(users):
        places = random.permutation(3).tolist()
        for post_id, rate, position in zip("pqr", (0.8, 0.4, 0.4), places, strict=True):
            add(post_id, user, "impression", position)
            if random.random() < rate * PLANTED[position]:
                add(post_id, user, "click", position)
    return found


def lines_of(path: Path, content: list[Engagement]) -> str:
    path.write_bytes(b"\n".join(encode(event) for event in content))
    return str(path)


def test_it_prints_the_curve_as_the_worker_reads_it(tmp_path: Path) -> None:
    result = examination(lines_of(tmp_path / "events.jsonl", events(4_000)), "--positions", "3")
    assert result.exit_code == 0, result.output
    name, _, value = result.stdout.splitlines()[-1].partition("=")
    curve = read_environment({name: value}).examination
    assert curve == pytest.approx(PLANTED, rel=0.1)


def test_a_position_without_clicks_keeps_some_examination(tmp_path: Path) -> None:
    some = [event for event in events(500) if event.position != 2 or event.kind == "impression"]
    path = lines_of(tmp_path / "events.jsonl", some)
    found = json.loads(examination(path, "--positions", "3", "--json").stdout)
    assert found["examination"][2] == 0.01
    assert (found["posts"], found["impressions"]) == (3, [500, 500, 500])


def test_without_posts_at_two_positions_it_says_why_there_is_no_curve(tmp_path: Path) -> None:
    alone = [event for event in events(50) if event.position == 0]
    result = examination(lines_of(tmp_path / "events.jsonl", alone))
    assert result.exit_code == 1
    assert "no post of 3 has impressions at two positions" in result.stderr


@pytest.mark.stack
def test_it_reads_the_topic_and_passes_bad_records_over(topics: CommandTopics, run: Run) -> None:
    topics.make(engagements=2)
    for event in events(200):
        topics.send("engagements", event.post_id, event)
    topics.send("engagements", "p", {})
    result = run("examination --json --positions 3")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["impressions"] == [200, 200, 200]
