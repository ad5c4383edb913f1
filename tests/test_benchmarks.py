"""The benchmarks that need no servers still run, on little; each proves its answers first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize(
    ("script", "options", "shown"),
    [
        ("bench_combine.py", "--sizes 2000", "2,000  gates"),
        ("bench_history.py", "--posts 800 --rounds 1", "µs"),
        ("bench_lists.py", "--entries 2000 --posts 200 --rounds 1", "all four"),
        ("bench_memory.py", "--posts 500 --combiner-only", "bytes a live post at 500"),
        ("bench_ranking.py", "--sizes 300,600 --events 3", "engagement"),
        ("bench_rules.py", "--rounds 1", "re, phrases"),
        ("bench_text.py", "--rounds 1 --texts 512 --history-posts 2048", "counters, 10,000 events"),
        ("model_memory.py", "--posts 2048", "."),
    ],
)
def test_a_benchmark_runs(script: str, options: str, shown: str) -> None:
    command = [sys.executable, str(BENCHMARKS / script), *options.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout
