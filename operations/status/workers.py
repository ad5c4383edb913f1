"""What is wrong with what runs: workers, programs of own signals, their groups, and the feeds."""

from __future__ import annotations

import importlib.metadata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Literal, NamedTuple

from feedmill.events.instance import Instance, PartitionLag
from feedmill.events.partition import ALL_SHARDS
from feedmill.events.signal import stage_of
from feedmill.operations.hanging_transactions import OpenTransaction, find_open
from feedmill.operations.model_versions import differing_versions
from feedmill.operations.status.finding import Finding, ranges, seconds, some_of
from feedmill.operations.status.heartbeats import Beat, Running
from feedmill.operations.status.installation import CLOCK_TOLERANCE_MS, FeedState, Installation
from feedmill.operations.worker_groups import Group
from feedmill.streams.flow import COMBINER, stages_of
from feedmill.streams.kafka.assignment import POSTS, SHARDS
from feedmill.streams.kafka.read_progress import WAY_OUT
from feedmill.streams.kafka.topic_ids import INPUTS
from feedmill.streams.kafka.topic_table import MINUTE_MS
from feedmill.streams.ranking.feed_freshness import FeedFreshness
from feedmill.streams.settings.instances import RECENT_MS

# So long an instance is named that ended without a word and left nothing unread.
_NAMED_FOR_MS = 10 * MINUTE_MS
# A heartbeat may be stored so much later than it was written.
_CLOCK_MS = MINUTE_MS
_NAMED_FEEDS = 3
# What people and the product write, and every worker reads committed.
_COMMITTED = (*INPUTS, "config", "overrides", "models")

_DOCS = "docs/operating/operator.md"
_OWN = "docs/own_signals.md"


# --- what nobody is up to date with ------------------------------------------------------------


def no_worker(inst: Installation) -> Iterator[Finding]:
    """A worker has reported."""
    if not inst.running.has_workers:
        way_out = f"start one: `feedmill worker` ({_DOCS}#workers)"
        what = "none has reported in the last hour"
        yield Finding("wrong", what, "workers", way_out, is_stale=True)


def engine(inst: Installation) -> Iterator[Finding]:
    """Ready workers are up to date with each partition and rank each shard; programs answer."""
    running = inst.running
    found = list(_excused([*_unread(inst), *_unranked(running)], running))
    found += _unanswered(inst, {one.topic for one in found})
    yield from found
    yield from _instances(running, {one.instance for one in found})


def _excused(found: Iterable[Finding], running: Running) -> Iterator[Finding]:
    """Yield what is wrong; it is to be looked at where a start or a rebalance will mend it."""
    for one in found:
        if not running.settling:
            yield one
        elif one.instance not in running.settling and (one.instance or not one.topic):
            yield replace(one, severity="warn", way_out="wait", is_stale=False)


class _Cause(NamedTuple):
    """Why nobody is up to date with a partition; `why` is a reason in words, where there is one."""

    kind: Literal["late", "not ready", "silent", "nobody"]
    instance: str = ""
    why: str = ""


def _cause(running: Running, having: Sequence[Beat], at: tuple[str, int]) -> _Cause:
    """Return why nobody is up to date with a partition, by the heartbeats of who has it."""
    for beat in having:
        one = beat.instance
        if beat in running.living:
            lag = _partitions(one).get(at)
            if lag is not None and lag.late_ms:
                return _Cause("late", one.instance, lag.why)
            if not one.ready:
                return _Cause("not ready", one.instance, one.reason or "it does not say why")
    if not having:
        return _Cause("nobody")
    return _Cause("silent", max(having, key=lambda beat: beat.at_ms).instance.instance)


