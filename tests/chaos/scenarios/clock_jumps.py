"""The time of day of a worker's host jumps by hours and days, to and fro, under load."""

import time
from collections.abc import Iterator
from pathlib import Path

from builders.engine import Engine
from chaos import jumping_clock
from chaos.recovery import Probe, under_load
from chaos.scenario import Chaos, Rows

HOUR_MS = 3_600_000
JUMPS_MS = (9 * 24 * HOUR_MS, -9 * 24 * HOUR_MS, 2 * HOUR_MS, -HOUR_MS, 0)


def run(chaos: Chaos) -> Rows:
    engine = chaos.engine()
    clock = engine.folder / "clock"
    clock.write_text("0")
    folder = next(iter(jumping_clock.__path__))
    engine.ready_worker(variables={"PYTHONPATH": folder, "CHAOS_CLOCK": str(clock)})
    name = "the clock of a worker's host jumps by up to 18 days"
    yield under_load(chaos, engine, name, _jumps(chaos, engine, clock), undisturbed=chaos.is_long)


def _jumps(chaos: Chaos, engine: Engine, clock: Path) -> Iterator[float]:
    for jump_ms in JUMPS_MS * 4 if chaos.is_long else JUMPS_MS[:2]:
        time.sleep(chaos.random.uniform(0.5, 2.0))
        _write(clock, str(jump_ms))
        yield Probe(engine).seconds()


def _write(path: Path, text: str) -> None:
    """Replace a file that another process may be reading."""
    new = path.with_suffix(".new")
    new.write_text(text, "utf-8")
    new.replace(path)
