"""The state of the installation, looked at every five seconds while somebody looks at the page."""

from __future__ import annotations

import os
import re
import threading
import time
from collections import Counter, deque
from contextlib import closing
from dataclasses import dataclass, field

from feedmill.console.routes import Console
from feedmill.operations.status.finding import Finding
from feedmill.operations.status.health import Health, health_of
from feedmill.operations.status.installation import Installation
from feedmill.streams.settings.clock import now_ms

_EVERY_S, _LOOKED_AT_S = 5.0, 20.0
# Rates of ten minutes.
_MOST_LOOKS = 120
_NUMBERS = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class Look:
    """What was seen at a time.

    Attributes
    ----------
    since
        By check and place since when a finding holds, as far as this console has looked.
    rates
        By topic records a second of each look, the oldest first.
    letters
        By topic and reason how many dead letters came in the last hour.
    """

    health: Health
    since: dict[tuple[str, str], int]
    rates: dict[str, tuple[float, ...]]
    letters: list[tuple[str, str, int]] = field(default_factory=list)


class HealthWatch:
    """One reader for all who look at the page."""

    def __init__(self, console: Console) -> None:
        self._environment = console.environment
        self._lock = threading.Lock()
        self._asked_s = 0.0
        self._look: Look | None = None
        self._since: dict[tuple[str, str], int] = {}
        self._rates: dict[str, deque[float]] = {}
        self._thread: threading.Thread | None = None
        self._is_closed = threading.Event()
        self.begun_ms = now_ms()

    def look(self) -> Look | None:
        """Return the newest look; None before the first."""
        with self._lock:
            self._asked_s = time.monotonic()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="health", daemon=True)
                self._thread.start()
            return self._look

    def _run(self) -> None:
        while self._is_watched():
            with closing(Installation(self._environment, os.environ, now_ms)) as installation:
                while self._is_watched():
                    self._keep(health_of(installation), installation)
                    if self._is_closed.wait(_EVERY_S) or not installation.forget():
                        break

    def _is_watched(self) -> bool:
        is_asked = time.monotonic() < self._asked_s + _LOOKED_AT_S
        return is_asked and not self._is_closed.is_set()

    def _keep(self, health: Health, installation: Installation) -> None:
        holding = {place_of(one) for one in health.findings}
        self._since = {place: self._since.get(place, health.at_ms) for place in sorted(holding)}
        for topic, legs in health.legs.items():
            rate = max((times.per_second for times in legs.values()), default=0.0)
            self._rates.setdefault(topic, deque(maxlen=_MOST_LOOKS)).append(rate)
        letters = installation.if_known(lambda one: one.letters) or ()
        # Reasons that differ in numbers alone are one.
        reasons = Counter(
            (letter.rejected.topic, _NUMBERS.sub("#", letter.error)[:200]) for letter in letters
        )
        look = Look(
            health,
            dict(self._since),
            {topic: tuple(rates) for topic, rates in self._rates.items()},
            [(topic, reason, count) for (topic, reason), count in reasons.most_common(20)],
        )
        with self._lock:
            self._look = look

    def close(self) -> None:
        """End the thread."""
        self._is_closed.set()


def place_of(finding: Finding) -> tuple[str, str]:
    """Return what stays the same while a finding holds: its check, and where it is."""
    return finding.check, finding.where
