"""A process with the folder on its path has the clock that the file says, from moment to moment."""

import subprocess
import sys
import time
from pathlib import Path

from chaos import jumping_clock

READ_TWICE = """
import pathlib, sys, time
print(time.time())
pathlib.Path(sys.argv[1]).write_text("86400000")
print(time.time_ns() / 1e9)
"""


def test_the_clock_is_off_by_what_the_file_says_now(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("-3600000")
    folder = next(iter(jumping_clock.__path__))
    before = time.time()
    output = subprocess.run(
        [sys.executable, "-c", READ_TWICE, str(clock)],
        env={"PYTHONPATH": folder, "CHAOS_CLOCK": str(clock)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    first, second = map(float, output.split())
    assert before - 3600 <= first
    assert before + 86_400 <= second <= time.time() + 86_400
    assert first <= time.time() - 3600
