"""Signals of many posts and names, taken in their order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from feedmill.events.signal import Signal
from feedmill.rankers.combiner.view import PostView


def take_signals(view: PostView, name: str, signals: Iterable[Signal | str]) -> None:
    """Take signals of one name in their order; a post's id alone withdraws its signal."""
    for signal in signals:
        if isinstance(signal, str):
            view.clear_signal(name, signal)
        else:
            view.update_signal(name, signal)


def take_written(view: PostView, written: Sequence[tuple[str, str, Signal | None]]) -> None:
    """Take signals of all names, each with its name and post; None in its place withdraws it."""
    by_post: dict[str, list[tuple[str, Signal | None]]] = {}
    for name, post_id, signal in written:
        by_post.setdefault(post_id, []).append((name, signal))
    for post_id, of_post in by_post.items():
        view.update_signals_of(post_id, of_post)
