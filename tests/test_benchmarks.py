"""The benchmarks that need no servers still run, on little; each proves its answers first."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
# Of 100 posts a second the load has every one watched.
WATCHED_ONLY = """
from load import Load, Watcher
from feedmill.streams.environment import read_environment
environment = read_environment({})
Load(environment, Watcher(environment)).engagements(rate=1000, seconds=1)
"""


def test_the_benchmark_of_readers_runs() -> None:
    command = [sys.executable, "bench_reader.py", "--posts", "3000", "--only", "pages"]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "40 drawn requests of 3,000 posts: as" in done.stdout


def test_no_delay_of_an_engagement_is_told_where_another_on_its_post_may_be_seen() -> None:
    command = [sys.executable, "-c", WATCHED_ONLY]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "send more than 100 posts a second before engagements" in done.stderr
