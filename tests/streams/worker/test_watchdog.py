"""The watchdog ends a process whose loop stands still, and no other."""

import os
import signal
import subprocess
import sys
import time

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
for _ in range(40):
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
time.sleep(4)
"""


def run(how: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, how]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_stuck_loop_ends_the_process_and_says_where_it_stands() -> None:
    ended = run("stuck")
    assert "went round" in ended.stdout
    assert ended.returncode == EXIT_STALLED
    assert "the loop has stood still for" in ended.stderr
    assert "read_for_ever" in ended.stderr


def test_native_code_that_lets_no_other_thread_run_ends_as_well() -> None:
    ended = run("native")
    assert "went round" in ended.stdout
    assert ended.returncode == -signal.SIGPROF
    assert "keep_the_interpreter_for_ever" in ended.stderr


def test_a_process_that_was_paused_is_left_alone() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "paused"], stderr=subprocess.PIPE, text=True
    ) as paused:
        os.waitpid(paused.pid, os.WUNTRACED)
        time.sleep(4.0)
        paused.send_signal(signal.SIGCONT)
        assert paused.communicate(timeout=60)[1] == ""
    assert paused.returncode == 0


def test_a_loop_that_goes_round_or_was_stopped_is_left_alone() -> None:
    ended = run("stopped")
    assert "went round" in ended.stdout
    assert ended.returncode == 0
    assert ended.stderr == ""
