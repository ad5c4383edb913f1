"""What is wrong with a running installation, the worst first, each with its way out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from feedmill.events.instance import Instance, PartitionLag
from feedmill.events.partition import ALL_SHARDS
from feedmill.operations.health.beats import settling
from feedmill.operations.health.seen import Beat, FeedState, KafkaState, RedisState, Seen
from feedmill.operations.model_versions import differing_versions
from feedmill.streams.flow import COMBINER
from feedmill.streams.kafka.assignment import SHARDS
from feedmill.streams.ranking.feed_freshness import FeedFreshness

Severity = Literal["wrong", "warn"]

# So long an instance is named that ended without a word and left nothing unread.
_NAMED_FOR_MS = 600_000
# What workers may differ from the broker's time: heartbeats take a moment.
_CLOCK_MS = 60_000
_FULL_FROM = 0.9
_NAMED_FEEDS = 3

_DOCS = "docs/operating/operator.md"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or that somebody should look at.

    `topic`, `partitions` and `instance` are where it is, empty where it is nowhere in particular.
    """

    severity: Severity
    what: str
    way_out: str
    topic: str = ""
    partitions: tuple[int, ...] = ()
    instance: str = ""

    def as_dict(self) -> dict[str, object]:
        """The finding as `feedmill health --json` prints it."""
        return {
            "severity": self.severity,
            "what": self.what,
            "topic": self.topic,
            "partitions": list(self.partitions),
            "instance": self.instance,
            "way_out": self.way_out,
        }


def findings(seen: Seen) -> list[Finding]:
    """Say what is wrong with what was seen."""
    found: list[Finding] = []
    settles: Mapping[str, str] = {}
    found += [Finding("wrong", *one) for one in (seen.kafka_trouble, seen.redis_trouble) if one]
    if seen.kafka is not None:
        settles = settling(seen.kafka)
        found += _excused([*_unread(seen, seen.kafka), *_unranked(seen.kafka)], settles)
        found += _unanswered(seen, seen.kafka, {one.topic for one in found})
        found += _instances(seen.kafka, {one.instance for one in found})
        found += _clock(seen.kafka)
    if seen.redis is not None:
        is_wrong = any(one.severity == "wrong" for one in found)
        found += _excused(_feeds(seen.redis, has_cause=is_wrong), settles)
    if seen.kafka is not None:
        found += _refusals(seen.kafka)
        found += _models(seen.kafka)
    return sorted(found, key=lambda one: one.severity != "wrong")