def _unread(inst: Installation) -> Iterator[Finding]:
    """Find what feeds depend on and nobody is up to date with, as the worker that ranks does."""
    running, names = inst.running, inst.environment.signals
    freshness = FeedFreshness(inst.partitions, "")
    for beat in running.living:
        freshness.heartbeat(beat.instance, beat.at_ms)
    # By topic and cause the partitions, and the stages that lack them.
    partitions: dict[tuple[str, _Cause], set[int]] = defaultdict(set)
    stages: dict[tuple[str, _Cause], set[str]] = defaultdict(set)
    # Of a program that says that it is ready, `_unanswered` tells.
    ready = {beat.instance.stage for beat in running.living if beat.instance.ready}
    dead = {signal for signal, _ in inst.unanswered} - ready
    needed = _needed(inst)
    for stage in needed if running.has_workers else ():
        is_own = stage in names.own
        if is_own and stage not in dead:
            continue
        of_stage = [beat for beat in running.beats if beat.instance.stage == stage]
        for at in freshness.unread(stage):
            having = [b for b in of_stage if is_own or at in _partitions(b.instance)]
            key = (f"signals.{stage}" if is_own else at[0], _cause(running, having, at))
            partitions[key].add(at[1])
            stages[key].add(stage)
    of_workers = [name for name in needed if name not in names.own]
    for (topic, cause), numbers in partitions.items():
        missing = [name for name in of_workers if name in stages[topic, cause]]
        is_of_all = topic == "engagements" or len(missing) == len(of_workers)
        of = "" if is_of_all or not missing else f" for {', '.join(missing)}"
        yield _unserved(inst, running, topic, numbers, cause, of)


def _needed(inst: Installation) -> tuple[str, ...]:
    """Return the stages without whose signals feeds are not fresh; all, where no feed says so."""
    feeds = inst.if_known(lambda one: one.feeds) or ()
    behind = frozenset[str]().union(*(feed.stages for feed in feeds))
    stages = dict.fromkeys(map(stage_of, inst.environment.signals.all))
    return tuple(stage for stage in stages if stage in behind or not feeds)


def _unranked(running: Running) -> Iterator[Finding]:
    """Find the shards of feeds that nobody ranks who can: nobody calls their feeds stale either."""
    rankers = [beat for beat in running.beats if beat.instance.stage == COMBINER]
    living = [beat for beat in rankers if beat in running.living]
    free = set(ALL_SHARDS).difference(*(b.instance.shards for b in living if b.instance.ready))
    causes: dict[_Cause, set[int]] = defaultdict(set)
    for shard in free if running.has_workers else ():
        having = [beat for beat in rankers if shard in beat.instance.shards]
        # One that is not ready may be about to claim it.
        late = [b for b in having if b in living] or [b for b in living if not b.instance.ready]
        causes[_cause(running, late or having, (SHARDS, shard))].add(shard)
    for cause, shards in causes.items():
        yield _unserved(None, running, SHARDS, shards, cause)


def _unserved(
    inst: Installation | None,
    running: Running,
    topic: str,
    numbers: Iterable[int],
    cause: _Cause,
    of: str = "",
) -> Finding:
    """Return the finding of partitions that nobody is up to date with; `of` names stages."""
    numbers = tuple(sorted(numbers))
    is_own = topic.startswith("signals.")
    verb = "ranks them" if topic == SHARDS else "writes it" if is_own else "reads it"
    waiting = 0 if inst is None or is_own else sum(_waiting(inst, topic, n) for n in numbers)
    wait = f"; {waiting:,} records wait" if waiting else ""
    beats = [beat for beat in running.beats if beat.instance.instance == cause.instance]
    beat = max(beats, key=lambda one: one.at_ms, default=None)
    if beat is None:
        what = f"nobody {verb}{wait}"
        way_out = f"start a worker that runs all stages: `feedmill worker` ({_DOCS}#workers)"
        if is_own:
            what, way_out = "no program writes it", f"start its program ({_OWN})"
        elif topic == SHARDS:
            way_out = f"start a worker that ranks ({_DOCS}#workers); `feedmill groups describe`"
            way_out += " names members that are no workers"
    elif cause.kind == "late":
        lags = [at for at in beat.instance.partitions if at.topic == topic]
        lags = [at for at in lags if at.partition in numbers]
        late, lag = max(at.late_ms for at in lags), sum(at.lag for at in lags)
        what = f"{cause.instance} is {seconds(late)} behind, {lag:,} records"
        way_out = f"see `feedmill latency`, or start one more worker ({_DOCS}#workers)"
        if cause.why:
            what += f", {cause.why}"
            way_out = f"`feedmill topics abort-hanging --dry-run` lists it ({_DOCS}#recovery)"
    elif cause.kind == "not ready":
        what, way_out = f"{cause.instance} is not ready: {cause.why}", f"see {_DOCS}#recovery"
    else:
        what = f"{_silence(beat, running.now_ms)}, and nobody else {verb}{wait}"
        way_out = _way_out_of_silence(beat.instance)
    # One that is late works.
    severity: Literal["wrong", "warn"] = "warn" if cause.kind == "late" else "wrong"
    where = f"{topic}[{ranges(numbers)}]{of}"
    return Finding(severity, what, where, way_out, topic, numbers, cause.instance, is_stale=True)


