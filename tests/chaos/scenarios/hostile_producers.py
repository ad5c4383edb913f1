"""Floods of one producer: ordinary posts behind each are ranked soon, also after a kill -9."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from builders.engine import Worker
from builders.engine_topics import Json
from builders.fault_engine import FaultEngine
from builders.waiting import now_ms, until
from chaos.attacks import Attack, attacks, attacks_by_text
from chaos.peak_memory import peak_memory
from chaos.recovery import Probe
from chaos.scenario import Chaos, Row, Rows
from chaos.table import line_of
from chaos.verdict import Verdict

RUNNING_BAR_S = 10.0
KILLED_BAR_S = 30.0
FEED_BAR_S = 5.0
# What a flood may add to the memory of a worker that has ranked ordinary posts.
GROWTH_BAR_MB = 300.0
AUTHORS = 10
_WITHIN_S = 180.0


def run(chaos: Chaos) -> Rows:
    """Every attack in the long form, one by the seed in the short."""
    others = list(attacks(is_long=chaos.is_long))
    texts = list(attacks_by_text(is_long=chaos.is_long))
    if not chaos.is_long:
        drawn = chaos.random.choice([*others, chaos.random.choice(texts)])
        yield from rows_of(chaos.engine(), drawn, chaos)
        return
    for attack in others:
        engine = chaos.engine()
        yield from rows_of(engine, attack, chaos)
        engine.stop()
    yield from worst_rows(chaos, texts)


def rows_of(engine: FaultEngine, attack: Attack, chaos: Chaos) -> Rows:
    """Attack a running worker, or one that is stopped; then kill it and start it again."""
    worker = engine.ready_worker()
    Probe(engine).seconds()
    with peak_memory(engine) as memory:
        calm_mb = memory.mb
        if attack.while_stopped:
            worker.stop()
        events = attack.send(engine, chaos.random)
        probe = Probe(engine)
        if attack.while_stopped:
            worker = engine.start_worker()
        seconds = probe.seconds(_WITHIN_S)
        yield Row(
            fault=attack.name,
            rounds=1,
            events=events,
            verdict=Verdict(),
            recover_s=seconds,
            recover_bar_s=KILLED_BAR_S if attack.while_stopped else RUNNING_BAR_S,
            peak_mb=memory.mb,
            peak_bar_mb=calm_mb + GROWTH_BAR_MB,
            failures=(*ended(worker), *new_community(engine, "one", chaos)),
        )
    worker.kill()
    with peak_memory(engine) as memory:
        probe = Probe(engine)
        worker = engine.start_worker()
        seconds = probe.seconds(_WITHIN_S)
        yield Row(
            fault=f"{attack.name}, then kill -9",
            rounds=1,
            events=events,
            verdict=Verdict(),
            recover_s=seconds,
            recover_bar_s=KILLED_BAR_S,
            peak_mb=memory.mb,
            peak_bar_mb=calm_mb + GROWTH_BAR_MB,
            failures=(*ended(worker), *new_community(engine, "two", chaos)),
        )


def worst_rows(chaos: Chaos, texts: Sequence[Attack]) -> Rows:
    """Attack by one kind of text after another; a row of the slowest, and of the slowest kill."""
    rows = []
    for attack in texts:
        engine = chaos.engine()
        rows.append(list(rows_of(engine, attack, chaos)))
        engine.stop()
        print("\n".join(map(line_of, rows[-1])), flush=True)
    for each in zip(*rows, strict=True):
        slowest = max(each, key=lambda row: row.recover_s)
        yield replace(
            slowest,
            rounds=len(each),
            events=sum(row.events for row in each),
            peak_mb=max(row.peak_mb for row in each),
            failures=tuple(f"{row.fault}: {one}" for row in each for one in row.problems),
        )


def ended(worker: Worker) -> list[str]:
    """Say that a worker ended, if it did."""
    code = worker.process.poll()
    return [] if code is None else [f"the worker ended with exit code {code}"]


def new_community(engine: FaultEngine, name: str, chaos: Chaos) -> list[str]:
    """Write posts of ten authors in a new community; say so if it gets no feed.

    In the long form also if that took too long: a busy machine takes longer, and is no failure.
    """
    start = time.monotonic()
    engine.posts(_posts_in(name))
    try:
        until(lambda: len(engine.order(f"community:{name}")) == AUTHORS, 60, every=0.1)
    except AssertionError as error:
        return [f"a community of ten authors has no feed: {error}"]
    seconds = time.monotonic() - start
    is_late = chaos.is_long and seconds > FEED_BAR_S
    return [f"the feed of a new community took {seconds:.1f} s"] if is_late else []


def _posts_in(community: str) -> list[Json]:
    return [
        {
            "post_id": f"{community}-{n}",
            "author_id": f"neighbour-{community}-{n}",
            "created_at_ms": now_ms(),
            "text": f"An evening walk with my dog, part {n}",
            "communities": [community],
        }
        for n in range(AUTHORS)
    ]
