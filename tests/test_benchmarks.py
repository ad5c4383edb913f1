"""The benchmarks that need no servers still run, on little; each proves its answers first."""

import csv
import gzip
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
# Of 100 posts a second the load has every one watched.
WATCHED_ONLY = """
from load import Load, Watcher
from feedmill.streams.settings.environment import read_environment
environment = read_environment({})
Load(environment, Watcher(environment)).engagements(rate=1000, seconds=1)
"""


@pytest.mark.parametrize(
    ("script", "options", "shown"),
    [
        ("bench_arms.py", "--posts 2000 --changes 20 --turns 1", "bytes a live post"),
        ("bench_calls.py", "--posts 3000 --feeds 40", "posts expires"),
        ("bench_combine.py", "--sizes 2000", "2,000  gates"),
        ("bench_experiments.py", "--users 2000 --engagements 40000", "the same to the byte"),
        ("bench_history.py", "--posts 800 --rounds 1", "µs"),
        ("bench_hostile_feeds.py", "--posts 300 --invented 30 --overrides 20", "ties"),
        ("bench_hostile_texts.py", "--length 500 --rounds 1", "the worst"),
        ("bench_lists.py", "--entries 2000 --posts 200 --rounds 1", "all four"),
        ("bench_memory.py", "--posts 500 --combiner-only", "bytes a live post at 500"),
        ("bench_preview.py", "--sizes 3000", "3,000 posts: a preview of 500"),
        ("bench_ranker.py", "--posts 3000 --feeds 40 --changes 500 --records 100", "commands"),
        ("bench_ranking.py", "--sizes 300,600 --events 3", "engagement"),
        ("bench_rules.py", "--rounds 1", "re, phrases"),
        ("bench_text.py", "--rounds 1 --texts 512 --history-posts 2048", "counters, 10,000 events"),
        ("closed_loop.py", "--seeds 2 --hours 3 --costs 0:0,18:4", "| 18 | 4 | -9.1% |"),
        ("experiment_verdicts.py", "--only moving --runs 1", "covered    1 of 1"),
        ("model_memory.py", "--posts 2048", "."),
    ],
)
def test_a_benchmark_runs(script: str, options: str, shown: str) -> None:
    command = [sys.executable, str(BENCHMARKS / script), *options.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout


def test_scales_are_chosen_on_one_half_of_the_communities(tmp_path: Path) -> None:
    columns = ("subreddit", "page_id", "label", "text", "title", "selftext", "message")
    for file in ("nsfw_reddit_over18", "engagement_reddit_top", "engagement_facebook_news"):
        with gzip.open(tmp_path / f"{file}.csv.gz", "wt", encoding="utf-8", newline="") as opened:
            writer = csv.writer(opened)
            writer.writerow(columns)
            for number in range(600):
                text = f"{'why ' * (number % 5)}you will not believe {number} of {number % 13} news"
                writer.writerow((f"g{number % 12}", f"g{number % 12}", "0", *[text] * 4))
    command = [sys.executable, str(BENCHMARKS / "objective_scales.py"), "--data", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("chosen by one half: ")
    assert len(done.stdout.splitlines()) == 2 + 2 * 4


def test_no_delay_of_an_engagement_is_told_where_another_on_its_post_may_be_seen() -> None:
    command = [sys.executable, "-c", WATCHED_ONLY]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "send more than 100 posts a second before engagements" in done.stderr
