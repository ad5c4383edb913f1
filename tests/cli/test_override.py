import json
import threading

import pytest

from builders.commands import CommandTopics, Run
from builders.events import override
from builders.golden import Golden
from builders.transcript import masked, transcript
from builders.waiting import until
from builders.written_redis import WrittenRedis
from feedmill.events.decode import decode_override
from feedmill.events.signal import SignalNames

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("topics_made")]


def test_the_contracts_records_are_sent_for_the_version_that_redis_shows(
    run: Run, topics: CommandTopics, writer: WrittenRedis, golden: Golden
) -> None:
    writer.signals("p1", post_offset=41)
    lines = (
        "hide post:p1 --gate spam --reason 'buy now' --by ann --expires 2h",
        *("allow post:p1", "allow post:p1 --any-version --gate nsfw", "allow author:ann"),
        # Of an unknown post nothing is sent, nor where there is nothing to clear.
        *("allow post:p9", "clear author:ann --gate spam"),
        "clear author:ann --by bob --reason 'was a joke'",
    )
    said = transcript(run, [f"override {line} --timeout 0" for line in lines])
    records = topics.read("overrides")
    sent = [f"{(one.key or b'').decode()} {(one.value or b'').decode()}\n" for one in records]
    golden.check("overrides.txt", said + masked("".join(sent)))
    _, hidden = decode_override(SignalNames(), records[0].key, records[0].value)
    assert hidden is not None
    assert hidden.expires_at_ms == hidden.at_ms + 7_200_000


def test_it_waits_until_redis_shows_it(
    run: Run, writer: WrittenRedis, topics: CommandTopics
) -> None:
    writer.signals("p1")

    def combine() -> None:
        record = until(lambda: topics.read("overrides"))[0]
        key, given = decode_override(SignalNames(), record.key, record.value)
        assert given is not None
        before = {"author:ann|*": override("hide", at_ms=1)}
        writer.signals("p1", overrides={**before, str(key): given})

    combiner = threading.Thread(target=combine)
    combiner.start()
    result = run("override hide post:p1 --gate spam --timeout 60")
    combiner.join()
    assert result.exit_code == 0, result.output
    assert "visible in Redis after " in result.stdout


def test_it_waits_until_a_cleared_one_is_gone(run: Run, writer: WrittenRedis) -> None:
    assert run("override hide post:p1 --timeout 0").exit_code == 0
    writer.signals("p1", overrides={"post:p1|*": override("hide")})
    combiner = threading.Timer(0.3, writer.signals, ["p1"])
    combiner.start()
    result = run("override clear post:p1 --timeout 60")
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
        *("subject", "gate", "verdict", "version", "by", "decided", "expires", "reason")
    ]
    assert ", over" in lines[1]
    assert ", in 119m  buy now" in lines[2]
    assert ", in 6d" in lines[3]
    assert lines[4].split()[-1] == "never"
    assert run("override list post:p3").stdout == "no override is in force for post:p3\n"


def test_clear_names_what_is_still_in_force_and_all_clears_every_gate(
    run: Run, writer: WrittenRedis, topics: CommandTopics, golden: Golden
) -> None:
    given = {f"post:p1|{gate}": override("hide") for gate in ("spam", "nsfw")}
    writer.signals("p1", overrides=given)
    for line in ("hide post:p1 --gate spam", "allow post:p1 --gate nsfw", "hide post:p1"):
        assert run(f"override {line} --timeout 0").exit_code == 0
    lines = (
        *("clear post:p1 --gate spam --timeout 0", "clear post:p1 --timeout 0"),
        *("clear post:p1", "clear post:p1 --json", "clear post:p1 --all --gate nsfw"),
        *("clear post:p1 --all --timeout 0", "clear post:p1 --all", "list post:p1"),
    )
    golden.check("cleared.txt", transcript(run, [f"override {line}" for line in lines]))
    writer.signals("p1", overrides={"post:p1|nsfw": override("hide")})
    assert run("override hide post:p1 --gate spam --timeout 0").exit_code == 0
    # What it cleared is gone from Redis; the other one stays there.
    assert "visible in Redis after " in run("override clear post:p1 --all --timeout 60").stdout
    withdrawn = [one for one in topics.read("overrides") if b'"value":null' in (one.value or b"")]
    assert len(withdrawn) == 4  # of spam twice, of each other one once; nothing for nothing


def test_an_author_without_a_post_is_told_like_an_unknown_post(
    run: Run, topics: CommandTopics
) -> None:
    topics.make("posts")
    post = {"post_id": "p1", "author_id": "ann", "created_at_ms": 1_795_541_438_542, "text": "Hi"}
    topics.send("posts", "p1", post)
    assert run("override demote author:ann").exit_code == 0
    unknown = run("override demote author:anne")
    assert unknown.exit_code == 1
    assert "`author:anne|*` written at offset" in unknown.stdout
    assert "none of the last 400,000 records of `posts` is by anne" in unknown.stderr
    assert run("override demote author:anna --timeout 0").exit_code == 0
