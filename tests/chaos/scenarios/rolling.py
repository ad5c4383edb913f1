"""Three judges and two rankers with names are replaced one by one, in the long form twice.

`BEFORE=HEAD~30`, a commit of the same contracts, has its build take turns with this one.
"""

import os
import shlex
import subprocess
import threading
import time
import tomllib
import uuid
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

from builders.engine import STAGES, Engine
from builders.engine_topics import post_of
from builders.waiting import in_background
from chaos.recovery import under_load
from chaos.scenario import Chaos, Rows

TREE = Path(__file__).parents[3]
ROLES = ("+".join(STAGES[:-1]),) * 3 + STAGES[-1:] * 2
_POST_EVERY_S, _LOOK_EVERY_S, _AFTERWARDS_S = 0.1, 0.02, 3.0
BAR_S = 3.0
# What heartbeats of the earlier build have as their version.
_EARLIER = "0+earlier"


def run(chaos: Chaos) -> Rows:
    commit = os.environ.get("BEFORE", "")
    earlier = {"PYTHONPATH": str(_checked_out(commit, chaos.folder("earlier")))} if commit else {}
    engine = chaos.engine(partitions=6)
    for number, stages in enumerate(ROLES):
        engine.start_worker(f"{number}", stages=stages)
    engine.wait_ready()
    posts = Posts(engine)

    def replacements() -> Iterator[float]:
        with in_background(posts.send_until):
            for variables in (earlier, {}) if chaos.is_long else (earlier,):
                yield from replaced(engine, posts, variables)
                builds = {beat["build"] == _EARLIER for beat in engine.instances().values()}
                assert builds == {bool(variables)}, "other builds run"

    fault = f"three judges and two rankers replaced one by one{commit and f', by {commit}'}"
    yield under_load(chaos, engine, fault, replacements(), bar_s=BAR_S)


def replaced(engine: Engine, posts: "Posts", variables: Mapping[str, str]) -> Iterator[float]:
    """Start each named worker anew, with these variables; how late a post was meanwhile."""
    for worker in [*engine.workers.values()]:
        since = time.monotonic()
        worker.stop()
        name = worker.variables["FEEDMILL_INSTANCE"]
        engine.start_worker(name, stages=worker.stages, variables=variables)
        engine.wait_ready()
        time.sleep(_AFTERWARDS_S)
        yield posts.longest_s(since)


def _checked_out(commit: str, folder: Path) -> Path:
    """Write the packages of a commit; where Python finds them."""
    folder.mkdir()
    command = f"git archive {shlex.quote(commit)} | tar -x -C {shlex.quote(str(folder))}"
    subprocess.run(["/bin/bash", "-o", "pipefail", "-c", command], cwd=TREE, check=True)
    settings = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    for package, path in settings["package-dir"].items():
        link = folder / package.replace(".", "/")
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(folder / path)
    metadata = folder / f"feedmill-{_EARLIER}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Name: feedmill\nVersion: {_EARLIER}\n", "utf-8")
    return folder


class Posts:
    """Sends a post every tenth of a second, and sees when each is decided in Redis."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._tag = engine, uuid.uuid4().hex[:6]
        self._sent: dict[str, float] = {}
        self._seen: dict[str, float] = {}

    def send_until(self, stop: threading.Event) -> None:
        """For `in_background`."""
        for number in count():
            if stop.is_set():
                return
            post_id = f"rolling-{self._tag}-{number}"
            self._engine.send("posts", post_id, post_of(post_id))
            self._sent[post_id] = time.monotonic()
            while time.monotonic() < self._sent[post_id] + _POST_EVERY_S:
                self._look()
                time.sleep(_LOOK_EVERY_S)

    def _look(self) -> None:
        pending = [one for one in self._sent if one not in self._seen]
        for post_id, truth in self._engine.truths(pending).items():
            if truth["decision"] != "hold":
                self._seen[post_id] = time.monotonic()

    def longest_s(self, since: float) -> float:
        """How late a post was that was sent since then, decided by now or not."""
        now = time.monotonic()
        sent = dict(self._sent)
        return max(self._seen.get(one, now) - at for one, at in sent.items() if at >= since)
