"""The demo's experiment ends with what came of it: a sentence, and a page to open."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

# It starts servers of its own, and runs for as long as README says.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

SENTENCE = re.compile(
    r"by-quality is better than control for its readers: by-quality changes take_rate by"
    r" \+(\S+)% \(\+(\S+)% to \+(\S+)%\)\. .* Open (\S+\.html) in a browser\."
)


def test_the_demo_with_an_experiment_names_the_better_arm_its_interval_and_a_page(
    tmp_path: Path,
) -> None:
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "feedmill.cli.main",
            "run",
            "--demo",
            "--for",
            "150",
            "--experiment",
        ],
        cwd=tmp_path,
        env={name: text for name, text in os.environ.items() if not name.startswith("FEEDMILL_")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
        check=True,
    )
    said = SENTENCE.fullmatch(ended.stdout.splitlines()[-1])
    assert said is not None, ended.stdout[-3000:]
    estimate, lower, upper = (float(said[place]) for place in (1, 2, 3))
    assert 0 < lower < estimate < upper
    page = (tmp_path / said[4]).read_text()
    assert f"{said[1]}%" in page
    assert "<svg" in page
