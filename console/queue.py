"""Who looks at which post of the moderation queue, and what was decided."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec
import numpy as np

from feedmill.console.logs import Logs
from feedmill.console.posts import Posts
from feedmill.console.routes import Conflict, Console
from feedmill.console.texts import Place, Texts
from feedmill.console.view import Seen, Superseded, View
from feedmill.console.view_messages import Pile, PileAsk, PostsResult, ViewPost
from feedmill.events.decode import encode
from feedmill.events.label import Label
from feedmill.events.override import Override, OverrideKey
from feedmill.events.post import Post
from feedmill.features.minhash import MIN_COPY_SIMILARITY, is_long_enough, minhash, similarity
from feedmill.features.text.ngrams import five_grams
from feedmill.operations.changes import Change, MadeBy, write_changes
from feedmill.operations.overrides import LastOverride, verdict_record
from feedmill.streams.kafka.topic_reader import SentRecord
from feedmill.streams.settings.clock import now_ms

# So long a post is the one of a moderator who looks at it.
CLAIM_S = 60.0
# So long a post that somebody put aside does not come to that person again.
_ASIDE_S = 600.0
# A pile is asked for again after so long.
_FRESH_S = 2.0
_MOST_POSTS = 500
# Among so many posts of the pile near copies are looked for.
_MOST_COMPARED = 100
_TEXT_S = 3.0
_Claim = tuple[str, float]


@dataclass(frozen=True)
class Shown:
    """A post of the queue as a moderator sees it.

    Attributes
    ----------
    expect
        The offset of the override of all gates that is in force for the post; -1 for none.
    copies
        Posts of the same pile with nearly the same text, and what they say.
    left
        How many posts of the pile nobody has decided.
    """

    post: ViewPost
    said: Post
    expect: int
    copies: Sequence[tuple[ViewPost, Post]]
    left: int


@dataclass(frozen=True)
class Wanted:
    """A decision that somebody wants: about which versions of posts, or about an author.

    `label`: the target and the value of a label for each post; None for no label.
    """

    override: Override
    posts: Mapping[str, int]
    author_id: str = ""
    label: tuple[str, float] | None = None


@dataclass
class _Kept:
    result: PostsResult | None = None
    read_s: float = field(default=-_FRESH_S)


class Queue:
    """The claims of all moderators of this console.  Any thread may call it.

    `monotonic` is a clock in seconds.
    """

    def __init__(self, console: Console, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._now_s = monotonic
        self._lock = threading.Lock()
        # By post who has it, until when.
        self._claims: dict[str, _Claim] = {}
        self._aside: dict[tuple[str, str], float] = {}
        self._piles: dict[Pile, _Kept] = {}
        self._pile_lock = threading.Lock()

    # --- which post ---------------------------------------------------------------------------

    def next(self, name: str, pile: Pile, first: str = "") -> Shown | Seen:
        """Return the next post for a moderator, and claim it; `first` goes before all others.

        `Seen` without a result: the view is being read; with one: nothing is left.
        """
        seen = self._pile(pile)
        if seen.result is None:
            return seen
        overrides = self._overrides
        decided = _decided(overrides)
        left = [post for post in seen.result.posts if not decided(post)]
        for post in self._mine(name, left, first):
            # Whoever had the post until now may have decided it since.
            if (newer := self._overrides) is not overrides and _decided(newer)(post):
                continue
            texts = self._console.part(Texts)
            said = texts.read([_place(post)], _TEXT_S).get(_place(post))
            if said is None:
                self.put_aside(name, post.post_id)  # gone, or not to be read now
                continue
            last = newer.get(OverrideKey("post", post.post_id, "*"))
            copies = self._copies(post, said, left)
            expect = -1 if last is None else last.offset
            return Shown(post, said, expect, copies, len(left))
        return seen

    @property
    def _overrides(self) -> Mapping[OverrideKey, LastOverride]:
        return self._console.part(Logs).overrides()

    def _pile(self, pile: Pile) -> Seen:
        """Return a pile; moderators who ask at once share an answer."""
        with self._pile_lock:
            kept = self._piles.setdefault(pile, _Kept())
            if kept.result is not None and time.monotonic() < kept.read_s + _FRESH_S:
                return Seen(kept.result)
            try:
                seen = self._console.part(View).ask(f"queue {pile}", PileAsk(pile, _MOST_POSTS))
            except Superseded:
                return Seen(kept.result)
            kept.result, kept.read_s = seen.result, time.monotonic()
            return seen

    def _mine(self, name: str, posts: Sequence[ViewPost], first: str) -> Iterator[ViewPost]:
        """Yield posts, each claimed when it is asked for: `first`, then those that `name` has."""
        now_s = self._now_s()
        with self._lock:
            own = {post_id for post_id, (who, end_s) in self._claims.items() if who == name}
        for post in sorted(
            posts, key=lambda post: (post.post_id != first, post.post_id not in own)
        ):
            with self._lock:
                if self._aside.get((name, post.post_id), 0.0) > now_s:
                    continue
                who, end_s = self._claims.get(post.post_id, (name, 0.0))
                if who != name and end_s > now_s:
                    continue
                self._claims[post.post_id] = name, now_s + CLAIM_S
            yield post
            self.leave(name, post.post_id)

    def put_aside(self, name: str, post_id: str) -> None:
        """Let others have a post, and do not show it to this person for a while."""
        now_s = self._now_s()
        with self._lock:
            self._aside = {key: end for key, end in self._aside.items() if end > now_s}
            self._aside[name, post_id] = now_s + _ASIDE_S
        self.leave(name, post_id)

    def leave(self, name: str, post_id: str) -> None:
        """Let others have a post."""
        with self._lock:
            if self._claims.get(post_id, ("", 0.0))[0] == name:
                del self._claims[post_id]

    def _copies(
        self, post: ViewPost, said: Post, left: Sequence[ViewPost]
    ) -> list[tuple[ViewPost, Post]]:
        """Return the posts of the pile that say nearly the same; short texts exactly the same."""
        others = [one for one in left[:_MOST_COMPARED] if one.post_id != post.post_id]
        texts = self._console.part(Texts).read([_place(one) for one in others])
        found = [(one, text) for one in others if (text := texts.get(_place(one))) is not None]
        if not found:
            return []
        signatures = minhash(five_grams([said.text, *(text.text for _, text in found)])).signatures
        alike = similarity(signatures[1:], signatures[:1]) >= MIN_COPY_SIMILARITY
        is_long = is_long_enough(said.text)
        return [
            pair
            for pair, is_alike in zip(found, np.atleast_1d(alike).tolist(), strict=True)
            if pair[1].text == said.text or (is_long and is_alike)
        ]

    # --- what is decided ----------------------------------------------------------------------

    def decide(
        self, made_by: MadeBy, wanted: Wanted, expect: Mapping[str, int]
    ) -> list[SentRecord]:
        """Write overrides and labels in one transaction; return where the overrides stand.

        `expect` has the override in force that the page showed of each post, by its offset.

        Raises
        ------
        Conflict
            Another moderator has a post, decided it meanwhile, or it was edited.
        """
        with self._deciding(made_by.by, wanted.posts):
            for post_id, offset in wanted.posts.items():
                self._console.part(Posts).check_version(post_id, offset)
                last = self._overrides.get(OverrideKey("post", post_id, "*"))
                if last is not None and last.offset != expect.get(post_id, -1):
                    one = last.override
                    raise Conflict(
                        f"post `{post_id}` was decided meanwhile: {one.verdict} by {one.by}"
                        f"{f' ({one.reason})' if one.reason else ''}. Nothing was written"
                    )
            overrides = self._records(wanted)
            labels = self._labels(made_by, wanted)
            written = write_changes(self._console.environment, made_by, [*overrides, *labels])
            return written[: len(overrides)]

    def _records(self, wanted: Wanted) -> list[Change]:
        names, last = self._console.environment.signals, self._overrides
        keys: dict[OverrideKey, int | None] = {}
        if wanted.author_id:
            keys[OverrideKey("author", wanted.author_id, "*")] = None
        else:
            # Of a post only the version is allowed that somebody read.
            is_allowed = wanted.override.verdict == "allow"
            for post_id, shown in wanted.posts.items():
                keys[OverrideKey("post", post_id, "*")] = shown if is_allowed else None
        records = []
        for key, offset in keys.items():
            override = msgspec.structs.replace(wanted.override, post_offset=offset)
            before = last[key].value if key in last else None
            records.append(verdict_record(names, key, override, before))
        return records

    def _labels(self, made_by: MadeBy, wanted: Wanted) -> list[Change]:
        if wanted.label is None:
            return []
        target, value = wanted.label
        at_ms, note = wanted.override.at_ms, made_by.note or None
        return [
            Change(
                "labels",
                post_id,
                encode(Label(post_id, target, value, made_by.by, at_ms, note=note)),
                None,
                is_keyed=True,
            )
            for post_id in wanted.posts
        ]

    @contextmanager
    def _deciding(self, name: str, post_ids: Collection[str]) -> Iterator[None]:
        """Hold posts until a decision is written; raises `Conflict` where another has one."""
        now_s = self._now_s()
        with self._lock:
            for post_id in post_ids:
                who, end_s = self._claims.get(post_id, (name, 0.0))
                if who != name and end_s > now_s:
                    raise Conflict(
                        f"{who} looks at post `{post_id}` and has it for another"
                        f" {end_s - now_s:.0f} s. Nothing was written"
                    )
            before = {post_id: self._claims.get(post_id) for post_id in post_ids}
            # Whoever presses a key twice decides once.
            busy = f"{name}, who decides it now,"
            for post_id in post_ids:
                self._claims[post_id] = busy, now_s + CLAIM_S
        try:
            yield
        finally:
            with self._lock:
                for post_id, claim in before.items():
                    if claim is None:
                        self._claims.pop(post_id, None)
                    else:
                        self._claims[post_id] = claim
        for post_id in post_ids:
            self.leave(name, post_id)

    def close(self) -> None:
        """Nothing is open."""


def _place(post: ViewPost) -> Place:
    return Place(post.partition, post.offset)


def _decided(overrides: Mapping[OverrideKey, LastOverride]) -> Callable[[ViewPost], bool]:
    """Return what says whether an override is in force for a version of a post."""
    at_ms, in_force = now_ms(), dict[str, list[Override]]()
    for key, last in overrides.items():
        if not last.is_over(at_ms):
            in_force.setdefault(key.subject, []).append(last.override)

    def is_decided(post: ViewPost) -> bool:
        return f"author:{post.author_id}" in in_force or any(
            one.post_offset in (None, post.offset)
            for one in in_force.get(f"post:{post.post_id}", [])
        )

    return is_decided