def _waiting(inst: Installation, topic: str, partition: int) -> int:
    """Return how many records the group has not committed that is least behind."""
    at = (topic, partition)
    bounds = {tuple(place): found for place, found in inst.bounds.items()}
    offsets = [{tuple(p): n for p, n in group.offsets.items()} for group in inst.groups.values()]
    left = [max(0, bounds[at].end - found[at]) for found in offsets if at in found and at in bounds]
    return min(left, default=0)


def _unanswered(inst: Installation, named: set[str]) -> Iterator[Finding]:
    """Find programs that say that they are ready, and do not answer posts."""
    for name in _needed(inst):
        topic = f"signals.{name}"
        lacking = {n: count for (signal, n), count in inst.unanswered.items() if signal == name}
        if not lacking or topic in named:
            continue
        ones = [beat.instance for beat in inst.running.living if beat.instance.stage == name]
        who = ", ".join(f"{one.instance} (pid {one.pid} on {one.host})" for one in ones)
        numbers = tuple(sorted(lacking))
        yield Finding(
            "wrong",
            f"{sum(lacking.values())} of the newest posts have none after 5 s; {who} reports that"
            " it is ready",
            f"{topic}[{ranges(numbers)}]",
            f"see its log, and start it again ({_OWN})",
            *(topic, numbers, ones[0].instance if ones else ""),
            is_stale=True,
        )


def _partitions(instance: Instance) -> dict[tuple[str, int], PartitionLag]:
    return {(one.topic, one.partition): one for one in instance.partitions}


def _silence(beat: Beat, now_ms: int) -> str:
    one = beat.instance
    age = seconds(now_ms - beat.at_ms)
    return f"{one.instance} (pid {one.pid} on {one.host}) has been silent for {age}"


def _way_out_of_silence(one: Instance) -> str:
    again = "start it again" if one.group else f"start its program again ({_OWN})"
    return f"on {one.host} see whether pid {one.pid} lives; if it stands still, kill it; {again}"


def _instances(running: Running, named: set[str]) -> Iterator[Finding]:
    """Find instances that are silent or not ready and were not named yet."""
    living = {beat.instance.instance for beat in running.living}
    for beat in {one.instance.instance: one for one in running.silent}.values():
        # The same process may still report as another stage.
        is_known = beat.instance.instance in named | living
        age_ms = running.now_ms - beat.at_ms
        if not is_known and age_ms <= _NAMED_FOR_MS:
            one = beat.instance
            what = f"silent for {seconds(age_ms)} (pid {one.pid})"
            what += "; others have what it had" if one.group else ""
            yield Finding("warn", what, _who(one), _way_out_of_silence(one), instance=one.instance)
    for one in {beat.instance.instance: beat.instance for beat in running.living}.values():
        if one.ready or (one.instance in named and one.instance not in running.settling):
            continue
        what, way_out = f"not ready: {one.reason or 'it does not say why'}", _DOCS + "#recovery"
        severity: Literal["wrong", "warn"] = "wrong"
        if one.instance in running.settling:
            what, way_out = f"{running.settling[one.instance]} ({one.reason})", "wait"
            severity = "warn"
        yield Finding(severity, what, _who(one), way_out, instance=one.instance)


