"""`make trace` shows the way of a post, and of new weights, through a worker."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.stack

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "trace_worker.py"
# What a post passes, and what weights do, in this order.
OF_POST = ["decode_post", "score_posts", "PostView.update", "-- commits"]
OF_WEIGHTS = ["SettingsDraft.fold", "RankingStep.settings_changed", "RankedList.", "RedisHandover."]


def test_the_way_of_a_post_and_of_weights_is_shown(stack: Any) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--idle", "3"],
        env={**os.environ, "FEEDMILL_KAFKA": stack.kafka, "FEEDMILL_PORT": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    _, post, weights = done.stdout.split("== ")
    for way, wanted in ((post, OF_POST), (weights, OF_WEIGHTS)):
        calls = [line.strip() for line in way.splitlines()]
        first = [next(i for i, call in enumerate(calls) if name in call) for name in wanted]
        assert first == sorted(first)
    assert "decode_post" not in weights
