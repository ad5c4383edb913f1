"""From `produce` to visible in Redis: the worker beside the bare loop, in turns, in one run.

    python benchmarks/bench_latency.py [--rounds 5] [--seconds 8]
    python benchmarks/bench_latency.py --sustain 300 --rates 2000    # the worker alone
    python benchmarks/bench_latency.py --against ../before/.venv/bin/python --rounds 10

With `--against` the peer is the worker of another checkout, on topics that it made.  Both run all
the while and take turns case by case, and each figure has the median of its ratios round by round,
with a bootstrap interval of 95 % over the rounds.

A post is visible when the feed of its community has it; an engagement when the score of its post
there has changed.  Some 100 events a second are watched, each to the end: one that never shows
fails the run.  Each kind and rate goes on for three seconds before it is measured, and texts are
drawn before they are sent.  Processor time is that of all of the subject's processes, by /proc.
Kafka, Redis, load and watcher run on the same machine.  Printed is the median of the rounds, after
two of both subjects that do not count: the broker compiles its code while it works, that for
transactions by the worker's alone.  Beside it is how much of one processor the host gave to other
machines.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from load import Load, Watcher
from machine import Stolen, describe
from subjects import SUBJECTS, SubjectName, own_servers, running

WARM_RATE, WARM_S = 100.0, 3.0
WARM_ROUNDS = 2
MINUTE_S = 60.0

# Kind of event and rate.
Case = tuple[str, float]


@dataclass(frozen=True)
class Latencies:
    """One kind of event at one rate."""

    p50_ms: float
    p99_ms: float
    cpu_ms: float  # an event, of all of the subject's processes
    stolen: float  # of one processor, by the host


# Sends events of a case for so many seconds and measures them.
Measure = Callable[[Case, float], Latencies]


@contextlib.contextmanager
def measuring(name: SubjectName, python: str = sys.executable) -> Iterator[Measure]:
    """Start a subject that has seen some posts; `python` is that of its checkout."""
    with (
        own_servers(python) as environment,
        running(name, environment, python=python) as subject,
    ):
        watcher = Watcher(environment)
        load = Load(environment, watcher)
        load.posts(WARM_RATE, WARM_S)

        def measure(case: Case, seconds: float) -> Latencies:
            kind, rate = case
            send = load.posts if kind == "posts" else load.engagements
            # Kafka compiles its code for each kind of request while it takes the first of them.
            send(rate, WARM_S)
            watcher.seen.clear()
            before, stolen = subject.cpu_seconds(), Stolen()
            count = send(rate, seconds)
            cpu_ms = (subject.cpu_seconds() - before) * 1000 / count
            p50, p99 = np.percentile(watcher.milliseconds(), [50, 99]).tolist()
            return Latencies(p50, p99, cpu_ms, stolen.share())

        yield measure


def measure_alone(name: SubjectName, cases: Sequence[Case], seconds: float) -> list[Latencies]:
    """Run a new subject through all cases."""
    with measuring(name) as measure:
        return [measure(case, seconds) for case in cases]


def compare(cases: Sequence[Case], rounds: int, seconds: float) -> None:
    """Print the medians of bare loop and worker, and how often the worker needs the bare's."""
    for _ in range(WARM_ROUNDS):
        for name in SUBJECTS:
            measure_alone(name, cases, seconds)
    found: dict[SubjectName, list[list[Latencies]]] = {name: [] for name in SUBJECTS}
    for number in range(rounds):
        for name in SUBJECTS:
            found[name].append(measure_alone(name, cases, seconds))
            last = found[name][-1]
            shown = ", ".join(f"{m.p50_ms:.1f}/{m.p99_ms:.1f} ({m.stolen:.2f})" for m in last)
            print(f"round {number + 1}, {name}: p50/p99 ms (stolen) {shown}", flush=True)
    columns = f"{'p50 ms':>9}{'p99 ms':>9}{'CPU ms/event':>14}{'p50 ratio':>11}{'CPU ratio':>11}"
    columns += f"{'stolen':>8}"
    print(f"\n{'events':<13}{'rate/s':>8}  {'subject':<8}{columns}")
    for i, (kind, rate) in enumerate(cases):
        bare, worker = (_medians([of_round[i] for of_round in found[name]]) for name in SUBJECTS)
        for name, latencies in zip(SUBJECTS, (bare, worker), strict=True):
            print(
                f"{kind:<13}{rate:>8.0f}  {name:<8}{latencies.p50_ms:>9.1f}{latencies.p99_ms:>9.1f}"
                f"{latencies.cpu_ms:>14.2f}{latencies.p50_ms / bare.p50_ms:>11.2f}"
                f"{latencies.cpu_ms / bare.cpu_ms:>11.2f}{latencies.stolen:>8.2f}"
            )


