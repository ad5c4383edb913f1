import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from builders.commands import CommandTopics, Run
from builders.events import override
from builders.waiting import until
from builders.written_redis import WrittenRedis
from feedmill.events.decode import decode_override
from feedmill.events.signal import SignalNames

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("topics_made")]


@pytest.fixture
def written(topics: CommandTopics) -> Callable[[], list[Any]]:
    """All records of `overrides`, by the contract's own decoding."""

    def read() -> list[Any]:
        records = topics.read("overrides")
        return [decode_override(SignalNames(), record.key, record.value) for record in records]

    return read


def test_hide_writes_the_contracts_record(run: Run, written: Callable[[], list[Any]]) -> None:
    line = "override hide post:p1 --gate spam --reason 'buy now' --by ann --expires 2h --timeout 0"
    assert run(line).exit_code == 0
    [(key, override)] = written()
    assert str(key) == "post:p1|spam"
    assert (override.verdict, override.by, override.reason) == ("hide", "ann", "buy now")
    assert override.expires_at_ms - override.at_ms == 7_200_000
    assert override.post_offset is None


def test_allow_sends_the_version_that_redis_shows(
    run: Run, writer: WrittenRedis, written: Callable[[], list[Any]]
) -> None:
    writer.signals("p1", post_offset=41)
    assert run("override allow post:p1 --timeout 0").exit_code == 0
    assert run("override allow post:p1 --timeout 0 --any-version --gate nsfw").exit_code == 0
    assert run("override allow author:ann").exit_code == 0
    sent = [(str(key), override.post_offset) for key, override in written()]
    assert sent == [("post:p1|*", 41), ("post:p1|nsfw", None), ("author:ann|*", None)]


def test_allow_of_an_unknown_post_sends_nothing(run: Run, written: Callable[[], list[Any]]) -> None:
    result = run("override allow post:p9")
    assert result.exit_code == 1
    assert "Redis has no post `p9`" in result.stderr
    assert written() == []


def test_clear_says_who_withdraws_and_why(
    run: Run, topics: CommandTopics, written: Callable[[], list[Any]]
) -> None:
    line = "override clear author:ann --gate spam --by bob --reason 'was a joke'"
    assert run(line).exit_code == 0
    [(key, override)] = written()
    assert (str(key), override) == ("author:ann|spam", None)
    [record] = topics.read("overrides")
    removal = {"value": None, "by": "bob", "note": "was a joke"}
    assert json.loads(record.value or b"") == removal


def test_it_waits_until_redis_shows_it(
    run: Run, writer: WrittenRedis, written: Callable[[], list[Any]]
) -> None:
    writer.signals("p1")

    def combine() -> None:
        key, given = until(written)[0]
        before = {"author:ann|*": override("hide", at_ms=1)}
        writer.signals("p1", overrides={**before, str(key): given})

    combiner = threading.Thread(target=combine)
    combiner.start()
    result = run("override hide post:p1 --gate spam")
    combiner.join()
    assert result.exit_code == 0, result.output
    assert "visible in Redis after " in result.stdout


def test_it_waits_until_a_cleared_one_is_gone(run: Run, writer: WrittenRedis) -> None:
    writer.signals("p1", overrides={"post:p1|*": override("hide")})
    combiner = threading.Timer(0.3, writer.signals, ["p1"])
    combiner.start()
    result = run("override clear post:p1")
    combiner.join()
    assert result.exit_code == 0, result.output
    assert "visible in Redis after " in result.stdout


def test_what_redis_never_shows_fails(run: Run) -> None:
    result = run("override hide post:p1 --timeout 0.3 --json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["visible_after_ms"] is None
    assert "post:p1 in Redis does not show it after 0.3 s" in result.stderr


def test_the_list_says_what_is_in_force_until_when_and_by_whom(run: Run) -> None:
    for line in (
        "hide post:p1 --gate spam --reason 'buy now' --by ann --expires 2h",
        "demote author:bob --by cat",
        "hide post:p2 --by ann --expires 7d",
        "hide post:p3 --by ann",
        "clear post:p3",
        "hide post:p4 --by dan --expires 1s",
    ):
        assert run(f"override {line} --timeout 0").exit_code == 0

    def listed(words: str = "") -> list[tuple[str, str, str, str]]:
        found = json.loads(run(f"override list {words} --json").stdout)
        return [(one["subject"], one["gate"], one["verdict"], one["by"]) for one in found]

    first, second = ("post:p1", "spam", "hide", "ann"), ("post:p2", "*", "hide", "ann")
    last = ("author:bob", "*", "demote", "cat")
    until(lambda: len(listed()) == 3)
    assert listed() == [first, second, last]
    assert listed("--by ann") == [first, second]
    assert listed("author:bob") == [last]
    assert listed("--expired")[0] == ("post:p4", "*", "hide", "dan")
    lines = run("override list --expired").stdout.splitlines()
    assert lines[0].split() == [
        *("subject", "gate", "verdict", "version", "by", "decided", "expires", "reason"),
    ]
    assert ", over" in lines[1]
    assert ", in 119m  buy now" in lines[2]
    assert ", in 6d" in lines[3]
    assert lines[4].split()[-1] == "never"
    assert run("override list post:p3").stdout == "no override is in force for post:p3\n"
