"""Models are swapped under load: what it does to the time until a post is visible, and to memory.

    python benchmarks/bench_releases.py [--swaps 20] [--rate 500] [--seconds 5]
    python benchmarks/bench_releases.py --others 4            # signals of other models, four rounds
    python benchmarks/bench_releases.py --memory 200          # so many releases, one after another

Two versions of the spam filter are released in turns.  Segments with a release in them and segments
without one alternate; of each kind the delays of all watched posts are pooled.  Every release must
be applied, every watched post must become visible, and every post must have a signal, each of which
names a version that was released.  Earlier posts are scored again meanwhile, as after any release.

`--others` asks what that does to the signals of every other model, from `produce` to the committed
record.  Each round has two workers, each with topics and Redis of its own, one after the other and
in turns the first: in one the releases are shared out over the rounds, in the other there is none,
so that no scoring of earlier posts reaches into it.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
from load import Load, Watcher
from machine import describe
from signal_delays import SendTimes, reading
from subjects import Subject, own_servers, running

from feedmill.events.decode import decode_instance, encode
from feedmill.events.release import ModelRelease
from feedmill.filters.model import STORE as FILTERS
from feedmill.filters.spam import FILTER
from feedmill.models.artifact import (
    pack_artifact,
    read_artifact,
    read_card,
    save_artifact,
    sha256_of,
)
from feedmill.rankers.spec import STORE as RANKERS
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import TopicReader, open_topic, read_all, send
from feedmill.streams.releases.loading import Trial, try_model

WARM_S = 10.0
APPLIED_WITHIN_S = 120.0
MEMORY_RATE = 100.0
MOST_GROWTH = 1.05


class Releases:
    """Releases two versions in turns, and waits until the worker runs each."""

    def __init__(self, environment: Environment, store: Path) -> None:
        self._environment = environment
        versions = [read_card(store, "spam").sha256, add_version(store)]
        self._turns = itertools.cycle([self._tried(store, sha256) for sha256 in versions[::-1]])
        self.versions = {sha256[:12] for sha256 in versions}

    def _tried(self, store: Path, sha256: str) -> ModelRelease:
        answers = try_model(Trial("spam", sha256, str(store))).answers
        return ModelRelease(sha256, answers, "bench", "")

    def release(self) -> float:
        """Release the other version; return how many seconds later the worker runs it."""
        wanted = next(self._turns)
        started = time.monotonic()
        with open_topic(self._environment, "instances") as reader:
            sent = send(self._environment, "models", b"spam", encode(wanted))
            reader.seek_to_time(sent.at_ms)
            while not runs(reader, wanted.version, sent.offset):
                if time.monotonic() > started + APPLIED_WITHIN_S:
                    raise SystemExit(f"{wanted.version} does not run: see `feedmill models health`")
        return time.monotonic() - started


def runs(reader: TopicReader, version: str, offset: int) -> bool:
    """Return whether a heartbeat that came says that the release at this offset is in force."""
    beats = [decode_instance(r.value) for r in reader.read(timeout_ms=200) if r.value]
    return any(b.models_offset >= offset and b.models.get("spam") == version for b in beats)


def add_version(store: Path) -> str:
    """Put a spam filter that is a little steeper beside the shipped one; return its sha256."""
    card, columns = read_card(store, "spam"), FILTER.evidence.names
    artifact = read_artifact(store, "spam", columns)
    arrays = dict(artifact.arrays)
    arrays["calibration"] = arrays["calibration"] * [1.0, 1.01, 1.0]
    content = pack_artifact(artifact.metadata, columns, arrays)
    card = msgspec.structs.replace(card, sha256=sha256_of(content))
    save_artifact(store, card, content, as_newest=False)
    return card.sha256


@contextlib.contextmanager
def own_store() -> Iterator[Path]:
    """A store of the shipped models, gone after the block."""
    with tempfile.TemporaryDirectory() as folder:
        for path in (*FILTERS.iterdir(), *RANKERS.iterdir()):
            if path.suffix in (".json", ".npz"):
                shutil.copy(path, folder)
        yield Path(folder)


def swaps(environment: Environment, releases: Releases, count: int, rate: float, s: float) -> None:
    """Print the delays of posts during swaps and without, in turns."""
    watcher = Watcher(environment)
    load = Load(environment, watcher)
    load.posts(rate, WARM_S)
    pooled: dict[str, list[float]] = {"without": [], "with": []}
    took: list[float] = []
    for _ in range(count):
        for name, delays in pooled.items():
            watcher.seen.clear()
            release = threading.Thread(target=lambda: took.append(releases.release()))
            if name == "with":
                release.start()
            load.posts(rate, s)
            if name == "with":
                release.join()
            delays.extend(watcher.milliseconds())
    check_signals(environment, releases)
    if len(took) != count:
        raise SystemExit(f"{len(took)} of {count} releases were applied")
    print(f"{'segments':<10}{'posts':>8}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}")
    for name, delays in pooled.items():
        p50, p99 = np.percentile(delays, [50, 99])
        print(f"{name:<10}{len(delays):>8}{p50:>9.1f}{p99:>9.1f}{max(delays):>9.1f}")
    without, during = (np.percentile(pooled[name], 99) for name in ("without", "with"))
    print(
        f"p99 with swaps / without: {during / without:.2f}; a release takes {np.mean(took):.1f} s"
    )


def others(store: Path, rounds: int, swaps_a_round: int, rate: float, s: float) -> None:
    """Print the delays of the other models' signals, with swaps of spam and without any."""
    pooled: dict[str, dict[str, list[float]]] = {"without": {}, "with": {}}
    for number in range(rounds):
        for name in sorted(pooled, reverse=number % 2 == 0):
            found, processor_s = signal_delays(store, swaps_a_round, rate, s, name == "with")
            for model, delays in found.items():
                pooled[name].setdefault(model, []).extend(delays)
            p99 = {model: round(float(np.percentile(d, 99)), 1) for model, d in found.items()}
            print(f"{name}: {processor_s:.1f} s of processor, p99 ms {p99}", flush=True)
    heads = ("signals", "p50 without", "with", "p99 without", "with")
    print(f"{'model':<16}" + "".join(f"{head:>13}" for head in heads) + "  ms")
    for model, without in pooled["without"].items():
        during = pooled["with"][model]
        (p50, p99), (swap_p50, swap_p99) = (np.percentile(d, [50, 99]) for d in (without, during))
        figures = "".join(f"{figure:>13.1f}" for figure in (p50, swap_p50, p99, swap_p99))
        print(f"{model:<16}{len(during):>13}{figures}  x {swap_p99 / p99:.2f}")


