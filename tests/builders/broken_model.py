"""Trees of feedmill in which one filter's model raises on whatever it gets, or ends processes.

Or it holds much memory.
"""

import shutil
from pathlib import Path

from builders.grown_tree import ROOT

_BREAKS = """

def _raise(self: FilterModel, batch: PostBatch) -> Scores:
    if self.name == "{name}":
        raise RuntimeError("this model is broken")
    return _whole(self, batch)


_whole = FilterModel.score_batch
FilterModel.score_batch = _raise
"""


_POISON = """

import ctypes
import os
import re
import signal
import time


def _end(self: FilterModel, batch: PostBatch) -> Scores:
    for post in batch.posts if self.name == "{name}" else ():
        if "never returns" in post.text:
            re.match("(a+)+$", "a" * 64 + "b")
        if "all memory" in post.text:
            # Nobody writes to these bytes: they cost the machine neither memory nor time.
            taken = [bytes(64 << 20) for _ in range(32)]
            os.kill(os.getpid(), signal.SIGKILL)
        if "sleeps for ever" in post.text:
            time.sleep(1e6)
        if "reads where nothing is" in post.text:
            ctypes.string_at(0)
        if "it leaves" in post.text:
            os._exit(7)
        if "it raises" in post.text:
            raise RuntimeError("this text breaks the model")
    return _whole(self, batch)


_whole = FilterModel.score_batch
FilterModel.score_batch = _end
"""

_HOLDS = """

from pathlib import Path


def _hold(self: FilterModel, batch: PostBatch) -> Scores:
    if self.name == "{name}":
        _held[:] = (_held or [b"x" * {size}]) if Path({signal!r}).exists() else []
    return _whole(self, batch)


_held: list[bytes] = []
_whole = FilterModel.score_batch
FilterModel.score_batch = _hold
"""

# Python runs it at its start: whoever stands still or is tried has less time than usually.
_IMPATIENT = """
import sys

if any("worker_process" in word for word in sys.orig_argv):
    from functools import partial

    from feedmill.streams.poison import judging_process, poison_watch
    from feedmill.streams.worker.watchdog import Watchdog

    Watchdog.__init__.__defaults__ = (4.0,)
    limits = judging_process.Limits(processor_s=2, wall_s=60.0)
    poison_watch.JudgingTask = partial(judging_process.JudgingTask, limits=limits)
"""


def break_model(folder: Path, name: str) -> Path:
    """Make a tree whose filter raises on every post.

    Put on PYTHONPATH it goes before the installed feedmill.
    """
    return _grow(folder, _BREAKS.format(name=name))


def poison_model(folder: Path, name: str) -> Path:
    """Make a tree whose filter some texts end: it never returns, takes all memory, and so on.

    Put on PYTHONPATH it goes before the installed feedmill.  It is less patient with what stands.
    """
    tree = _grow(folder, _POISON.format(name=name))
    (tree / "sitecustomize.py").write_text(_IMPATIENT, encoding="utf-8")
    return tree


def greedy_model(folder: Path, name: str, signal: Path, size: int) -> Path:
    """Make a tree whose filter holds so many bytes more while a file `signal` is there.

    Put on PYTHONPATH it goes before the installed feedmill.
    """
    return _grow(folder, _HOLDS.format(name=name, signal=str(signal), size=size))


def _grow(folder: Path, more: str) -> Path:
    packages = folder / "feedmill"
    packages.mkdir(parents=True)
    for init in ROOT.glob("*/__init__.py"):
        if init.parent.name != "filters":
            (packages / init.parent.name).symlink_to(init.parent)
    shutil.copytree(ROOT / "filters", packages / "filters")
    with (packages / "filters" / "model.py").open("a", encoding="utf-8") as module:
        module.write(more)
    return folder