def _who(one: Instance) -> str:
    return f"instance {one.instance} on {one.host}"


def feeds(inst: Installation) -> Iterator[Finding]:
    """While workers run, there are feeds under our prefix, and each is fresh."""
    if inst.running.has_workers:
        yield from _excused(_feeds(inst), inst.running)


def _feeds(inst: Installation) -> Iterator[Finding]:
    by_state: dict[str, list[FeedState]] = defaultdict(list)
    for feed in inst.feeds:
        by_state[feed.state].append(feed)
    way_out = "mend what else is named; else see `feedmill latency`, and the ranking worker's log"
    if not inst.feeds:
        where = f"Redis at {inst.environment.redis_address}"
        if others := _other_prefixes(inst):
            where += f", which has feeds under {' and '.join(map(repr, others[:3]))}"
            way_out = "give this process and all workers the same FEEDMILL_REDIS (its database,"
            way_out += " too) and FEEDMILL_REDIS_PREFIX"
        what = f"no feed under the prefix {inst.environment.redis_prefix!r}"
        yield Finding("wrong", what, where, way_out, is_stale=True)
    if stale := by_state["stale"]:
        names = sorted((feed.feed for feed in stale), key=lambda name: (name != "global", name))
        rest = len(names) - _NAMED_FEEDS
        more = f" and {rest} more" if rest > 0 else ""
        for_ms = max(-feed.fresh_for_ms for feed in stale)
        what = f"{len(stale)} of {len(inst.feeds)} are stale, for up to {seconds(for_ms)}"
        where = f"feeds {', '.join(names[:_NAMED_FEEDS])}{more}"
        yield Finding("wrong", what, where, way_out, is_stale=True)
    if starting := by_state["starting"]:
        what = f"{len(starting)} are not fresh yet: the worker that ranks is new"
        yield Finding("warn", what, "feeds", "wait for a minute")


def _other_prefixes(inst: Installation) -> list[str]:
    """Return other prefixes under which Redis has the feed `global`, by a look at some keys."""
    end = "feed:{global}:info"
    found: set[str] = set()
    for node in inst.redis_nodes:
        cursor = 0
        for _ in range(20):
            cursor, names = node.client.scan(cursor, f"*{end}", 1000)
            found |= {name.removesuffix(end) for name in names}
            if not cursor:
                break
    return sorted(found)


# --- instances ---------------------------------------------------------------------------------


def builds(inst: Installation) -> Iterator[Finding]:
    """All workers, and this process, are of one build."""
    by_build: dict[str, set[str]] = defaultdict(set)
    for beat in inst.running.living:
        if beat.instance.group:
            by_build[beat.instance.build].add(_who(beat.instance))
    own = importlib.metadata.version("feedmill")
    if by_build and set(by_build) != {own}:
        said = ", ".join(f"{build} in {len(those)}" for build, those in sorted(by_build.items()))
        others = sorted(name for build, those in by_build.items() if build != own for name in those)
        yield Finding(
            "warn",
            f"builds differ: {said} workers, {own} here. They may judge, and refuse settings,"
            " differently",
            others[0],
            "install one build everywhere, `pip install --upgrade feedmill`, and restart the"
            " workers one after the other",
        )


def instance_names(inst: Installation) -> Iterator[Finding]:
    """No two processes have the same FEEDMILL_INSTANCE."""
    for beat in inst.running.living:
        those = [key for key, _ in groupby((one.host, one.pid) for _, one in beat.recent)]
        # A restart is a change; who changes back is a second process.
        if len(those) > len(set(those)):
            name = beat.instance.instance
            said = " and ".join(f"{host} (pid {pid})" for host, pid in sorted(set(those)))
            yield Finding(
                "wrong",
                f"two processes are called {name}: {said}. Each throws the other out of the group",
                f"FEEDMILL_INSTANCE={name}",
                "stop one, and start it with a FEEDMILL_INSTANCE of its own",
                instance=name,
            )
            return


