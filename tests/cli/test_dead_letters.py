"""`feedmill dead-letters` against a real Kafka."""

import json
from pathlib import Path

import pytest

from builders.commands import Run
from builders.golden import Golden
from builders.kafka_log import KafkaLog
from builders.transcript import transcript
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


# Commands one after the other, and what they print: `dead_letters.txt`.
SESSION = (
    *("dead-letters list", "dead-letters list --topic posts"),
    *("dead-letters list --reason AUTHOR_ID", "dead-letters list --reason mended --topic posts"),
    *("dead-letters list --since 1h --limit 2", "dead-letters list --until 1h"),
    *("dead-letters list --counts", "dead-letters list --counts --json"),
    *("dead-letters show 0", "dead-letters show 0 --json", "dead-letters show 3 --json"),
    *("dead-letters show 0 --value", "dead-letters show 9"),
    *("dead-letters replay 1 --dry-run", "dead-letters replay --all --topic posts --by ann"),
    *("dead-letters replay 1 2 --by ann", "dead-letters show 2 --json"),
    "dead-letters replay 2 --force --by ann",
)


def test_letters_are_listed_shown_and_sent_again_once(
    run: Run, written: KafkaLog, golden: Golden
) -> None:
    golden.check("dead_letters.txt", transcript(run, SESSION))
    # Once, and once by force.
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


def test_a_range_letter_tells_of_all_its_records(run: Run, log: KafkaLog, golden: Golden) -> None:
    write_range_letter(log, [(17, 20), (23, 23)], topic="engagements", reason=OF_TOPIC)
    lines = ("list --json", "list --counts", "show 0 --json", "replay 0 --by ann")
    said = transcript(run, [f"dead-letters {line}" for line in lines])
    golden.check("range_letters.txt", said)
