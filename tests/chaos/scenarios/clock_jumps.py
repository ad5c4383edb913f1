"""The time of day of a worker's host jumps by hours and days, to and fro, under load.

In the long form alone: the tests of `tests/e2e/faults/test_clocks.py` run anyway.
"""

import time
from pathlib import Path

from builders.waiting import in_background
from chaos import jumping_clock
from chaos.load import Load
from chaos.peak_memory import peak_memory
from chaos.recovery import TAKEOVER_BAR_S, Probe, final_verdict
from chaos.scenario import Chaos, Row, Rows

HOUR_MS = 3_600_000
JUMPS_MS = (9 * 24 * HOUR_MS, -9 * 24 * HOUR_MS, 2 * HOUR_MS, -HOUR_MS, 0)


def run(chaos: Chaos) -> Rows:
    if not chaos.is_long:
        return
    jumps = JUMPS_MS * 4
    engine = chaos.engine()
    clock = engine.folder / "clock"
    clock.write_text("0")
    folder = next(iter(jumping_clock.__path__))
    engine.ready_worker(variables={"PYTHONPATH": folder, "CHAOS_CLOCK": str(clock)})
    load, slowest = Load(engine, chaos.random), 0.0
    with peak_memory(engine) as memory:
        with in_background(load.send_until):
            for jump_ms in jumps:
                time.sleep(chaos.random.uniform(0.5, 2.0))
                _write(clock, str(jump_ms))
                slowest = max(slowest, Probe(engine).seconds())
        verdict = final_verdict(chaos, engine)
    yield Row(
        fault="the clock of a worker's host jumps by up to 18 days",
        rounds=len(jumps),
        events=load.events,
        verdict=verdict,
        recover_s=slowest,
        recover_bar_s=TAKEOVER_BAR_S,
        peak_mb=memory.mb,
    )


def _write(path: Path, text: str) -> None:
    """Replace a file that another process may be reading."""
    new = path.with_suffix(".new")
    new.write_text(text, "utf-8")
    new.replace(path)
