"""`feedmill score` says of a file's posts what the model says, and names what is wrong."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from builders.events import post
from feedmill.cli.main import main
from feedmill.cli.score import BATCH
from feedmill.events.decode import encode
from feedmill.events.engagement import Engagement
from feedmill.events.post import Post
from feedmill.features.counters import Counters, update
from feedmill.filters import registry as filters
from feedmill.rankers import registry as rankers
from feedmill.rankers.engagement import ExpectedClicks

TEXTS = ("Pasta with beans", "WIN free money now, click http://x.example and subscribe", "")
POSTS = [post(f"p{i}", f"{TEXTS[i % 3]} {i}") for i in range(BATCH + 5)]


@pytest.fixture(autouse=True)
def _shipped_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEEDMILL_MODELS", raising=False)


def write(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"\n".join(lines))
    return path


def score(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["score", *map(str, arguments)])


def rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize("name", ["spam", "nsfw", "misinformation", "quality"])
def test_the_values_are_those_of_the_model_as_float32(name: str, tmp_path: Path) -> None:
    result = score(name, write(tmp_path / "posts.jsonl", [encode(one) for one in POSTS]))
    assert result.exit_code == 0, result.stderr
    model = filters.FILTERS[name] if name in filters.FILTERS else rankers.TEXT_RANKERS[name]
    loaded = model.load()
    expected = loaded.score_many(POSTS).astype(np.float32).tolist()
    assert rows(result) == [
        {"post_id": one.post_id, "value": value, "version": loaded.version}
        for one, value in zip(POSTS, expected, strict=True)
    ]


def test_lines_with_errors_are_named_and_the_others_scored(tmp_path: Path) -> None:
    lines = [
        encode(post("p1")),
        b"",
        b"{",
        b'{"post_id":"p2","author_id":7,"created_at_ms":1700000000001,"text":"x"}',
        b'{"post_id":"p3","deleted":true}',
        encode(post("p4")),
    ]
    result = score("spam", write(tmp_path / "posts.jsonl", lines))
    assert [row["post_id"] for row in rows(result)] == ["p1", "p4"]
    named = [line.partition(":")[0] for line in result.stderr.splitlines()]
    assert named == ["line 3", "line 4", "line 5", "feedmill"]
    assert "Expected `str`, got `int` - at `$.author_id`" in result.stderr
    assert result.exit_code == 1


def test_a_post_on_which_the_model_fails_takes_no_other_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from feedmill.filters.model import FilterModel  # noqa: PLC0415 - for this test alone

    real = FilterModel.score_batch

    def fails(self: FilterModel, batch: Any) -> Any:
        if any(one.post_id == "p2" for one in batch.posts):
            raise ValueError("no")
        return real(self, batch)

    monkeypatch.setattr(FilterModel, "score_batch", fails)
    lines = [encode(post(name)) for name in ("p1", "p2", "p3")]
    result = score("spam", write(tmp_path / "posts.jsonl", lines))
    assert [row["post_id"] for row in rows(result)] == ["p1", "p3"]
    assert "line 2: the model failed: ValueError('no')" in result.stderr


def test_without_a_file_it_reads_standard_input() -> None:
    command = [sys.executable, "-m", "feedmill.cli.main", "score", "spam"]
    done = subprocess.run(command, input=encode(POSTS[1]), capture_output=True, check=True)
    assert json.loads(done.stdout)["post_id"] == "p1"


# --- engagement -----------------------------------------------------------------------------


def events(one: Post, kinds: str) -> list[Engagement]:
    names = {"c": "click", "i": "impression"}
    return [
        Engagement(one.post_id, f"u{i}", names[kind], 1_700_000_000_000 + i, f"e{i}")  # type: ignore[arg-type]  # a kind
        for i, kind in enumerate(kinds)
    ]


def test_engagements_are_counted_each_event_once(tmp_path: Path) -> None:
    one, other = post("p1", "A walk"), post("p2", "A walk")
    of_one = events(one, "iicic")
    posts = write(tmp_path / "posts.jsonl", [encode(one), encode(other)])
    engagements = write(tmp_path / "events.jsonl", [encode(event) for event in of_one + of_one])
    result = score("engagement", posts, "--engagements", engagements)
    assert result.exit_code == 0, result.stderr
    counters = Counters()
    for event in of_one:
        update(counters, event.kind, event.at_ms)
    model = rankers.ENGAGEMENT_RANKER.load()
    assert isinstance(model, ExpectedClicks)
    expected = model.score_many(model.prior_many([one, other]), [counters, Counters()])
    assert [row["value"] for row in rows(result)] == expected.astype(np.float32).tolist()
    assert rows(result)[0]["value"] > rows(result)[1]["value"]
    known = model.prior_weight + 4  # two impressions, three clicks: as many impressions as clicks
    mean = expected[0]
    assert rows(result)[0]["variance"] == pytest.approx(mean * (1 - mean) / known, rel=1e-5)


def test_a_post_with_reactions_and_no_impression_has_no_variance(tmp_path: Path) -> None:
    one = post("p1", "A walk")
    posts = write(tmp_path / "posts.jsonl", [encode(one)])
    engagements = write(tmp_path / "events.jsonl", [encode(event) for event in events(one, "cc")])
    result = score("engagement", posts, "--engagements", engagements)
    assert rows(result)[0]["variance"] is None


def test_a_bad_engagement_is_named_with_its_file(tmp_path: Path) -> None:
    posts = write(tmp_path / "posts.jsonl", [encode(post("p1"))])
    engagements = write(tmp_path / "events.jsonl", [b'{"post_id":"p1"}'])
    result = score("engagement", posts, "--engagements", engagements)
    assert len(rows(result)) == 1
    assert f"{engagements}, line 1: Object missing required field `user_id`" in result.stderr
    assert result.exit_code == 1


@pytest.mark.parametrize("name", filters.FILTERS)
def test_an_explanation_adds_up_to_the_log_odds_of_the_value(name: str, tmp_path: Path) -> None:
    file = write(tmp_path / "posts.jsonl", [encode(one) for one in POSTS[:3]])
    explained = rows(score(name, file, "--explain"))
    plain = rows(score(name, file))
    for line, without in zip(explained, plain, strict=True):
        explanation = line.pop("explanation")
        assert line == without
        words = [part for parts in explanation["words"].values() for _, part in parts]
        evidence = [part for _, part in explanation["evidence"]]
        parts = [*words, *evidence, explanation["constant"], explanation["limit"]]
        assert sum(parts) == pytest.approx(explanation["log_odds"], abs=1e-9)
        value = 1 / (1 + np.exp(-explanation["log_odds"]))
        assert value == pytest.approx(line["value"], abs=1e-6)
    refused = score("quality", file, "--explain")
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert "--explain is for the filters: spam" in refused.stderr
