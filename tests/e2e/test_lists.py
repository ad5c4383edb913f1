"""A list is released and withdrawn while everything runs: what it names is hidden, and back."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from builders.engine import Engine
from builders.model_store import shipped_store
from builders.waiting import until
from feedmill.cli.main import main

pytestmark = pytest.mark.stack

GATES = {name: {"enabled": name == "spam"} for name in ("spam", "nsfw", "misinformation")}


def outcome(engine: Engine, post_id: str) -> tuple[str | None, str | None]:
    truth = engine.truth(post_id)
    return truth.get("decision"), truth.get("decided_by")


def test_a_released_list_hides_new_and_earlier_posts_until_it_is_withdrawn(
    start_engine: Callable[..., Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = shipped_store(tmp_path / "store")
    engine = start_engine("spam+combiner", FEEDMILL_MODELS=str(store))
    engine.use_environment(monkeypatch)

    def lists(line: str) -> Any:
        result = CliRunner().invoke(main, ["lists", *shlex.split(line), "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    engine.wait_applied(engine.set("gates", {**GATES, "spam": {"hide_at": 0.5}}))
    engine.post("before", "A walk by the river, see walks.evil.example")
    until(lambda: outcome(engine, "before") == ("show", None))
    # The topics have what Redis shows once it is committed.
    calm = until(lambda: engine.latest("signals.spam").get("before"))

    (tmp_path / "domains.txt").write_text("evil.example\nworse.example\n")
    built = lists(
        f"build {tmp_path}/domains.txt --filter spam --name bad --kind domains --verdict hide"
        " --source here --licence CC0-1.0 --date 2026-11-26"
    )
    label = f"list/bad@{built['version']}"
    answer = lists("release spam bad")
    assert [one["state"] for one in answer["instances"]] == ["applied"]
    engine.post("after", "Tea", links=["https://worse.example/x"])
    engine.post("other", "Tea", links=["https://better.example/x"])
    hidden = ("hide", f"rule:{label}")
    until(lambda: {outcome(engine, post_id) for post_id in ("before", "after")} == {hidden})
    until(lambda: outcome(engine, "other") == ("show", None))

    # A worker that starts has the list before its first post.
    engine.workers["spam+combiner"].stop()
    engine.post("late", "see worse.example")
    engine.restart("spam+combiner")
    until(lambda: outcome(engine, "late") == hidden)
    until(lambda: "late" in engine.latest("signals.spam"))
    signals = [json.loads(one.value) for one in engine.read_all("signals.spam")]
    assert {one["version"] for one in signals if one["post_id"] == "late"} == {label}
    engine.wait_ready()

    answer = lists("withdraw spam bad")
    assert [one["state"] for one in answer["instances"]] == ["applied"]
    posts = ("before", "after", "late")
    until(lambda: {outcome(engine, post_id) for post_id in posts} == {("show", None)})
    until(lambda: {**engine.latest("signals.spam")["before"], "at_ms": 0} == {**calm, "at_ms": 0})
    assert engine.complaints() == []
