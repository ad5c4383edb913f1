"""The demo's audience: **simulated** users who look at a slate of posts from the top and click.

The slate is not feedmill's ranking unless a frontend is given: recent posts by the clicks of others
and by age, with some randomness. A visitor examines position k with probability
attention / (1 + k) ** ETA (position bias), clicks what looks good, and then likes, replies, shares,
hides or reports by what the post really is. Clickbait looks better than it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import redis

from feedmill.events.engagement import Engagement, EngagementKind
from feedmill.events.experiment import Exposure
from feedmill.experiments.assignment import arm_of
from feedmill.simulation.schedule import ENGAGEMENTS, EXPOSURES, ScheduledEvent
from feedmill.streams.redis.reader import FeedReader

SLATE = 8
ETA = 0.8
RECENT = 600
FEED = "demo"  # `feed` of the engagements where the slate was none of feedmill's feeds
_USERS = 2000
# Of the demo's experiment: readers of this arm examine posts so many times as often.
PLANTED_ARM, PLANTED = "by-quality", 2
# In a feed of feedmill's, so that most visits of some minutes are by new readers.
_READERS = 20_000
# In a feed of feedmill's stand posts of hours.
_KNOWN = 50_000
_HALF_LIFE_S = 90.0
_MAX_DWELL_MS = 45_000.0
DWELL_SPREAD = 0.6  # of dwell times around the typical one, in log
# User, post, feed and position of an impression.
_Shown = tuple[str, str, str, int]
_REACTIONS: tuple[EngagementKind, ...] = ("like", "reply", "share")


class ServedPage(NamedTuple):
    """The top of a list; `exposure` is to be sent before it, without its time."""

    feed: str
    post_ids: tuple[str, ...]
    exposure: Exposure | None


class Frontend:
    """Reads one feed from Redis, as `examples/frontend.py` does."""

    def __init__(self, reader: FeedReader, feed: str) -> None:
        self._reader, self._feed = reader, feed

    def page(self, user_id: str, count: int) -> ServedPage:
        """Return the first posts for a user; none while there is no feed, or no Redis."""
        try:
            return self._page(user_id, count)
        except redis.RedisError:
            return ServedPage(self._feed, (), None)

    def _page(self, user_id: str, count: int) -> ServedPage:
        shown = self._reader.feed(self._feed, count)
        if shown is None:
            return ServedPage(self._feed, (), None)
        exposure = None
        running: dict[str, Any] | None = orjson.loads(shown.info.get("experiment", "null"))
        if running is not None:
            name, salt, traffic = running["name"], running["salt"], running["traffic"]
            arms = [(arm["name"], arm["share"]) for arm in running["arms"]]
            arm, control = arm_of(salt, name, user_id, traffic, arms), arms[0][0]
            if arm is not None:
                named = "" if arm == control else f"{name}.{arm}"
                of_arm = self._reader.feed(self._feed, count, named) if named else shown
                shown = of_arm or shown
                exposure = Exposure(
                    user_id=user_id,
                    experiment=name,
                    arm=arm,
                    feed=self._feed,
                    version=shown.version,
                    first=0,
                    count=count,
                    at_ms=0,
                    served=None if of_arm else control,
                )
        return ServedPage(self._feed, tuple(post_id for post_id, _ in shown.ranking), exposure)


@dataclass(frozen=True)
class AudienceTraits:
    """How users react to one kind of post that they examine; all but `dwell_s` are probabilities.

    Attributes
    ----------
    click, click_by_quality
        A click has the probability `click` + `click_by_quality` * quality.
    like, reply, share
        After a click; of an ordinary post times its quality.
    hide, report
        Without a click.
    dwell_s
        Typical seconds on the post after a click.
    """

    click: float
    click_by_quality: float
    like: float
    reply: float
    share: float
    hide: float
    report: float
    dwell_s: float


TRAITS: Final[Mapping[str, AudienceTraits]] = {
    "ordinary": AudienceTraits(0.05, 0.45, 0.45, 0.2, 0.15, 0.003, 0.0005, 22.0),
    "clickbait": AudienceTraits(0.5, 0.0, 0.02, 0.02, 0.01, 0.04, 0.01, 2.5),
    "spam": AudienceTraits(0.04, 0.0, 0.01, 0.01, 0.005, 0.12, 0.08, 1.5),
    "nsfw": AudienceTraits(0.25, 0.0, 0.08, 0.03, 0.02, 0.1, 0.06, 6.0),
    "false": AudienceTraits(0.25, 0.0, 0.12, 0.15, 0.18, 0.03, 0.05, 9.0),
}


@dataclass(frozen=True)
class SimulatedPost:
    """A post as the audience perceives it; `quality` in [0, 1] is what the engine must estimate."""

    post_id: str
    kind: str  # a key of TRAITS
    community: int
    lang: str
    quality: float


def liking(post: SimulatedPost) -> float:
    """By how much a reader who clicked likes a post, beside the traits of its kind."""
    return post.quality if post.kind == "ordinary" else 1.0


def typical_dwell_s(post: SimulatedPost) -> float:
    """Seconds that half of those who clicked stay on a post."""
    return TRAITS[post.kind].dwell_s * (0.2 + liking(post))


class Audience:
    """The users, and the last `RECENT` posts; time and randomness come from the caller.

    Parameters
    ----------
    run
        Becomes part of the event ids.
    frontend
        Serves the users a feed of feedmill's, each the list of their arm, instead of a slate.
    attention
        Scales how often a position is examined.
    """

    def __init__(
        self,
        run: str,
        communities: int,
        rng: np.random.Generator,
        frontend: Frontend | None = None,
        attention: float = 1.0,
    ) -> None:
        self._rng, self._frontend, self._attention = rng, frontend, attention
        self._ids = (f"{run}-{n}" for n in itertools.count(1))
        self._posts: list[SimulatedPost] = []
        self._known: dict[str, SimulatedPost] = {}
        self._slots: dict[str, int] = {}
        self._next = 0
        self._community = np.zeros(RECENT, np.int64)
        self._german = np.zeros(RECENT, np.bool_)
        self._at_s = np.zeros(RECENT)
        self._shown = np.zeros(RECENT)
        self._clicked = np.zeros(RECENT)
        # A user reads one or two communities; one in five reads German posts too.
        self._reads = rng.random((_USERS, communities)) < 1.2 / communities
        self._reads_german = rng.random(_USERS) < 0.2

    def publish(self, post: SimulatedPost, now_s: float) -> None:
        """Add a post; it replaces the oldest one."""
        slot = self._next % RECENT
        if self._next < RECENT:
            self._posts.append(post)
        else:
            del self._slots[self._posts[slot].post_id]
            self._posts[slot] = post
        self._slots[post.post_id] = slot
        self._known[post.post_id] = post
        if len(self._known) > (RECENT if self._frontend is None else _KNOWN):
            del self._known[next(iter(self._known))]
        self._community[slot] = post.community
        self._german[slot] = post.lang == "de"
        self._at_s[slot] = now_s
        self._shown[slot] = self._clicked[slot] = 0.0
        self._next += 1

    def visit(self, now_s: float) -> list[ScheduledEvent]:
        """One user looks at a slate; returns the engagements, due within a minute from `now_s`.

        Where the user is in an experiment the exposure comes first.
        """
        user = int(self._rng.integers(_USERS if self._frontend is None else _READERS))
        page = self._page(user, now_s)
        examined = self._rng.random(len(page.post_ids)) * (
            (1.0 + np.arange(len(page.post_ids))) ** ETA
        )
        events: list[ScheduledEvent] = []
        if page.exposure is not None:
            events.append(ScheduledEvent(now_s, EXPOSURES, page.exposure))
            if page.exposure.arm == PLANTED_ARM:
                examined /= PLANTED
        at_s = now_s
        for position, post_id in enumerate(page.post_ids):
            if post_id in self._slots:
                self._shown[self._slots[post_id]] += 1
            shown = (f"viewer-{user}", post_id, page.feed, position)
            events.append(self._event(at_s, "impression", shown))
            # What others sent, or an earlier demo, is taken for an average post.
            average = SimulatedPost(post_id, "ordinary", 0, "en", 0.5)
            post = self._known.get(post_id, average)
            if examined[position] < self._attention:
                events.extend(self._examine(post, at_s, shown))
            at_s += 0.3
        return events

    def _page(self, user: int, now_s: float) -> ServedPage:
        if self._frontend is not None:
            return self._frontend.page(f"viewer-{user}", SLATE)
        slate = self._slate(user, now_s)
        return ServedPage(FEED, tuple(self._posts[slot].post_id for slot in slate), None)

    def _slate(self, user: int, now_s: float) -> list[int]:
        count = len(self._posts)
        score = np.log((self._clicked[:count] + 1) / (self._shown[:count] + 8))
        score += (self._at_s[:count] - now_s) / _HALF_LIFE_S * np.log(2)
        score += 1.5 * self._reads[user, self._community[:count]]
        if not self._reads_german[user]:
            score -= 5.0 * self._german[:count]
        score += 0.6 * self._rng.gumbel(size=count)
        top = min(SLATE, count)
        best: npt.NDArray[np.int64] = np.argpartition(-score, top - 1)[:top]
        return [int(slot) for slot in best[np.argsort(-score[best])]]

    def _examine(self, post: SimulatedPost, at_s: float, shown: _Shown) -> Iterator[ScheduledEvent]:
        traits = TRAITS[post.kind]
        drawn = self._rng.random(6)
        if drawn[0] < traits.hide:
            yield self._event(at_s + 1.0, "hide", shown)
        if drawn[1] < traits.report:
            yield self._event(at_s + 1.5, "report", shown)
        if drawn[2] >= traits.click + traits.click_by_quality * post.quality:
            return
        if post.post_id in self._slots:
            self._clicked[self._slots[post.post_id]] += 1
        clicked_s = at_s + 0.2 + float(self._rng.exponential(0.5))
        yield self._event(clicked_s, "click", shown)
        typical = np.log(typical_dwell_s(post))
        dwell_ms = min(_MAX_DWELL_MS, float(self._rng.lognormal(typical, DWELL_SPREAD)) * 1000)
        left_s = clicked_s + dwell_ms / 1000
        yield self._event(left_s, "dwell", shown, dwell_ms=round(dwell_ms))
        probabilities = (traits.like, traits.reply, traits.share)
        for kind, probability, value in zip(_REACTIONS, probabilities, drawn[3:], strict=True):
            if value < probability * liking(post):
                yield self._event(left_s + 0.5, kind, shown)

    def _event(
        self,
        due_s: float,
        kind: EngagementKind,
        shown: _Shown,
        dwell_ms: float | None = None,
    ) -> ScheduledEvent:
        user, post_id, feed, position = shown
        event = Engagement(
            post_id,
            user,
            kind,
            0,
            event_id=next(self._ids),
            feed=feed,
            position=position,
            dwell_ms=dwell_ms,
        )
        return ScheduledEvent(due_s, ENGAGEMENTS, event)