def instance_clocks(inst: Installation) -> Iterator[Finding]:
    """Instances know the time of the brokers that stamp their heartbeats."""
    for beat in {beat.instance.instance: beat for beat in inst.running.living}.values():
        one, off_ms = beat.instance, beat.instance.at_ms - beat.at_ms
        if abs(off_ms) > _CLOCK_MS:
            side = "ahead of" if off_ms > 0 else "behind"
            yield Finding(
                "warn",
                f"its time is {seconds(abs(off_ms))} {side} the clock of the brokers",
                _who(one),
                "set its clock (NTP, chrony) or that of the broker; a worker keeps its time where"
                " the broker's jumped by more than two hours: restart all workers to follow it"
                f" ({_DOCS}#recovery)",
                instance=one.instance,
                is_stale=bool(one.group),
            )


def host_clock(inst: Installation) -> Iterator[Finding]:
    """The clock of this host is near that of the brokers, which stamp heartbeats."""
    newest_ms = max((one.at_ms for one in inst.newest("instances", 1)), default=0)
    old_ms = inst.now_ms() - newest_ms
    where = f"Kafka at {inst.environment.kafka}"
    if newest_ms and old_ms < -CLOCK_TOLERANCE_MS:
        yield Finding(
            "warn",
            f"the clock of this host is {seconds(-old_ms)} behind that of the brokers, or theirs is"
            " ahead",
            where,
            "compare both with another clock, and set the wrong one (NTP, chrony). Windows and"
            " freshness go by the brokers' clocks",
        )
    elif old_ms > RECENT_MS + CLOCK_TOLERANCE_MS and any(g.members for g in inst.groups.values()):
        yield Finding(
            "wrong",
            "groups of workers have members, and nobody has written a heartbeat for"
            f" {old_ms // 1000:,} s by the clock of this host",
            where,
            "restart workers that stand still (their logs, `/readyz`); or set the clock of this"
            " host (NTP), if it is ahead",
        )


def refused_settings(inst: Installation) -> Iterator[Finding]:
    """No instance refuses the last record of a setting."""
    refusing: dict[tuple[str, int], tuple[str, str]] = {}
    for one in (beat.instance for beat in inst.running.living):
        refusing |= {(of.key, of.offset): (of.reason, one.instance) for of in one.refused}
    last = {entry.key: entry.offset for entry in inst.config.entries} if refusing else {}
    for (key, offset), (reason, instance) in refusing.items():
        if last.get(key) == offset:
            yield Finding(
                "wrong",
                f"{instance} refuses it: {reason}",
                f"setting `{key}`, offset {offset}",
                f"`feedmill config history {key}` shows it: set it again, or `feedmill config"
                f" rollback {key}`; start workers with the same build and FEEDMILL_SIGNALS",
                *("config", (0,), instance),
            )


def refused_writes(inst: Installation) -> Iterator[Finding]:
    """Redis took every write of the last minute."""
    for beat in inst.running.living:
        if beat.refused_writes:
            yield Finding(
                "warn",
                f"in the last minute Redis refused {beat.refused_writes:,} of its writes: a newer"
                " owner has the feeds",
                _who(beat.instance),
                "see whether another installation writes the same keys (--redis-prefix)",
                instance=beat.instance.instance,
            )


def refused_releases(inst: Installation) -> Iterator[Finding]:
    """No instance refuses the last record of a model or a list, or waits for its store."""
    found: dict[tuple[str, int], tuple[str, Instance]] = {}
    for one in (beat.instance for beat in inst.running.living):
        for state, those in (
            ("refused", one.refused_releases),
            ("waits for the store", one.waiting_releases),
        ):
            found |= {(r.model, r.offset): (f"{state}: {r.reason}", one) for r in those}
    releases = inst.releases if found else ()
    last = {(one.key or b"").decode("utf-8", "replace"): one.offset for one in releases}
    for (key, offset), (what, one) in found.items():
        if last.get(key) == offset:
            yield Finding(
                "warn" if "/" in key else "wrong",
                what,
                f"release of {key}, {_who(one)}",
                "give the store of that worker the artifact, and release it again (`feedmill models"
                f" health` says where it runs); or {inst.command(taking_back(key))}",
                *("models", (0,), one.instance),
            )


