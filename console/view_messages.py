"""What pages ask the process that holds the view, and what it answers: records, no pickle."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Raw, Struct

_NIL = Raw(b"\xc0")
# What a moderator may look through, in the queue.
Pile = Literal["reported", "near", "held", "hidden"]
# A setting by its key, and the value that it would have.
Change = tuple[str, dict[str, Any] | None]


class PreviewAsk(Struct, frozen=True, tag="preview"):
    """What a feed would be under changed settings; `dragging` while a slider still moves."""

    feed: str
    changes: tuple[Change, ...] = ()
    top: int = 20
    dragging: bool = False


class GatesAsk(Struct, frozen=True, tag="gates"):
    """How values are spread, and what the thresholds of a feed's gates would decide.

    `signals` are those whose values are counted; none: all gates.
    """

    feed: str
    changes: tuple[Change, ...] = ()
    signals: tuple[str, ...] = ()


class AuthorAsk(Struct, frozen=True, tag="author"):
    """The newest posts of an author."""

    author_id: str
    most: int = 20


class PileAsk(Struct, frozen=True, tag="pile"):
    """The posts that a moderator should look at first, for one reason."""

    pile: Pile
    most: int = 500


Ask = PreviewAsk | GatesAsk | AuthorAsk | PileAsk


class Question(Struct, frozen=True):
    """What a page asks; of each page only the newest question is answered."""

    number: int
    page: str
    ask: Ask


class Reading(Struct, frozen=True):
    """How much of what is being restored was read."""

    what: str
    done: int
    of: int

    @property
    def share(self) -> float:
        return self.done / self.of if self.of else 0.0


class Answer(Struct, frozen=True):
    """The answer to a question: `result`, or why there is none (yet).

    `late` says why the view does not follow Kafka any more; "" while it does.
    """

    number: int
    result: Raw = _NIL
    reading: Reading | None = None
    refusal: str = ""
    late: str = ""


class ViewPost(Struct, frozen=True):
    """A post of the view; its record is at `offset` of `partition` of `posts`.

    `rank` and `score` are those on its side of a preview, `other_rank` the rank on the other side.
    """

    post_id: str
    author_id: str
    created_ms: int
    partition: int
    offset: int
    decision: str
    signals: dict[str, float | None]
    rank: int | None = None
    score: float | None = None
    other_rank: int | None = None
    why: str = ""


class Side(Struct, frozen=True):
    """A feed under one state of the settings: its weights, its best posts and their means."""

    weights: dict[str, Any]
    gates: dict[str, dict[str, Any]]
    posts: int
    authors: int
    demoted: int
    age_ms: int | None
    means: dict[str, float]
    best: tuple[ViewPost, ...]


class PreviewResult(Struct, frozen=True):
    """A preview as of `at_ms`; `offsets` are those of the settings in force, by key (-1: none)."""

    at_ms: int
    view_posts: int
    now: Side
    then: Side
    entering: int
    leaving: int
    moving: int
    offsets: dict[str, int]


class GateSpread(Struct, frozen=True):
    """The values of one signal: in how many posts each 50th part of [0, `top`] occurs."""

    gate: str
    counts: tuple[int, ...]
    judged: int
    top: float = 1.0


class GatesResult(Struct, frozen=True):
    """All gates of a feed, and by decision how many posts get it now and then."""

    at_ms: int
    view_posts: int
    spreads: tuple[GateSpread, ...]
    now: dict[str, int]
    then: dict[str, int]


class PostsResult(Struct, frozen=True):
    """Posts, the first first, of `total` that there are."""

    at_ms: int
    posts: tuple[ViewPost, ...]
    total: int
