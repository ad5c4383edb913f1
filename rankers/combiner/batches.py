"""Signals of many posts and names, taken in their order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import cast

from feedmill.events.signal import Signal
from feedmill.rankers.combiner.distinct_parts import MANY_FROM
from feedmill.rankers.combiner.view import PostView


def take_signals(view: PostView, name: str, signals: Iterable[Signal | str]) -> None:
    """Take signals of one name in their order; a post's id alone withdraws its signal."""
    for kind, run in groupby(signals, type):
        if kind is str:
            for post_id in run:
                view.clear_signal(name, cast(str, post_id))
        else:
            view.update_signals(name, cast("list[Signal]", [*run]))


def take_written(view: PostView, written: Sequence[tuple[str, str, Signal | None]]) -> None:
    """Take signals of all names, each with its name and post; None in its place withdraws it."""
    if len(written) < MANY_FROM * len(view.names.all):
        by_post: dict[str, list[tuple[str, Signal | None]]] = {}
        for name, post_id, signal in written:
            by_post.setdefault(post_id, []).append((name, signal))
        for post_id, of_post in by_post.items():
            view.update_signals_of(post_id, of_post)
        return
    for name, run in groupby(written, itemgetter(0)):
        take_signals(view, name, [id_ if signal is None else signal for _, id_, signal in run])