def _excused(found: Iterable[Finding], settles: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what is wrong; it is to be looked at where a start or a rebalance will mend it."""
    for one in found:
        if not settles or one.severity != "wrong":
            yield one
        elif one.instance not in settles and (one.instance or not one.topic):
            yield replace(one, severity="warn", way_out="wait")


class _Cause(NamedTuple):
    """Why nobody is up to date with a partition; `why` is a reason in words, where there is one."""

    kind: Literal["late", "not ready", "silent", "nobody"]
    instance: str = ""
    why: str = ""


def _unread(seen: Seen, kafka: KafkaState) -> Iterator[Finding]:
    """Find what feeds depend on and nobody is up to date with, as the worker that ranks does."""
    if not any(beat.instance.group for beat in kafka.beats):
        way_out = f"start one: `feedmill worker` ({_DOCS}#workers)"
        yield Finding("wrong", "no worker has reported in the last hour", way_out)
        return
    freshness = FeedFreshness(kafka.partitions, "")
    for beat in kafka.living:
        freshness.heartbeat(beat.instance, beat.at_ms)
    # By topic and cause the partitions, and the stages that lack them.
    partitions: dict[tuple[str, _Cause], set[int]] = defaultdict(set)
    stages: dict[tuple[str, _Cause], set[str]] = defaultdict(set)
    # Of a program that says that it is ready, `_unanswered` tells.
    ready = {beat.instance.stage for beat in kafka.living if beat.instance.ready}
    dead = {signal for signal, _ in kafka.unanswered} - ready
    for stage in seen.needed:
        is_own = stage in seen.names.own
        if is_own and stage not in dead:
            continue
        for topic, partition in freshness.unread(stage):
            cause = _cause(kafka, stage, topic, partition, is_own=is_own)
            where = f"signals.{stage}" if is_own else topic
            partitions[where, cause].add(partition)
            stages[where, cause].add(stage)
    for (topic, cause), numbers in partitions.items():
        of_workers = [name for name in seen.needed if name not in seen.names.own]
        missing = [name for name in of_workers if name in stages[topic, cause]]
        is_of_all = topic == "engagements" or len(missing) == len(of_workers)
        of = "" if is_of_all or not missing else f" for {', '.join(missing)}"
        what, way_out = _cause_text(kafka, topic, sorted(numbers), cause)
        yield Finding(
            "wrong",
            f"{topic}{ranges(numbers)}{of}: {what}",
            way_out,
            topic,
            tuple(sorted(numbers)),
            cause.instance,
        )


def _cause(kafka: KafkaState, stage: str, topic: str, partition: int, *, is_own: bool) -> _Cause:
    """Return why a stage is not up to date with a partition, by the heartbeats of who has it."""
    having = [
        beat
        for beat in kafka.beats
        if beat.instance.stage == stage
        and (is_own or (topic, partition) in _partitions(beat.instance))
    ]
    for beat in having:
        one = beat.instance
        if beat in kafka.living:
            at = _partitions(one).get((topic, partition))
            if at is not None and at.late_ms:
                return _Cause("late", one.instance, at.why)
            if not one.ready:
                return _Cause("not ready", one.instance, one.reason or "it does not say why")
    if not having:
        return _Cause("nobody")
    return _Cause("silent", max(having, key=lambda beat: beat.at_ms).instance.instance)


def _unranked(kafka: KafkaState) -> Iterator[Finding]:
    """Find the shards of feeds that nobody ranks who can: nobody calls their feeds stale either."""
    rankers = [beat for beat in kafka.beats if beat.instance.stage == COMBINER]
    living = [beat for beat in rankers if beat in kafka.living]
    free = set(ALL_SHARDS).difference(*(b.instance.shards for b in living if b.instance.ready))
    causes: dict[_Cause, set[int]] = defaultdict(set)
    for shard in free if any(beat.instance.group for beat in kafka.beats) else ():
        having = [beat for beat in rankers if shard in beat.instance.shards]
        # One that is not ready may be about to claim it.
        late = [b for b in having if b in living] or [b for b in living if not b.instance.ready]
        if late:
            one = late[0].instance
            cause = _Cause("not ready", one.instance, one.reason or "it does not say why")
        elif having:
            cause = _Cause("silent", max(having, key=lambda beat: beat.at_ms).instance.instance)
        else:
            cause = _Cause("nobody")
        causes[cause].add(shard)
    for cause, shards in causes.items():
        beat = next((b for b in rankers if b.instance.instance == cause.instance), None)
        what, way_out = "nobody ranks them", f"start a worker that ranks ({_DOCS}#workers)"
        if beat is None and living:
            way_out = "see `feedmill groups describe`: who has them may be no worker"
        elif beat is not None and cause.kind == "silent":
            what = f"{_silence(beat, kafka.now_ms)}, and nobody else ranks them"
            way_out = _way_out_of_silence(beat.instance)
        elif beat is not None:
            what, way_out = f"{cause.instance} is not ready: {cause.why}", f"see {_DOCS}#recovery"
        place = (SHARDS, tuple(sorted(shards)), cause.instance)
        yield Finding("wrong", f"{SHARDS}{ranges(shards)}: {what}", way_out, *place)


def _partitions(instance: Instance) -> dict[tuple[str, int], PartitionLag]:
    return {(one.topic, one.partition): one for one in instance.partitions}


def _cause_text(
    kafka: KafkaState, topic: str, numbers: Sequence[int], cause: _Cause
) -> tuple[str, str]:
    """Return what is wrong with partitions in words, and the way out."""
    beats = [beat for beat in kafka.beats if beat.instance.instance == cause.instance]
    beat = max(beats, key=lambda one: one.at_ms, default=None)
    waiting = sum(kafka.waiting.get((topic, number), 0) for number in numbers)
    wait = f"; {waiting:,} records wait" if waiting else ""
    if beat is None and topic.startswith("signals."):
        return "no program writes it", "start its program (docs/own_signals.md)"
    if beat is None:
        way_out = f"start a worker that runs all stages: `feedmill worker` ({_DOCS}#workers)"
        return f"nobody reads it{wait}", way_out
    one = beat.instance
    if cause.kind == "late":
        lags = [at for key, at in _partitions(one).items() if key[0] == topic and key[1] in numbers]
        late, lag = max(at.late_ms for at in lags), sum(at.lag for at in lags)
        why = f"{cause.why}: `feedmill topics abort-hanging --dry-run` lists it ({_DOCS}#recovery)"
        slow = f"see `feedmill latency`, or start one more worker ({_DOCS}#workers)"
        text = f"{one.instance} is {seconds(late)} behind, {lag:,} records"
        return text + (f", {cause.why}" if cause.why else ""), why if cause.why else slow
    if cause.kind == "not ready":
        return f"{one.instance} is not ready: {cause.why}", f"see {_DOCS}#recovery"
    since = "nobody writes it" if topic.startswith("signals.") else "nobody else reads it"
    return f"{_silence(beat, kafka.now_ms)}, and {since}{wait}", _way_out_of_silence(one)


def _unanswered(seen: Seen, kafka: KafkaState, named: set[str]) -> Iterator[Finding]:
    """Find programs that say that they are ready, and do not answer posts."""
    for name in seen.needed:
        topic = f"signals.{name}"
        numbers = sorted(number for signal, number in kafka.unanswered if signal == name)
        if not numbers or topic in named:
            continue
        count = sum(kafka.unanswered[name, number] for number in numbers)
        beats = [beat.instance for beat in kafka.living if beat.instance.stage == name]
        who = ", ".join(f"{one.instance} (pid {one.pid} on {one.host})" for one in beats)
        what = f"{topic}{ranges(numbers)}: {count} of the newest posts have none after 5 s; {who}"
        way_out = "see its log, and start it again (docs/own_signals.md)"
        place = (topic, tuple(numbers), beats[0].instance if beats else "")
        yield Finding("wrong", f"{what} reports that it is ready", way_out, *place)


def _silence(beat: Beat, now_ms: int) -> str:
    one = beat.instance
    age = seconds(now_ms - beat.at_ms)
    return f"{one.instance} (pid {one.pid} on {one.host}) has been silent for {age}"


def _way_out_of_silence(one: Instance) -> str:
    again = "start it again" if one.group else "start its program again (docs/own_signals.md)"
    return f"on {one.host} see whether pid {one.pid} lives; if it stands still, kill it; {again}"


def _instances(kafka: KafkaState, named: set[str]) -> Iterator[Finding]:
    """Find instances that are silent or not ready and were not named yet."""
    living, settles = {beat.instance.instance for beat in kafka.living}, settling(kafka)
    for beat in {one.instance.instance: one for one in kafka.silent}.values():
        # The same process may still report as another stage.
        is_known = beat.instance.instance in named | living
        if not is_known and kafka.now_ms - beat.at_ms <= _NAMED_FOR_MS:
            yield _silent(kafka, beat)
    for one in {beat.instance.instance: beat.instance for beat in kafka.living}.values():
        if not one.ready and one.instance in settles:
            what = f"{one.instance}: {settles[one.instance]} ({one.reason})"
            yield Finding("warn", what, "wait", instance=one.instance)
        elif not one.ready and one.instance not in named:
            what = f"{one.instance} is not ready: {one.reason or 'it does not say why'}"
            yield Finding("warn", what, f"see {_DOCS}#recovery", instance=one.instance)
    builds = {beat.instance.build for beat in kafka.living if beat.instance.group}
    if len(builds) > 1:
        what = f"workers of different builds run: {', '.join(sorted(builds))}"
        yield Finding("warn", what, "end the upgrade: start all of them by one build")


def _silent(kafka: KafkaState, beat: Beat) -> Finding:
    """Return the finding of an instance that ended without a word; others have what it had."""
    one = beat.instance
    had: dict[str, set[int]] = defaultdict(set)
    for other in (beat.instance for beat in kafka.silent if beat.instance.instance == one.instance):
        for topic, partition in _partitions(other):
            had[topic].add(partition)
        if other.shards:
            had[SHARDS].update(other.shards)
    what = _silence(beat, kafka.now_ms)
    if had:
        what += f"; others have {', '.join(f'{t}{ranges(had[t])}' for t in had)}, which it had"
    topic = next(iter(had), "")
    numbers = tuple(sorted(had[topic]))
    return Finding("warn", what, _way_out_of_silence(one), topic, numbers, one.instance)


def _clock(kafka: KafkaState) -> Iterator[Finding]:
    ahead_ms = kafka.now_ms - kafka.log_now_ms
    if abs(ahead_ms) > _CLOCK_MS:
        side = "ahead of" if ahead_ms > 0 else "behind"
        what = f"the broker's clock is {seconds(abs(ahead_ms))} {side} the time of the workers"
        yield Finding("wrong", what, f"correct it, or restart all workers ({_DOCS}#recovery)")


def _feeds(redis: RedisState, *, has_cause: bool) -> Iterator[Finding]:
    by_state: dict[str, list[FeedState]] = defaultdict(list)
    for feed in redis.feeds:
        by_state[feed.state].append(feed)
    above = "mend what is named above"
    if not redis.feeds:
        way_out = above if has_cause else "see the log of the worker that ranks"
        yield Finding("wrong", "Redis has no feed", way_out)
    if stale := by_state["stale"]:
        for_ms = max(-feed.fresh_for_ms for feed in stale)
        what = f"{len(stale)} of {len(redis.feeds)} feeds are stale, {_named(stale)}"
        way_out = above if has_cause else "`feedmill latency`, and the log of the worker that ranks"
        yield Finding("wrong", f"{what}, for up to {seconds(for_ms)}", way_out)
    if starting := by_state["starting"]:
        what = f"{len(starting)} feeds are not fresh yet: the worker that ranks is new"
        yield Finding("warn", what, "wait for a minute")
    if redis.max_bytes and redis.used_bytes > _FULL_FROM * redis.max_bytes:
        what = f"Redis is nearly full: {redis.used_bytes / redis.max_bytes:.0%} of its maxmemory"
        yield Finding("warn", what, "raise maxmemory; when it is full, feeds grow stale")


def _named(feeds: Sequence[FeedState]) -> str:
    names = sorted((feed.feed for feed in feeds), key=lambda name: (name != "global", name))
    rest = len(names) - _NAMED_FEEDS
    return ", ".join(names[:_NAMED_FEEDS]) + (f" and {rest} more" if rest > 0 else "")


def _refusals(kafka: KafkaState) -> Iterator[Finding]:
    """Find bad records, and what instances refused and what holds still."""
    if count := sum(kafka.rejected.values()):
        of = ", ".join(f"{n:,} of {topic}" for topic, n in sorted(kafka.rejected.items()))
        what = f"in the last hour {count:,} records broke the contract and were refused: {of}"
        yield Finding("warn", what, "`feedmill dead-letters list --since 1h --counts` says why")
    settings: dict[tuple[str, int], tuple[str, str]] = {}
    for beat in kafka.living:
        for refused in beat.instance.refused:
            if kafka.settings.get(refused.key) == refused.offset:
                settings[refused.key, refused.offset] = refused.reason, beat.instance.instance
    for (key, offset), (reason, instance) in settings.items():
        what = f"the setting {key} at offset {offset} is refused: {reason}"
        way_out = "`feedmill config history` shows it; set it again, or `feedmill config rollback`"
        yield Finding("warn", what, way_out, "config", (0,), instance)
    for beat in kafka.living:
        if beat.refused_writes:
            one = beat.instance
            what = f"in the last minute Redis refused {beat.refused_writes:,} writes of"
            what += f" {one.instance}: a newer owner has the feeds"
            way_out = "see whether another installation writes the same keys (--redis-prefix)"
            yield Finding("warn", what, way_out, instance=one.instance)


def _models(kafka: KafkaState) -> Iterator[Finding]:
    """Find what models do not do as they should."""
    for model, said in differing_versions(beat.instance for beat in kafka.living).items():
        what = f"{model} runs in different versions: {said}; a post's partition decides which"
        way_out = "`feedmill models health`; start all workers by one build, with one store"
        yield Finding("warn", what, way_out)
    seen: set[str] = set()
    for one in (beat.instance for beat in kafka.living):
        about = [
            *(("is refused", release) for release in one.refused_releases),
            *(("waits for the store", release) for release in one.waiting_releases),
        ]
        for state, release in about:
            what = f"the release of {release.model} {state}: {release.reason}"
            if what not in seen:
                seen.add(what)
                place = ("models", (0,), one.instance)
                yield Finding("warn", what, "`feedmill models health`", *place)
        if one.capped_count:
            rest = one.capped_count - len(one.capped_sources)
            more = f" and {rest} more" if rest > 0 else ""
            sources = f"{', '.join(one.capped_sources)}{more}"
            what = f"{one.stage} flags too much of {sources}: of authors it hides, else demotes"
            way_out = "look at some of their posts: an attack, or a wrong filter; `feedmill"
            way_out += f" override allow author:<id>` frees an honest account ({_DOCS}#alarms)"
            if one.stage == "engagement":
                what = f"many hides and reports that are not believed: {sources}"
                way_out = f"look at some of their posts, and at who reports them ({_DOCS}#alarms)"
            yield Finding("warn", what, way_out, instance=one.instance)
        for drift in one.drift:
            if drift.state == "drift":
                what = f"{drift.quantity} of {drift.model} drifts: {drift.reason}"
                yield Finding("warn", what, "`feedmill models health`; look at recent posts")


def ranges(numbers: Iterable[int]) -> str:
    """Return partitions as people write them: ``[0-3, 7]``."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return "[" + ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts) + "]"


def seconds(ms: int) -> str:
    """Return a time as people read it: ``45 s``, ``12 min``, ``3 h``."""
    if ms < 120_000:
        return f"{ms / 1000:.0f} s"
    return f"{ms // 60_000} min" if ms < 7_200_000 else f"{ms // 3_600_000} h"
