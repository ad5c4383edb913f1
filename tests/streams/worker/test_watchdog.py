"""The watchdog ends a process whose loop stands still, and no other."""

import os
import signal
import subprocess
import sys
import time

import pytest

from feedmill.streams.worker.watchdog import EXIT_STALLED

PROGRAM = """
import os, re, signal, sys, time
from feedmill.streams.worker import watchdog as module
from feedmill.streams.worker.watchdog import Watchdog

def read_for_ever():
    time.sleep(60)

def keep_the_interpreter_for_ever():
    re.match("(a+)+$", "a" * 64 + "b")

watchdog = Watchdog(stall_s=1.5)
watchdog.start()
if sys.argv[1] == "native at once":
    keep_the_interpreter_for_ever()
for _ in range(25):
    watchdog.turn()
    time.sleep(0.1)
print("went round for longer than that", flush=True)
if sys.argv[1] == "stuck":
    read_for_ever()
if sys.argv[1] == "native":
    keep_the_interpreter_for_ever()
if sys.argv[1] == "paused":
    module._PAUSED_S = 1.2
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(1.2)
watchdog.stop()
time.sleep(2.5)
"""


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("stuck", EXIT_STALLED, ["the loop has stood still for", "read_for_ever"]),
        # Native code that lets no other thread run.
        ("native", -signal.SIGPROF, ["keep_the_interpreter_for_ever"]),
        ("native at once", -signal.SIGPROF, ["keep_the_interpreter_for_ever"]),
    ],
)
def test_a_stuck_loop_ends_the_process_and_says_where_it_stands(
    how: str, code: int, said: list[str]
) -> None:
    command = [sys.executable, "-c", PROGRAM, how]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ("went round" in ended.stdout) == (how != "native at once")
    assert ended.returncode == code
    assert all(one in ended.stderr for one in said)


def test_a_process_that_was_paused_or_whose_watchdog_stopped_is_left_alone() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "paused"], stderr=subprocess.PIPE, text=True
    ) as paused:
        os.waitpid(paused.pid, os.WUNTRACED)
        time.sleep(2.5)
        paused.send_signal(signal.SIGCONT)
        assert paused.communicate(timeout=60)[1] == ""
    assert paused.returncode == 0
