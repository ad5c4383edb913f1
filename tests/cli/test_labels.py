"""`feedmill labels sample`: posts to label, each with the probability it was drawn with."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from builders.events import post
from feedmill.cli.main import main
from feedmill.events.decode import decode_post, encode

SPAM = "WIN free money now, click http://x.example and subscribe"


@pytest.fixture
def posts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Posts that are fine, some that are spam, and one bad line."""
    monkeypatch.delenv("FEEDMILL_MODELS", raising=False)
    lines = [encode(post(f"p{i}", f"Pasta with beans {i}")) for i in range(90)]
    lines += [encode(post(f"s{i}", f"{SPAM} {i}")) for i in range(10)]
    path = tmp_path / "posts.jsonl"
    path.write_bytes(b"\n".join(lines))
    return path


def sample(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["labels", "sample", "spam", *map(str, arguments)])


def rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_posts_are_drawn_at_random_and_by_uncertainty(posts: Path) -> None:
    result = sample(posts, "--count", "20")
    assert result.exit_code == 0, result.stderr
    drawn = rows(result)
    assert 10 <= len(drawn) <= 20
    assert len({row["post_id"] for row in drawn}) == len(drawn)
    assert {row["drawn"] for row in drawn} == {"random", "uncertain"}
    assert sum(row["drawn"] == "random" for row in drawn) == 10
    assert all(0.1 <= row["probability"] <= 1 for row in drawn)
    for row in drawn:
        value = json.dumps(row["post"]).encode()
        assert decode_post(row["post_id"].encode(), value).post_id == row["post_id"]


def test_at_random_alone_every_post_has_the_same_probability(posts: Path) -> None:
    drawn = rows(sample(posts, "--count", "20", "--random", "1"))
    assert len(drawn) == 20
    assert [row["probability"] for row in drawn] == pytest.approx([0.2] * 20)


def test_the_same_seed_draws_the_same(posts: Path) -> None:
    first, second = sample(posts, "--count", "9"), sample(posts, "--count", "9")
    assert first.stdout == second.stdout
    assert sample(posts, "--count", "9", "--seed", "2").stdout != first.stdout


def test_bad_lines_are_named_and_an_empty_file_refused(posts: Path, tmp_path: Path) -> None:
    posts.write_bytes(posts.read_bytes() + b"\n{\n")
    result = sample(posts, "--count", "5")
    assert result.exit_code == 1
    assert rows(result)
    assert result.stderr.startswith("line 101: ")
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    assert "no posts in" in sample(empty).stderr