def signal_delays(
    store: Path, segments: int, rate: float, s: float, is_swapped: bool
) -> tuple[dict[str, list[float]], float]:
    """Return by model the milliseconds until each watched post of some segments had its signal.

    And how many seconds of processor the worker and its trials took in them.
    """
    with own_servers() as servers:
        environment = replace(servers, models=store)
        releases = Releases(environment, store)
        models = [name for name in environment.signals.all if name != "spam"]
        with running("worker", environment) as subject, reading(environment, models) as reader:
            watcher = SendTimes(environment)
            load = Load(environment, watcher)
            load.posts(rate, WARM_S)
            watcher.sent_at.clear()
            before_s = subject.cpu_seconds()
            for _ in range(segments):
                with ThreadPoolExecutor(1) as thread:
                    release = thread.submit(releases.release) if is_swapped else None
                    load.posts(rate, s, drain=False)
                    if release is not None:
                        release.result()
            watcher.drain()
            processor_s = subject.cpu_seconds() - before_s
            return reader.delays(watcher.sent_at), processor_s


def check_signals(environment: Environment, releases: Releases) -> None:
    """End the run unless every post has a signal of spam, and each names one of the versions."""
    posts = {record.key for record in read_all(environment, "posts")}
    signals: Counter[bytes] = Counter()
    versions = set()
    for record in read_all(environment, "signals.spam"):
        signals[record.key or b""] += 1
        versions.add(msgspec.json.decode(record.value or b"{}")["version"])
    if signals.keys() != posts or not versions <= releases.versions:
        raise SystemExit(f"{len(posts)} posts, signals of {len(signals)}, of {versions}")
    print(f"each of {len(posts):,} posts has a signal; {signals.total():,} in all, of {versions}")


def memory(environment: Environment, releases: Releases, subject: Subject, count: int) -> None:
    """Print the worker's resident memory over so many releases, each of which scores all again."""
    Load(environment).posts(MEMORY_RATE, WARM_S)
    # The first ones fill what stays for good: the second version, numpy's arenas.
    shown: list[tuple[int, float]] = []
    for number in range(1, count + 1):
        releases.release()
        if number % max(1, count // 10) == 0:
            shown.append((number, subject.resident_bytes() / 1e6))
            print(f"{number:>5} releases {shown[-1][1]:>8.1f} MB", flush=True)
    growth = shown[-1][1] / shown[0][1]
    print(f"from release {shown[0][0]} to {shown[-1][0]}: x {growth:.3f}")
    if growth > MOST_GROWTH:
        raise SystemExit(f"memory grew by more than {MOST_GROWTH - 1:.0%}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--rate", type=float, default=500, help="posts a second")
    parser.add_argument("--seconds", type=float, default=5, help="of a segment")
    parser.add_argument("--others", type=int, default=0, metavar="N", help="rounds")
    parser.add_argument("--memory", type=int, default=0, metavar="N", help="releases")
    options = parser.parse_args(arguments)
    print(describe(), flush=True)
    with own_store() as store, own_servers() as servers:
        os.environ["FEEDMILL_MODELS"] = str(store)
        if options.others:
            a_round = -(-options.swaps // options.others)
            others(store, options.others, a_round, options.rate, options.seconds)
            return
        environment = replace(servers, models=store)
        releases = Releases(environment, store)
        with running("worker", environment) as subject:
            if options.memory:
                memory(environment, releases, subject, options.memory)
            else:
                swaps(environment, releases, options.swaps, options.rate, options.seconds)


if __name__ == "__main__":
    main()