def taking_back(key: str) -> str:
    """Return the command that takes back the last record of a key of `models`."""
    kind, _, name = key.partition("/")
    commands = {
        "list": f"lists rollback {name.replace('/', ' ')}",
        "shadow": f"models shadow {name} --stop",
    }
    return commands.get(kind, f"models rollback {name or kind}")


def model_versions(inst: Installation) -> Iterator[Finding]:
    """Instances that know the same releases run the same version of each model."""
    running = (beat.instance for beat in inst.running.living)
    for model, said in differing_versions(running).items():
        yield Finding(
            "wrong",
            f"it has different versions, {said}: which judges a post depends on its partition",
            f"model {model}",
            "start all workers by the same build with the same FEEDMILL_MODELS, which has what is"
            f" released: {inst.command('models health')}",
        )


def capped_sources(inst: Installation) -> Iterator[Finding]:
    """No model flags so much of a community or an author that it is held back."""
    for one in (beat.instance for beat in inst.running.living):
        rest = one.capped_count - len(one.capped_sources)
        sources = ", ".join(one.capped_sources) + (f" and {rest} more" if rest > 0 else "")
        what = f"{one.stage} flags too much of {sources}: of authors it hides, else demotes"
        way_out = "look at some of their posts: an attack, or a wrong filter; `feedmill"
        way_out += f" override allow author:<id>` frees an honest account ({_DOCS}#alarms)"
        if one.stage == "engagement":
            what = f"many hides and reports that are not believed: {sources}"
            way_out = f"look at some of their posts, and at who reports them ({_DOCS}#alarms)"
        if one.capped_count:
            yield Finding("warn", what, _who(one), way_out, instance=one.instance)


def drift(inst: Installation) -> Iterator[Finding]:
    """What models read and say is as before."""
    for one in (beat.instance for beat in inst.running.living):
        for model in one.drift:
            if model.state == "drift":
                what = f"{model.quantity} drifts: {model.reason}"
                way_out = f"{inst.command('models health')}; look at recent posts"
                yield Finding("warn", what, f"model {model.model}", way_out)


def dead_letters(inst: Installation) -> Iterator[Finding]:
    """No record of the last hour broke the contract, or it was sent again."""
    rejected: dict[str, int] = defaultdict(int)
    for one in inst.letters:
        rejected[one.rejected.topic] += max(1, one.records)
    if rejected:
        last = inst.letters[-1]
        of = ", ".join(f"{count:,} of {topic}" for topic, count in sorted(rejected.items()))
        yield Finding(
            "warn",
            f"in the last hour {sum(rejected.values()):,} records broke the contract and were"
            f" refused: {of}; the last because: {last.error}",
            f"dead letter {last.id}",
            f"{inst.command('dead-letters list --since 1h --counts')} says why; correct the"
            f" producer, then {inst.command(f'dead-letters replay {last.id}')}, with --value for a"
            " mended one",
        )


# --- groups ------------------------------------------------------------------------------------