def compare_with(python: str, cases: Sequence[Case], rounds: int, seconds: float) -> None:
    """Print the ratios of this checkout's worker to another's.

    Both run all the while, and take turns case by case: this machine's pace changes by the minute.
    """
    sides: tuple[SubjectName, SubjectName] = ("before", "worker")
    found: dict[SubjectName, list[list[Latencies]]] = {name: [] for name in sides}
    with measuring("before", python) as before, measuring("worker") as worker:
        measures = dict(zip(sides, (before, worker), strict=True))
        for number in range(-1, rounds):
            taken: dict[SubjectName, list[Latencies]] = {name: [] for name in sides}
            for case in cases:
                # Another one first each time: what the first leaves in the broker concerns both.
                for name in sorted(sides, reverse=bool(number % 2)):
                    taken[name].append(measures[name](case, seconds))
            if number < 0:
                continue  # It warms up the broker.
            for name in sides:
                found[name].append(taken[name])
                shown = ", ".join(
                    f"{m.p50_ms:.1f}/{m.p99_ms:.1f} {m.cpu_ms:.2f} ({m.stolen:.2f})"
                    for m in taken[name]
                )
                print(f"round {number + 1}, {name}: p50/p99 CPU ms (stolen) {shown}", flush=True)
    print(f"\n{'events':<13}{'rate/s':>8}  {'figure':<8}{'before':>8}{'now':>8}  ratio (95 %)")
    for i, (kind, rate) in enumerate(cases):
        for figure in ("p50_ms", "p99_ms", "cpu_ms"):
            then, now = (
                np.array([getattr(of_round[i], figure) for of_round in found[name]])
                for name in sides
            )
            ratio = np.median(now / then)
            low, high = median_interval(now / then)
            print(
                f"{kind:<13}{rate:>8.0f}  {figure:<8}{np.median(then):>8.2f}"
                f"{np.median(now):>8.2f}  {ratio:.2f} ({low:.2f} to {high:.2f})"
            )


def median_interval(ratios: np.ndarray) -> tuple[float, float]:
    """Return the bootstrap interval of 95 % of the median of some ratios."""
    rng = np.random.default_rng(1)
    drawn = rng.choice(ratios, size=(10_000, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5]).tolist()
    return low, high


def _medians(rounds: Sequence[Latencies]) -> Latencies:
    return Latencies(
        median(latencies.p50_ms for latencies in rounds),
        median(latencies.p99_ms for latencies in rounds),
        median(latencies.cpu_ms for latencies in rounds),
        median(latencies.stolen for latencies in rounds),
    )


def sustain(rate: float, seconds: float) -> None:
    """Print how late and how far behind the worker is, minute by minute."""
    columns = f"{'lag':>8}{'p50 ms':>9}{'p99 ms':>9}{'CPU ms/post':>13}{'MB':>7}"
    print(f"worker, {rate:.0f} posts/s for {seconds:.0f} s\n{'from s':>7}{columns}")
    with own_servers() as environment, running("worker", environment) as subject:
        watcher = Watcher(environment)
        load = Load(environment, watcher)
        load.draw(int(rate * seconds + WARM_RATE * WARM_S))
        load.posts(WARM_RATE, WARM_S)
        part_s = min(MINUTE_S, seconds / 5)
        for number in range(round(seconds / part_s)):
            start, before = time.perf_counter(), subject.cpu_seconds()
            count = load.posts(rate, part_s, drain=False)
            cpu_ms = (subject.cpu_seconds() - before) * 1000 / count
            lag = subject.samples().value("feedmill_lag")
            # What was sent last may still be on its way.
            ms = watcher.milliseconds(since=start, until=time.perf_counter() - 0.5)
            p50, p99 = np.percentile(ms, [50, 99]) if ms else (float("inf"), float("inf"))
            resident = subject.resident_bytes() / 1e6
            print(
                f"{number * part_s:>7.0f}{lag:>8.0f}{p50:>9.1f}{p99:>9.1f}{cpu_ms:>13.2f}"
                f"{resident:>7.0f}",
                flush=True,
            )
        watcher.drain()
        print(f"every watched post became visible, but {watcher.hidden} that a filter hid")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rates", default="100,1000", help="of posts")
    parser.add_argument("--engagement-rates", default="1000")
    parser.add_argument("--against", default="", help="the python of another checkout")
    parser.add_argument("--sustain", type=float, default=0, help="seconds at each rate of posts")
    options = parser.parse_args()
    rates = [float(rate) for rate in options.rates.split(",")]
    print(describe(), flush=True)
    if options.sustain:
        for rate in rates:
            sustain(rate, options.sustain)
        return
    engagement_rates = [float(rate) for rate in options.engagement_rates.split(",")]
    cases = [*(("posts", rate) for rate in rates)]
    cases += [("engagements", rate) for rate in engagement_rates]
    if options.against:
        compare_with(options.against, cases, options.rounds, options.seconds)
        return
    compare(cases, options.rounds, options.seconds)


if __name__ == "__main__":
    main()
