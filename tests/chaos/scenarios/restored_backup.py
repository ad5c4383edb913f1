"""All is lost but a backup: it is restored under another prefix, and the product writes again."""

import tempfile
import time
from pathlib import Path

from builders.engine import Engine
from builders.waiting import in_background, until
from chaos.event_log import expected_of, found_of
from chaos.load import Load
from chaos.peak_memory import peak_memory
from chaos.recovery import settled
from chaos.scenario import Chaos, Row, Rows
from chaos.verdict import differences

_TOP = 50


def run(chaos: Chaos) -> Rows:
    before, after = chaos.engine(), chaos.engine()
    before.ready_worker("one")
    before.set("weights", {"quality": 0.3, "engagement": 0.7, "max_per_author": 3})
    load = Load(before, chaos.random)
    with in_background(load.send_until):
        time.sleep(60 if chaos.is_long else 5)
    verdict = settled(before)
    since = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, peak_memory(after) as memory:
        kept = Path(folder) / "kept"
        _done(before, f"backup {kept}")
        _done(after, f"restore {kept} --by ops")
        after.start_worker("one")
        for topic in ("posts", "engagements"):
            _send_again(before, after, topic)
        after.wait_ready()
        verdict += settled(after)
        until(lambda: not _others(before, after), 60)
    verdict.add("wrong_order", len(_others(before, after)), "feeds of the two prefixes")
    yield Row(
        fault="all is lost, a backup is restored, the product writes again",
        events=load.events,
        verdict=verdict,
        recover_s=time.monotonic() - since,
        recover_bar_s=60.0,
        peak_mb=memory.mb,
    )


def _done(engine: Engine, line: str) -> None:
    done = engine.feedmill(line)
    assert done.returncode == 0, done.stderr


def _send_again(before: Engine, after: Engine, topic: str) -> None:
    """The product has every record, and writes all of them in their order."""
    for record in before.records(topic):
        after.producer.send(
            f"{after.prefix}{topic}", record.value, record.key, partition=record.partition
        )
    after.producer.flush(60)


def _others(before: Engine, after: Engine) -> list[str]:
    """The feeds whose best posts are not the same."""
    feeds = found_of(before, expected_of(before)).feeds
    return [
        name
        for name, (entries, _) in feeds.items()
        if not entries or differences(entries[:_TOP], after.feed(name)[0][:_TOP])
    ]
