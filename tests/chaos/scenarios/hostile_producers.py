"""Floods of one producer: ordinary posts behind each are ranked soon, also after a kill -9."""

import time

from builders.engine import Engine, Worker
from builders.engine_topics import post_of
from builders.waiting import until
from chaos.attacks import NEW_COMMUNITY, Attack, attacks
from chaos.peak_memory import peak_memory
from chaos.recovery import Probe
from chaos.scenario import Chaos, Row, Rows

FEED_BAR_S = 5.0
# What a flood may add to the memory of a worker that has ranked ordinary posts.
GROWTH_BAR_MB = 300.0
AUTHORS = 12
_WITHIN_S = 240.0


def run(chaos: Chaos) -> Rows:
    """Every attack in the long form, a few and one more by the seed in the short."""
    found = list(attacks(is_long=chaos.is_long))
    drawn = chaos.random.choice(found)
    for attack in found:
        if not (chaos.is_long or attack.is_short or attack is drawn):
            continue
        engine = chaos.engine()
        yield from rows_of(engine, attack, chaos)
        engine.stop()


def rows_of(engine: Engine, attack: Attack, chaos: Chaos) -> Rows:
    """Attack a running worker, or one that is stopped; then kill it and start it again."""
    worker = engine.ready_worker()
    Probe(engine).seconds()
    with peak_memory(engine) as memory:
        calm_mb = memory.mb
        if attack.while_stopped:
            worker.stop()
        slowest_s, events, rounds = 0.0, 0, 0
        for send in attack.sends:
            events += send(engine, chaos.random)
            probe = Probe(engine)
            if attack.while_stopped:
                worker = engine.start_worker()
            slowest_s, rounds = max(slowest_s, probe.seconds(_WITHIN_S)), rounds + 1
        rate = f"{events / slowest_s:,.0f} records a second behind a start"
        yield Row(
            fault=attack.name,
            rounds=rounds,
            events=events,
            recover_s=slowest_s,
            recover_bar_s=attack.bar_s,
            peak_mb=memory.mb,
            peak_bar_mb=calm_mb + GROWTH_BAR_MB,
            failures=(*ended(worker), *new_community(engine, NEW_COMMUNITY, chaos)),
            notes=(rate,) if attack.while_stopped else (),
        )
    if not attack.kills:
        return
    worker.kill()
    with peak_memory(engine) as memory:
        probe = Probe(engine)
        worker = engine.start_worker()
        seconds = probe.seconds(_WITHIN_S)
        yield Row(
            fault=f"{attack.name}, then kill -9",
            events=events,
            recover_s=seconds,
            recover_bar_s=attack.killed_bar_s,
            peak_mb=memory.mb,
            peak_bar_mb=calm_mb + GROWTH_BAR_MB,
            failures=(*ended(worker), *new_community(engine, "two", chaos)),
        )


def ended(worker: Worker) -> list[str]:
    """Say that a worker ended, if it did."""
    code = worker.process.poll()
    return [] if code is None else [f"the worker ended with exit code {code}"]


def new_community(engine: Engine, name: str, chaos: Chaos) -> list[str]:
    """Write posts of twelve authors in a new community; say so if it gets no feed.

    In the long form also if that took too long: a busy machine takes longer, and is no failure.
    """
    start = time.monotonic()
    engine.posts(
        post_of(f"{name}-{n}", f"An evening walk with my dog, part {n}", communities=[name])
        for n in range(AUTHORS)
    )
    try:
        until(lambda: len(engine.order(f"community:{name}")) == AUTHORS, 60, every=0.1)
    except AssertionError as error:
        return [f"a community of twelve authors has no feed: {error}"]
    seconds = time.monotonic() - start
    is_late = chaos.is_long and seconds > FEED_BAR_S
    return [f"the feed of a new community took {seconds:.1f} s"] if is_late else []
