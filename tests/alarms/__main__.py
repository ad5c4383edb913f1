"""Raise alarms on a live engine by their faults, and see them clear: `make alarms`.

The times of the rules are shortened.  A quiet time before raises none; then the rules are as they
are.  The exit code is 1 if an alarm does not come, does not go, or comes without its fault.
"""

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from alarms.faults import FAULTS
from alarms.good_events import send_good_events
from alarms.page import Result, write_page
from alarms.prometheus_server import DAYS_FACTOR, PrometheusServer
from alarms.surroundings import SEEN_BEFORE_S, Fault, Surroundings
from builders.alarms import rules
from builders.dashboards import DASHBOARDS
from builders.waiting import in_background
from chaos.scenario import Chaos, SharedStack

FOLDER = Path(".feedmill/alarms").absolute()
# Of the times of the rules; so an hour is a minute.
FACTOR = 60
# A fault lasts until its alarm is on, and after its cure it must go.
RAISED_WITHIN_S = 150.0
CLEARED_WITHIN_S = 180.0
os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> None:
    """Run the quiet time, then the faults one after another."""
    by_name = {fault.__name__: fault for fault in FAULTS}
    parser = argparse.ArgumentParser(prog="alarms")
    parser.add_argument("--only", action="append", choices=by_name, help="cause this fault")
    parser.add_argument("--quiet", type=float, default=60.0, help="minutes of the quiet time")
    given = parser.parse_args()
    chosen = [by_name[name] for name in given.only] if given.only else list(FAULTS)
    missing = rules().keys() - {one for alarms in FAULTS.values() for one in alarms}
    assert not missing, f"raised by no fault: {missing}"
    FOLDER.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=FOLDER))
    with contextlib.closing(SharedStack(folder)) as stack:
        false = quiet_time(stack, given.quiet * 60) if given.quiet else set[str]()
        if given.quiet:
            came = ", ".join(sorted(false)) or "no alarm"
            print(f"{given.quiet:g} quiet minutes: {came}", flush=True)
        results = faults(stack, chosen)
    broken = {one.fault for one in results if not one.is_good}
    good = [one for one in results if one.fault not in broken]
    write_page(good, 0.0 if false else given.quiet, FACTOR, FACTOR * DAYS_FACTOR)
    if broken or false:
        print(f"an alarm failed; the logs are in {folder}")
        sys.exit(1)
    shutil.rmtree(folder)


def quiet_time(stack: SharedStack, seconds: float) -> set[str]:
    """Return the alarms of a healthy engine under a light load, by the rules as they are.

    So it does with panels of the dashboards that show nothing.
    """
    with Chaos("quiet", 1, is_long=False, stack=stack) as chaos, _surroundings(chaos, 1) as at:
        at.start()
        found: set[str] = set()
        end = time.monotonic() + seconds
        with in_background(lambda stop: send_good_events(at.engine, chaos.random, stop)):
            while time.monotonic() < end:
                time.sleep(1.0)
                found |= at.prometheus.firing()
            panels = [panel for _, some in DASHBOARDS.values() for panel in some]
            empty = [one.title for one in panels if not at.prometheus.count_series(one.query)]
        found |= {f"no series in {title!r}" for title in empty}
        return found


def faults(stack: SharedStack, chosen: list[Fault]) -> list[Result]:
    """Cause faults in one engine, one after another."""
    results: list[Result] = []
    surroundings = Chaos("faults", 1, is_long=False, stack=stack)
    with surroundings as chaos, _surroundings(chaos, FACTOR) as at:
        at.start()
        for fault in chosen:
            time.sleep(SEEN_BEFORE_S)
            try:
                found = raised_and_cleared(at, fault)
            except Exception:  # noqa: BLE001 - a fault may fail in any way; the others go on
                traceback.print_exc()
                found = [Result(fault.__name__, name, None, None) for name in FAULTS[fault]]
            for one in found:
                print(*one, flush=True)
            results += found
    return results


def raised_and_cleared(at: Surroundings, fault: Fault) -> list[Result]:
    """Cause a fault until its alarms are on, cure it, and see them go."""
    wanted = FAULTS[fault]
    if on := at.prometheus.firing():
        print(f"before {fault.__name__}: {on}", flush=True)
        assert on.isdisjoint(wanted), "an alarm is on before its fault"
    start, steps = time.monotonic(), fault(at)
    next(steps)
    raised = _times(at, wanted, start, RAISED_WITHIN_S, is_on=True)
    start = time.monotonic()
    next(steps, None)
    cleared = _times(at, wanted, start, CLEARED_WITHIN_S, is_on=False)
    return [Result(fault.__name__, name, raised.get(name), cleared.get(name)) for name in wanted]


def _times(
    at: Surroundings, wanted: tuple[str, ...], start: float, within_s: float, *, is_on: bool
) -> dict[str, float]:
    """By alarm after how many seconds it was on, or off."""
    found: dict[str, float] = {}
    end = time.monotonic() + within_s
    while len(found) < len(wanted) and time.monotonic() < end:
        time.sleep(0.5)
        on = at.prometheus.firing()
        for name in wanted:
            if (name in on) == is_on:
                found.setdefault(name, time.monotonic() - start)
    return found


@contextlib.contextmanager
def _surroundings(chaos: Chaos, factor: int) -> Iterator[Surroundings]:
    redis = chaos.own_redis()
    with contextlib.closing(PrometheusServer(chaos.folder("prometheus"), factor)) as prometheus:
        yield Surroundings(chaos.engine(redis=redis.url), redis, prometheus)


if __name__ == "__main__":
    main()
