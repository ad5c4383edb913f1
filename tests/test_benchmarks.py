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


def python(program: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=False)


def test_the_page_of_costs_has_the_figures_of_the_last_run() -> None:
    done = python(
        "import json; from cost import PAGE, pages;"
        "print(pages(json.loads(PAGE.with_suffix('.json').read_text())), end='')"
    )
    assert done.returncode == 0, done.stderr
    page = (BENCHMARKS.parent / "docs/operating/cost.md").read_text("utf-8")
    measured = page.partition("<!-- measured -->\n")[2].partition("<!-- end -->")[0]
    assert "**computed**" in measured
    assert measured == done.stdout


def test_the_ratios_of_two_runs_of_costs_compare_the_same_rate_and_figure() -> None:
    done = python(
        "from cost import ratios;"
        "now = {'rates': [{'posts': 10, 'cpu': {'judge': 0.3}}, {'posts': 100, 'cpu': {}}]};"
        "then = {'rates': [{'posts': 10, 'cpu': {'judge': 0.2, 'gone': 1.0}}]};"
        "print(*ratios(now, then))"
    )
    name, ratio = done.stdout.strip("()\n").split(", ")
    assert (name, round(float(ratio), 3)) == ("'rates 10 cpu judge'", 1.5)


def test_costs_of_numbers_that_do_not_ascend_are_refused_before_anything_starts() -> None:
    command = [sys.executable, "cost.py", "--live", "3000,1000"]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "--rates and --live ascend from 1 on" in done.stderr