def members(inst: Installation) -> Iterator[Finding]:
    """Every group that has read has a member, as long as somebody should run."""
    running = {beat.instance.stage for beat in inst.running.living}
    # Of workers that ended without a word `engine` tells.
    heard = {beat.instance.group for beat in inst.running.beats}
    for name, group in inst.groups.items():
        full = inst.environment.group(name)
        if group.members or not group.offsets or full in heard:
            continue
        own = _stages(inst, name, group)
        where = f"group `{full}`"
        if running and own <= running:
            way_out = f"`kafka-consumer-groups.sh --bootstrap-server {inst.environment.kafka}"
            way_out += f" --delete --group {full}` removes what is left of it"
            yield Finding(
                "warn", "it has no members any more: others run its stages", where, way_out
            )
            continue
        ends = inst.bounds
        waiting = sum(max(0, ends[at].end - n) for at, n in group.offsets.items() if at in ends)
        named = (
            "" if own == {*stages_of(inst.environment.signals)} else " ".join(["", *sorted(own)])
        )
        what = "no members: no worker runs"
        if waiting:
            what = f"no members, and {waiting:,} records wait: nobody judges and ranks"
        way_out = f"start its workers: {inst.command(f'worker{named}')}, or `feedmill run`"
        yield Finding("wrong" if waiting else "warn", what, where, way_out)


def _stages(inst: Installation, name: str, group: Group) -> set[str]:
    """Return the stages of a group: those after which it is called, else all.

    One that never judged has rankers alone.
    """
    if named := set(name.split("-")[1:]):
        return named
    has_judged = any(at.topic == POSTS for at in group.offsets)
    return set(stages_of(inst.environment.signals)) if has_judged else {COMBINER}


def strangers(inst: Installation) -> Iterator[Finding]:
    """Every member of a group is a worker."""
    known = {beat.instance.instance for beat in inst.running.beats}
    for full, group in ((inst.environment.group(name), one) for name, one in inst.groups.items()):
        for member in group.members:
            if member.client_id not in known:
                yield Finding(
                    "wrong",
                    f"a member, {member.client_id} on {member.host}, writes no heartbeats: it is no"
                    " worker, or stands still, and its partitions are judged by nobody",
                    f"group `{full}`",
                    f"stop it, or give it another group.id than {full}; a worker that just starts"
                    " is known within seconds",
                )


def positions(inst: Installation) -> Iterator[Finding]:
    """The positions of groups are within what topics hold."""
    for name, group in inst.groups.items():
        for at, offset in sorted(group.offsets.items()):
            bounds = inst.bounds.get(at)
            if bounds is None or bounds.first <= offset <= bounds.end:
                continue
            is_before = offset < bounds.first
            to = "earliest" if is_before else "latest"
            found = "records that it had not read are gone" if is_before else "the log was cut off"
            words = f"groups reset-offsets {name} {at.topic}:{at.partition} --to {to}"
            yield Finding(
                "wrong",
                f"the group is at offset {offset}, and the partition has {bounds.first} to"
                f" {bounds.end}: {found}, and its worker stands still",
                f"{inst.environment.topic(at.topic)}[{at.partition}], group"
                f" `{inst.environment.group(name)}`",
                f"stop the workers of the group, then {inst.command(words)}",
            )


def hanging_transactions(inst: Installation) -> Iterator[Finding]:
    """No transaction hangs."""
    if found := [one for one in _open(inst) if one.is_hanging]:
        yield Finding(
            "wrong",
            f"{len(found)} transactions never end: who reads what is committed waits behind them",
            some_of([f"{one.topic}[{one.partition}]" for one in found]),
            inst.command("topics abort-hanging"),
        )


def open_transactions(inst: Installation) -> Iterator[Finding]:
    """No transaction of others is open for a minute on what every worker reads committed."""
    committed = set(map(inst.environment.topic, _COMMITTED))
    for one in _open(inst):
        if one.topic in committed and not one.is_hanging:
            quiet_ms = inst.now_ms() - one.wrote_at_ms
            yield Finding(
                "warn",
                f"a transaction is open from offset {one.offset} on, and has written nothing for"
                f" {quiet_ms // 1000:,} s: what stands behind it waits",
                f"{one.topic}[{one.partition}], producer {one.producer_id}",
                f"have its writer commit or abort: {WAY_OUT}",
            )


def _open(inst: Installation) -> list[OpenTransaction]:
    if not inst.counts:
        return []
    now_ms = inst.now_ms()
    return inst.once("open", lambda: find_open(inst.environment, inst.admin, now_ms))
