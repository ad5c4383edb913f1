"""`feedmill dead-letters` against a real Kafka."""

import json
from pathlib import Path

import pytest

from builders.commands import Run
from builders.kafka_log import KafkaLog
from builders.written_letters import BAD_POST, GOOD_POST, write_letter, write_range_letter
from feedmill.deploy.local import StackAddress

pytestmark = pytest.mark.stack

OF_TOPIC = "Expected one of impression, click, got 'bow' - at `$.kind`"


@pytest.fixture
def log(stack: StackAddress, prefix: str) -> KafkaLog:
    return KafkaLog.created(stack.kafka, prefix)


@pytest.fixture
def written(log: KafkaLog) -> KafkaLog:
    """Three letters of posts, of two records, and one of engagements."""
    write_letter(log, b"p1", BAD_POST, offset=3)
    write_letter(log, b"p2", GOOD_POST.replace(b"p1", b"p2"), offset=4, reason="mended, got 1")
    write_letter(log, b"p2", GOOD_POST.replace(b"p1", b"p2"), offset=4, reason="mended, got 2")
    write_letter(log, b"\xff", b"\xfe", topic="engagements", offset=5, reason=OF_TOPIC)
    return log


def listed(run: Run, options: str) -> list[int]:
    result = run(f"dead-letters list --json {options}")
    assert result.exit_code == 0, result.stderr
    return [letter["id"] for letter in json.loads(result.stdout)]


@pytest.mark.usefixtures("written")
def test_list_filters(run: Run) -> None:
    assert listed(run, "") == [0, 1, 2, 3]
    assert listed(run, "--topic posts") == [0, 1, 2]
    assert listed(run, "--reason AUTHOR_ID") == [0]
    assert listed(run, "--reason mended --topic engagements") == []
    assert listed(run, "--since 1h --limit 2") == [2, 3]
    assert listed(run, "--until 1h") == []


@pytest.mark.usefixtures("written")
def test_list_counts_by_topic_and_reason(run: Run) -> None:
    result = run("dead-letters list --counts --json")
    assert [(row["topic"], row["reason"], row["count"]) for row in json.loads(result.stdout)] == [
        ("posts", "mended", 2),
        ("posts", "Expected `str` - at `$.author_id`", 1),
        ("engagements", "Expected one of impression, click - at `$.kind`", 1),
    ]


@pytest.mark.usefixtures("written")
def test_list_prints_a_table(run: Run) -> None:
    lines = run("dead-letters list --topic engagements").stdout.splitlines()
    heading = "id written topic partition offset records by sent again reason"
    assert lines[0].split() == heading.split()
    assert lines[1].endswith(OF_TOPIC)
    assert lines[2] == "1 of 1 shown"


@pytest.mark.usefixtures("written")
def test_show_prints_a_record_whole(run: Run) -> None:
    shown = json.loads(run("dead-letters show 0 --json").stdout)
    assert (shown["topic"], shown["offset"], shown["key"]) == ("posts", 3, "p1")
    assert shown["value"] == BAD_POST.decode()
    assert shown["replay"] is None
    assert f"value: {BAD_POST.decode()}\n" in run("dead-letters show 0").stdout
    assert run("dead-letters show 0 --value").stdout_bytes == BAD_POST
    of_bytes = json.loads(run("dead-letters show 3 --json").stdout)
    assert (of_bytes["key_base64"], of_bytes["value_base64"]) == ("/w==", "/g==")
    unknown = run("dead-letters show 9")
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert "no dead letter 9" in unknown.stderr


def test_replay_sends_each_record_once_and_says_so(run: Run, written: KafkaLog) -> None:
    dry = run("dead-letters replay 1 --dry-run")
    assert (dry.exit_code, dry.stdout.splitlines()[-1]) == (
        0,
        "1 would be sent, 0 skipped, 0 refused",
    )
    assert written.read("posts") == []
    first = run("dead-letters replay --all --topic posts --by ann")
    assert first.exit_code == 1
    assert "0: posts[0] offset 3 not sent: it is still bad" in first.stdout
    assert first.stdout.splitlines()[-1] == "1 sent, 1 skipped, 1 refused"
    assert first.stderr == "feedmill: 1 of 3 records cannot be sent\n"
    again = run("dead-letters replay 1 2")
    assert again.exit_code == 0
    assert again.stdout.count("was sent again before: by ann at ") == 2
    assert [m.key() for m in written.read("posts")] == [b"p2"]
    shown = json.loads(run("dead-letters show 2 --json").stdout)
    assert shown["replay"]["by"] == "ann"
    assert run("dead-letters replay 2 --force").exit_code == 0
    assert [m.key() for m in written.read("posts")] == [b"p2", b"p2"]


def test_replay_sends_a_mended_value(run: Run, written: KafkaLog, tmp_path: Path) -> None:
    mended = tmp_path / "mended.json"
    mended.write_bytes(GOOD_POST)
    result = run(f"dead-letters replay 0 --value {mended} --json")
    assert result.exit_code == 0, result.stderr
    [outcome] = json.loads(result.stdout)
    assert (outcome["sent"], outcome["refusal"]) == (True, None)
    [record] = written.read("posts")
    assert (record.partition(), record.offset()) == (outcome["to_partition"], outcome["to_offset"])
    assert (record.key(), record.value()) == (b"p1", GOOD_POST)


def test_a_range_letter_tells_of_all_its_records(run: Run, log: KafkaLog) -> None:
    write_range_letter(log, [(17, 20), (23, 23)], topic="engagements", reason=OF_TOPIC)
    [letter] = json.loads(run("dead-letters list --json").stdout)
    assert (letter["topic"], letter["offset"], letter["records"]) == ("engagements", 17, 5)
    assert "5 engagements Expected one of" in " ".join(
        run("dead-letters list --counts").stdout.split()
    )
    shown = json.loads(run("dead-letters show 0 --json").stdout)
    assert json.loads(shown["value"])["ranges"] == [[17, 20], [23, 23]]
    replayed = run("dead-letters replay 0")
    assert replayed.stdout.splitlines() == [
        "0: engagements[0] offset 17 to 23, 5 records, not sent: it is gone from `engagements`",
        "0 sent, 0 skipped, 5 refused",
    ]
