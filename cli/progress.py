"""Progress of long work on standard error: a bar on a terminal, elsewhere a line each 10 s."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from feedmill.cli.output import warn
from feedmill.events.errors import FeedmillError

LINE_EVERY_S = 10.0
_DRAW_EVERY_S = 0.25


class Work:
    """What is done now, and how much of it; `tell` may be called from any thread."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._began = self._part_began = time.monotonic()
        self.what, self.done, self.total = "", 0, 0

    def tell(self, what: str, done: int = 0, total: int = 0) -> None:
        """Note what is done now, how many parts are done, and of how many; 0: not known."""
        if what != self.what:
            self._part_began = time.monotonic()
        self.what, self.done, self.total = what, done, total

    @property
    def seconds(self) -> float:
        """How long it has gone on."""
        return time.monotonic() - self._began

    def text(self) -> str:
        """What is done, how much of it, and how long the rest of it takes."""
        if not self.total:
            return self.what
        text = f"{self.what}, {self.done:,} of {self.total:,}"
        if 0 < self.done < self.total:
            took_s = time.monotonic() - self._part_began
            text += f", some {took_s * (self.total - self.done) / self.done:.0f} s left"
        return text


@contextmanager
def long_work(name: str, stands: str) -> Iterator[Work]:
    """Show the progress of the block, and say at Ctrl-C how far it came and what stands.

    `name` is what is done, as messages call it.  `stands` says what is true when it was ended, a
    whole sentence without its full stop, in the `FeedmillError` that Ctrl-C becomes.
    """
    work = Work(name)
    try:
        with shown(name, work.text, lambda: (work.done, work.total), lambda: work.seconds):
            yield work
    except KeyboardInterrupt:
        raise FeedmillError(
            f"{name}: ended by Ctrl-C after {work.seconds:.0f} s ({work.text() or 'begun'});"
            f" {stands}"
        ) from None


@contextmanager
def shown(
    name: str,
    text: Callable[[], str],
    part: Callable[[], tuple[int, int | None]],
    seconds: Callable[[], float] | None = None,
) -> Iterator[None]:
    """Show the progress of the block: a text, how many parts are done, and of how many.

    Elsewhere than on a terminal `seconds` says how long it has gone on.
    """
    ended = threading.Event()
    thread = threading.Thread(target=_show, args=(name, text, part, seconds, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _show(
    name: str,
    text: Callable[[], str],
    part: Callable[[], tuple[int, int | None]],
    seconds: Callable[[], float] | None,
    ended: threading.Event,
) -> None:
    console = Console(stderr=True)
    if not console.is_terminal:
        while not ended.wait(LINE_EVERY_S):
            so_far = "" if seconds is None else f"; {seconds():.0f} s so far"
            warn(f"{name}: {text()}{so_far}")
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
        task = progress.add_task(name, total=None, text="")
        while not ended.wait(_DRAW_EVERY_S):
            done, total = part()
            progress.update(task, completed=done, total=total or None, text=text())
            progress.refresh()
