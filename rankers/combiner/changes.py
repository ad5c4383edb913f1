"""What the combiner hands out to be written to Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct, field

from feedmill.events.gates import GatePolicy
from feedmill.events.weights import Weights


class SignalsChange(Struct, frozen=True):
    """What to write to `signals:<post_id>`.

    Without fields the key is removed.  With `whole` the fields, none of them empty, replace all
    others; else they are added, and an empty field is removed.

    A new version of a post is written whole.  `post_offset` is the version that a change which
    is not whole is about: it is not written where Redis holds another one.  -1 stands for any.
    """

    post_id: str
    expires_at_ms: int
    whole: bool
    fields: Mapping[str, str] = field(default_factory=dict)
    post_offset: int = -1


class FeedChange(Struct, frozen=True):
    """What to write to one feed, in one step.

    With `whole`, `entries` are all members, best first.  Else they are those that are new or
    have another score, and `removed` leave.  `size` is the number of members afterwards.

    `experiment` is what `:info` says of the experiment that runs in the feed, "" for none, and
    `arms` are the changes of its arms' lists, each `feed` of these being `<experiment>.<arm>`: they
    are of the same step, and whole if this is.  A whole one removes the lists of arms that `ended`.
    """

    feed: str
    whole: bool
    entries: Sequence[tuple[str, float]]
    removed: Sequence[str]
    size: int
    weights: Weights
    gates: Mapping[str, GatePolicy]
    config_offset: int
    experiment: str = ""
    arms: Sequence[FeedChange] = ()
    ended: Sequence[str] = ()

    @property
    def is_renewal(self) -> bool:
        """Whether only the freshness changes."""
        return not (self.whole or self.entries or self.removed) and all(
            arm.is_renewal for arm in self.arms
        )

    @property
    def lists(self) -> Sequence[FeedChange]:
        """The changes of the feed and of its arms."""
        return (self, *self.arms)

    @property
    def removes(self) -> bool:
        """Whether posts leave some list."""
        return bool(self.removed) or any(arm.removed for arm in self.arms)


def arm_list(feed: str, arm: str) -> str:
    """Return what the list of an arm, `<experiment>.<arm>`, is called; no feed has such a name."""
    return f"{feed}:arm:{arm}"


class Changes(NamedTuple):
    """What to write, at most one change for each post and feed; nothing of `removed_feeds`."""

    signals: list[SignalsChange]
    feeds: list[FeedChange]
    removed_feeds: list[str]
