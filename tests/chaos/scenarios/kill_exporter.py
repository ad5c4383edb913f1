"""Kill -9 of the exporter of an experiment, and of the worker beside it: the same joined bytes."""

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from builders.experiment_tables import SETTING
from builders.fault_engine import FaultEngine
from builders.waiting import in_background, now_ms, until
from chaos.kill_rounds import KillRounds
from chaos.load import Load
from chaos.peak_memory import peak_memory
from chaos.recovery import TAKEOVER_BAR_S, final_verdict
from chaos.scenario import Chaos, Row, Rows
from feedmill.experiments.assignment import arm_of

NAME = "fresher"
_QUALITY = {"quality": {"per": "impression"}}
_KEY = b"the key of both exports"


def run(chaos: Chaos) -> Rows:
    # A test of the command kills an exporter three times in each `make test`.
    if not chaos.is_long:
        return
    engine = chaos.engine()
    (engine.folder / "key.txt").write_bytes(_KEY)
    kills = KillRounds(chaos, engine, ["only"])
    kills.start("only")
    engine.wait_ready()
    engine.set(f"experiments/{NAME}", {**SETTING, "metrics": _QUALITY})
    load = Load(engine, chaos.random)
    rounds = 20
    with peak_memory(engine) as memory:
        with in_background(load.send_until):
            for number in range(rounds):
                with exporter(engine):
                    kills.round(number)
                    expose(engine, load, chaos)
                    time.sleep(chaos.random.uniform(0, 0.5))
        verdict = final_verdict(chaos, engine, undisturbed=False)
    yield Row(
        fault="kill -9 of an exporter, and of the worker",
        rounds=rounds,
        events=load.events,
        verdict=verdict,
        recover_s=kills.slowest_s,
        recover_bar_s=TAKEOVER_BAR_S,
        peak_mb=memory.mb,
        failures=tuple(differences(engine)),
    )


@contextmanager
def exporter(engine: FaultEngine) -> Iterator[None]:
    """Run an exporter that writes a part every few milliseconds, and kill it at the end."""
    words = "experiments export --out killed --key key.txt --follow --every 0.02s"
    with subprocess.Popen(
        [sys.executable, "-m", "feedmill.cli.main", *words.split()],
        env=engine.environment(),
        cwd=engine.folder,
        stdout=(engine.folder / "exporter.log").open("ab"),
    ) as process:
        try:
            until((engine.folder / "killed" / "parts").is_dir, 60)
            yield
        finally:
            process.kill()


def expose(engine: FaultEngine, load: Load, chaos: Chaos) -> None:
    """Have users who sent something request pages, some of them an hour ago."""
    arms = [(arm["name"], arm["share"]) for arm in SETTING["arms"]]
    for number in chaos.random.sample(range(load.events), min(200, load.events)):
        user = load.user(number)
        arm = arm_of(SETTING["salt"], NAME, user, 10_000, arms)
        page = {"user_id": user, "experiment": NAME, "arm": arm, "feed": "global", "version": 1}
        at_ms = now_ms() - chaos.random.choice((0, 3_600_000, 86_400_000))
        engine.send("exposures", user, {**page, "first": 0, "count": 10, "at_ms": at_ms})
    engine.producer.flush(60)


def differences(engine: FaultEngine) -> Iterator[str]:
    """Say what is wrong with the table of the killed exporter, beside an undisturbed one."""
    digests = set()
    for folder in ("killed", "whole"):
        for line in (
            f"experiments export --out {folder} --key key.txt",
            f"experiments join {folder} {NAME} --out {folder}.parquet",
        ):
            done = engine.feedmill(line)
            if done.returncode:
                yield f"{line}: {done.stderr[-300:]}"
                return
        digests.add(hashlib.sha256((engine.folder / f"{folder}.parquet").read_bytes()).digest())
    if len(digests) > 1:
        yield "the tables of the killed exporter and of an undisturbed one differ"
