"""`feedmill tune` on the sample, on a real Kafka, and on feeds of a real Redis."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from builders.changed_export import write_export
from builders.commands import CommandTopics, Run
from builders.golden import Golden
from builders.written_redis import WrittenRedis
from feedmill.cli.main import main
from feedmill.streams.settings.clock import now_ms

HOUR_MS = 3_600_000


def feedmill(line: str) -> Result:
    return CliRunner().invoke(main, line.split())


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert feedmill("sample").exit_code == 0
    return tmp_path


FRONT = "tune front sample/tune-users.csv --experiment sample/tune.json --record"


def test_the_sample_is_a_finished_experiment_to_try(sample: Path, golden: Golden) -> None:
    said = feedmill(f"{FRONT} sample/tune-record.json --html a.html --out next.json")
    assert said.exit_code == 0, said.output
    golden.check("tune_front.txt", said.stdout)
    again = feedmill(f"{FRONT} sample/tune-record.json --html b.html --json")
    assert Path("a.html").read_bytes() == Path("b.html").read_bytes()
    assert json.loads(again.stdout)["recommended"] == "half_life_hours-6"
    planned = feedmill("experiments plan next.json --assume take_rate=0.2:0.1 --assume actions=2:2")
    assert "take_rate" in planned.stdout
    # Both looks are kept.
    looks = [json.loads(line) for line in Path("sample/looks.jsonl").read_text().splitlines()]
    assert [one["recommended"] for one in looks] == ["half_life_hours-6"] * 2


def test_a_failed_check_says_nothing_of_arms(sample: Path) -> None:
    record = json.loads(Path("sample/tune-record.json").read_text())
    Path("gap.json").write_text(json.dumps({**record, "gaps": [{"from_ms": 1, "to_ms": 2}]}))
    said = feedmill(f"{FRONT} gap.json --html a.html")
    assert said.exit_code == 1
    assert "Nothing may be concluded: data: gaps: 1, the first from 1 to 2." in said.stdout
    assert "set it" not in said.stdout + Path("a.html").read_text()
    assert "<svg" not in Path("a.html").read_text()


def test_a_refusal_names_the_file(sample: Path) -> None:
    Path("old.json").write_text("{}")
    said = feedmill(f"{FRONT} old.json")
    assert said.exit_code == 1
    assert said.stderr.startswith("feedmill: sample/tune.json: Expected the weights of the arms in")


def test_a_record_without_the_weights_of_an_arm_is_refused(sample: Path) -> None:
    record = json.loads(Path("sample/tune-record.json").read_text())
    del record["weights"]["global"]["arms"]["half_life_hours-6"]
    Path("lacks.json").write_text(json.dumps(record))
    said = feedmill(f"{FRONT} lacks.json --html a.html")
    assert said.exit_code == 1
    assert said.stderr == (
        "feedmill: sample/tune.json: Expected the weights of every arm, got none of"
        " half_life_hours-6 - at `$.weights.global.arms` of the record; `feedmill experiments join"
        " --record` writes it anew\n"
    )
    assert not Path("a.html").exists()
    assert not Path("sample/looks.jsonl").exists()


# --- preview ----------------------------------------------------------------------------------


@pytest.fixture
def posts(topics: CommandTopics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    signals = ("spam", "nsfw", "misinformation", "quality", "engagement", "hide", "report")
    others = ("reply", "share", "dwell")
    topics.make("config", "posts", "overrides", *(f"signals.{name}" for name in signals + others))
    at_ms = now_ms()
    topics.send("config", "weights", {"value": {"quality": 0.5, "engagement": 0.5}})
    for number in range(80):
        created_ms = at_ms - number * HOUR_MS
        post_id = f"p{number:02}"
        post = {"post_id": post_id, "author_id": f"a{number}", "created_at_ms": created_ms}
        offset = topics.send("posts", post_id, {**post, "text": "t", "communities": ["x"]})
        values = {"quality": number % 7 / 7, "engagement": number % 11 / 100, "hide": 0.0}
        for name in signals[:6]:
            signal: dict[str, Any] = {"post_id": post_id, "post_offset": offset}
            signal |= {"model": name, "version": "v", "at_ms": created_ms}
            signal["value"] = values.get(name, 0.0)
            topics.send(f"signals.{name}", post_id, signal)


ASSUMED = "--assume take_rate=0.05:0.122 --assume reporters=0.01"


@pytest.mark.stack
@pytest.mark.usefixtures("posts")
def test_a_preview_writes_an_experiment_of_arms_that_move_the_top(run: Run) -> None:
    said = run(f"tune preview global half_life_hours {ASSUMED} --out mix.json --svg mix.svg")
    assert said.exit_code == 0, said.output
    mix = json.loads(Path("mix.json").read_text())
    hours = [arm["weights"]["half_life_hours"] for arm in mix["arms"][1:]]
    assert len(set(hours)) == len(hours) >= 3
    assert min(hours) < 24 < max(hours)
    assert mix["planned_n"] > 10_000
    assert Path("mix.svg").read_text().startswith("<svg")
    table = json.loads(run("tune preview global half_life_hours --json").stdout)
    for one in table["settings"][1::3]:
        words = f"weights preview global half_life_hours={one['value']} --json"
        expected = json.loads(run(words).stdout)
        ranks = [(post["rank"] or 99, post["rank_now"] or 99) for post in expected["posts"]]
        assert one["overlap"] == sum(max(both) <= 20 for both in ranks) / 20
        assert one["means"] == expected["then"]["top_means"]
    both = run(f"tune preview global beta hide {ASSUMED} --out both.json")
    assert "left out: costs.hide down: 100% of the top 20 stay" in both.stdout
    started = run("experiments start both.json --timeout 0")
    assert ".exposures`; create the topics" in started.stderr, started.output


REFUSED = (
    ("global spam", "at `$.spam`; a gate is a rule of the product"),
    ("global max_per_author", "a cap is none, see `feedmill weights preview global max_pe"),
    ("global alpha beta", "only their ratio moves the list, so name beta alone"),
    ("global reply", "got 0 - at `$.reply` of `global`; give it one first: feedmill config"),
    ("nowhere", "there is no feed `nowhere`"),
    ("community:none beta", "no post is in `community:none`; check the name"),
    (
        f"community:x beta {ASSUMED} --out a.json",
        "got 'community:x', which a pattern makes - at",
    ),
    (f"global beta half_life_hours {ASSUMED} --list-noise 0.5 --out a.json", "planned_n"),
    (
        "global beta --out a.json",
        "nothing says what take_rate, reporters is now; give --before",
    ),
    (f"global hide {ASSUMED} --out a.json", "a.json was not written: no direction of a dial"),
)


@pytest.mark.stack
@pytest.mark.usefixtures("posts")
def test_what_a_preview_cannot_show_is_refused_with_a_way_out(run: Run) -> None:
    for words, said in REFUSED:
        found = run(f"tune preview {words}")
        assert found.exit_code == 1, words
        assert said in found.stderr
        assert not Path("a.json").exists()


# --- half -------------------------------------------------------------------------------------

MIX: dict[str, Any] = {
    "arms": [
        {"name": "control", "share": 5000},
        {"name": "slow", "share": 5000, "weights": {"half_life_hours": 96}},
    ],
    **{"feeds": ["global"], "salt": "s", "planned_n": 9000},
}
GATED = {"name": "strict", "share": 5000, "gates": {"spam": {"hide_at": 0.5}}}


@pytest.fixture
def communities(
    topics: CommandTopics, writer: WrittenRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    topics.make("config", "instances", "audit")
    for number in range(9):
        writer.feed(f"community:c{number}", {"p": 1.0})
    Path("mix.json").write_text(json.dumps(MIX))
    Path("gated.json").write_text(json.dumps({**MIX, "arms": [MIX["arms"][0], GATED]}))


def settings(run: Run) -> dict[str, Any]:
    said = json.loads(run("config get --json").stdout)
    return {one["key"]: one["value"] for one in said if one["offset"] >= 0}


@pytest.mark.stack
@pytest.mark.usefixtures("communities")
def test_half_of_the_feeds_get_an_arm_and_undo_leaves_no_setting(run: Run) -> None:
    said = run("tune half community:* mix.json slow --timeout 0")
    assert said.exit_code == 0, said.output
    found = settings(run)
    assert len(found) == 4
    assert all(key.startswith("weights/community:c") for key in found)
    assert {value["half_life_hours"] for value in found.values()} == {96}
    assert {value["quality"] for value in found.values()} == {0.5}
    again = run("tune half community:* mix.json slow --timeout 0")
    assert again.exit_code == 1
    assert "with weights of their own - at `weights/community:c" in again.stderr
    undone = run("tune half community:* mix.json slow --undo --timeout 0")
    assert undone.exit_code == 0, undone.output
    assert settings(run) == {}
    audit = run("audit --json").stdout
    assert audit.count("tune half") >= 8
    gone = run("tune half community:* mix.json slow --undo --timeout 0")
    assert "no feed of community:* has weights by `tune half mix.slow`" in gone.stderr
    # The same halves again.
    run("tune half community:* mix.json slow --timeout 0")
    assert settings(run).keys() == found.keys()


NO_HALF = (
    ("community:c1 mix.json slow", "Expected 'community:*' or 'lang:*', got 'community:c1'"),
    ("community:* mix.json fast", "mix.json: expected an arm (slow), got 'fast'"),
    ("community:* gated.json strict", "got 'strict' - at `$.arms[1].gates`; a gate is no dial"),
    ("lang:* mix.json slow", "Redis has 0 feeds of lang:*, which have no half"),
)


@pytest.mark.stack
@pytest.mark.usefixtures("communities")
def test_what_has_no_half_is_refused(run: Run) -> None:
    for words, said in NO_HALF:
        found = run(f"tune half {words} --timeout 0")
        assert found.exit_code == 1
        assert said in found.stderr
    assert settings(run) == {}


# --- after ------------------------------------------------------------------------------------

FEEDS = [f"community:c{number:02}" for number in range(40)]


def test_twenty_feeds_that_were_drawn_are_compared_with_twenty_that_were_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_export(Path("record"), FEEDS, FEEDS[::2], lift=1.3)
    said = feedmill("tune after record community:*")
    assert said.exit_code == 0, said.output
    assert "in 20 of 40 feeds\nby feed: so much by chance in 0.0% of draws" in said.stdout
    assert "  feedmill tune half 'community:*' mix.json slow --undo" in said.stdout
    found = json.loads(feedmill("tune after record community:* --json").stdout)
    assert found["lower"] > 0.1
    assert found["drawn"] is True


def test_one_feed_is_compared_by_day_and_nothing_was_randomised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_export(Path("record"), FEEDS[:3], FEEDS[:1], note="by hand", seen=60)
    said = feedmill(f"tune after record {FEEDS[0]}")
    assert "by day: nothing was randomised, so whatever else changed then is in it" in said.stdout
    assert f"  feedmill config rollback weights/{FEEDS[0]}" in said.stdout
    for words, reason in (
        (FEEDS[1], f"no record of the export changes the weights of {FEEDS[1]}; give feeds"),
        ("global", "no record of the export changes the weights of global"),
    ):
        refused = feedmill(f"tune after record {words}")
        assert refused.exit_code == 1
        assert reason in refused.stderr


def test_two_weeks_that_are_not_over_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_export(Path("record"), FEEDS[:2], FEEDS[:1], days_after=9)
    refused = feedmill(f"tune after record {FEEDS[0]}")
    assert "expected 16 days after the change, 7.0 are missing; export again when" in refused.stderr
