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
from feedmill.operations.releases import differing_versions
from feedmill.operations.status.finding import Finding, ranges, seconds, some_of
from feedmill.operations.status.heartbeats import Beat, Running
from feedmill.operations.status.installation import CLOCK_TOLERANCE_MS, FeedState, Installation
from feedmill.operations.worker_groups import Group
from feedmill.streams.flow import COMBINER, stages_of
from feedmill.streams.kafka.assignment import POSTS, SHARDS
from feedmill.streams.kafka.batches import TopicPartition
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
    found = list(_excused(_unserved(inst), running)) if running.has_workers else []
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
        name, instance = beat.instance.instance, beat.instance
        if beat in running.living:
            lag = _partitions(instance).get(at)
            if lag is not None and lag.late_ms:
                return _Cause("late", name, lag.why)
            if not instance.ready:
                return _Cause("not ready", name, instance.reason or "it does not say why")
    if not having:
        return _Cause("nobody")
    return _Cause("silent", max(having, key=lambda beat: beat.at_ms).instance.instance)


def _unserved(inst: Installation) -> Iterator[Finding]:
    """Find what feeds depend on and nobody is up to date with, as the worker that ranks does."""
    running, own, needed = inst.running, inst.environment.signals.own, _needed(inst)
    freshness = FeedFreshness(inst.partitions, "")
    for beat in running.living:
        freshness.heartbeat(beat.instance, beat.at_ms)
    # By topic and cause, then by stage the partitions.
    lacking: dict[tuple[str, _Cause], dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    # Of a program that says that it is ready, `_unanswered` tells.
    ready = {beat.instance.stage for beat in running.living if beat.instance.ready}
    dead = {signal for signal, _ in inst.unanswered} - ready
    for stage in (name for name in needed if name not in own or name in dead):
        of_stage = [beat for beat in running.beats if beat.instance.stage == stage]
        for at in freshness.unread(stage):
            having = [b for b in of_stage if stage in own or at in _partitions(b.instance)]
            topic = f"signals.{stage}" if stage in own else at[0]
            lacking[topic, _cause(running, having, at)][stage].add(at[1])
    for shard, having in _unranked(running).items():
        lacking[SHARDS, _cause(running, having, (SHARDS, shard))][COMBINER].add(shard)
    of_workers = [name for name in needed if name not in own]
    for (topic, cause), by_stage in lacking.items():
        missing = [name for name in of_workers if name in by_stage]
        is_of_all = topic == "engagements" or len(missing) == len(of_workers)
        of = "" if is_of_all or not missing else f" for {', '.join(missing)}"
        numbers = tuple(sorted(set[int]().union(*by_stage.values())))
        what, way_out = _texts(inst, topic, numbers, cause)
        yield Finding(
            # One that is late works.
            "warn" if cause.kind == "late" else "wrong",
            what,
            f"{topic}[{ranges(numbers)}]{of}",
            way_out,
            *(topic, numbers, cause.instance),
            is_stale=True,
        )


def _needed(inst: Installation) -> tuple[str, ...]:
    """Return the stages without whose signals feeds are not fresh; all, where no feed says so."""
    feeds = inst.if_known(lambda one: one.feeds) or ()
    behind = frozenset[str]().union(*(feed.stages for feed in feeds))
    stages = dict.fromkeys(map(stage_of, inst.environment.signals.all))
    return tuple(stage for stage in stages if stage in behind or not feeds)


def _unranked(running: Running) -> dict[int, list[Beat]]:
    """Return the shards that nobody ranks who can, and who should; no heartbeat calls them late."""
    rankers = [beat for beat in running.beats if beat.instance.stage == COMBINER]
    living = [beat for beat in rankers if beat in running.living]
    free = set(ALL_SHARDS).difference(*(b.instance.shards for b in living if b.instance.ready))
    found = {n: [beat for beat in rankers if n in beat.instance.shards] for n in sorted(free)}
    # One that is not ready may be about to claim it.
    late = [beat for beat in living if not beat.instance.ready]
    return {n: [b for b in those if b in living] or late or those for n, those in found.items()}


def _texts(
    inst: Installation, topic: str, numbers: Sequence[int], cause: _Cause
) -> tuple[str, str]:
    """Return what is wrong with partitions that nobody is up to date with, and the way out."""
    verb = {SHARDS: "ranks them"}.get(topic, "reads it")
    verb = "writes it" if topic.startswith("signals.") else verb
    waiting = sum(_waiting(inst, TopicPartition(topic, number)) for number in numbers)
    wait = f"; {waiting:,} records wait" if waiting else ""
    beats = [beat for beat in inst.running.beats if beat.instance.instance == cause.instance]
    beat = max(beats, key=lambda one: one.at_ms, default=None)
    if beat is None and verb == "writes it":
        return "no program writes it", f"start its program ({_OWN})"
    if beat is None:
        way_out = f"start a worker that does: `feedmill worker` ({_DOCS}#workers);"
        way_out += " `feedmill groups describe` names members that are no workers"
        return f"nobody {verb}{wait}", way_out
    if cause.kind == "not ready":
        return f"{cause.instance} is not ready: {cause.why}", f"see {_DOCS}#recovery"
    if cause.kind == "silent":
        silent, way_out = _silence(beat, inst.running.now_ms)
        return f"{_process(beat.instance)} {silent}, and nobody else {verb}{wait}", way_out
    lags = [a for a in beat.instance.partitions if a.topic == topic and a.partition in numbers]
    what = f"{cause.instance} is {seconds(max(at.late_ms for at in lags))} behind,"
    what += f" {sum(at.lag for at in lags):,} records"
    if cause.why:
        way_out = f"`feedmill topics abort-hanging --dry-run` lists it ({_DOCS}#recovery)"
        return f"{what}, {cause.why}", way_out
    return what, f"see `feedmill latency`, or start one more worker ({_DOCS}#workers)"


def _waiting(inst: Installation, at: TopicPartition) -> int:
    """Return how many records the group has not committed that is least behind."""
    offsets = [group.offsets[at] for group in inst.groups.values() if at in group.offsets]
    return max(0, inst.bounds[at].end - max(offsets)) if offsets and at in inst.bounds else 0


def _unanswered(inst: Installation, named: set[str]) -> Iterator[Finding]:
    """Find programs that say that they are ready, and do not answer posts."""
    for name in _needed(inst):
        topic = f"signals.{name}"
        lacking = {n: count for (signal, n), count in inst.unanswered.items() if signal == name}
        if not lacking or topic in named:
            continue
        programs = [found for found in inst.running.instances if found.stage == name]
        numbers = tuple(sorted(lacking))
        yield Finding(
            "wrong",
            f"{sum(lacking.values())} of the newest posts have none after 5 s;"
            f" {', '.join(map(_process, programs))} reports that it is ready",
            f"{topic}[{ranges(numbers)}]",
            f"see its log, and start it again ({_OWN})",
            *(topic, numbers, programs[0].instance if programs else ""),
            is_stale=True,
        )


def _partitions(instance: Instance) -> dict[tuple[str, int], PartitionLag]:
    return {(at.topic, at.partition): at for at in instance.partitions}


def _process(instance: Instance) -> str:
    return f"{instance.instance} (pid {instance.pid} on {instance.host})"


def _silence(beat: Beat, now_ms: int) -> tuple[str, str]:
    """Return for how long an instance has been silent, and the way out."""
    found = beat.instance
    again = "start it again" if found.group else f"start its program again ({_OWN})"
    way_out = f"on {found.host} see whether pid {found.pid} lives; if it stands still, kill it;"
    return f"has been silent for {seconds(now_ms - beat.at_ms)}", f"{way_out} {again}"


def _instances(running: Running, named: set[str]) -> Iterator[Finding]:
    """Find instances that are silent or not ready and were not named yet."""
    living = {found.instance: found for found in running.instances}
    for name, beat in {beat.instance.instance: beat for beat in running.silent}.items():
        # The same process may still report as another stage.
        is_known = name in named or name in living
        if not is_known and running.now_ms - beat.at_ms <= _NAMED_FOR_MS:
            silent, way_out = _silence(beat, running.now_ms)
            others = "; others have what it had" if beat.instance.group else ""
            where = f"instance {_process(beat.instance)}"
            yield Finding("warn", silent + others, where, way_out, instance=name)
    for name, found in living.items():
        if not found.ready and name in running.settling:
            what = f"{running.settling[name]} ({found.reason})"
            yield Finding("warn", what, _who(found), "wait", instance=name)
        elif not found.ready and name not in named:
            what = f"not ready: {found.reason or 'it does not say why'}"
            yield Finding("wrong", what, _who(found), f"see {_DOCS}#recovery", instance=name)


def _who(instance: Instance) -> str:
    return f"instance {instance.instance} on {instance.host}"


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
        those = [
            key for key, _ in groupby((instance.host, instance.pid) for _, instance in beat.recent)
        ]
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
        instance, off_ms = beat.instance, beat.instance.at_ms - beat.at_ms
        if abs(off_ms) > _CLOCK_MS:
            side = "ahead of" if off_ms > 0 else "behind"
            yield Finding(
                "warn",
                f"its time is {seconds(abs(off_ms))} {side} the clock of the brokers",
                _who(instance),
                "set its clock (NTP, chrony) or that of the broker; a worker keeps its time where"
                " the broker's jumped by more than two hours: restart all workers to follow it"
                f" ({_DOCS}#recovery)",
                instance=instance.instance,
                is_stale=bool(instance.group),
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
    for instance in inst.running.instances:
        refusing |= {(of.key, of.offset): (of.reason, instance.instance) for of in instance.refused}
    last = {entry.key: entry.offset for entry in inst.config.entries} if refusing else {}
    for (key, offset), (reason, name) in refusing.items():
        if last.get(key) == offset:
            yield Finding(
                "wrong",
                f"{name} refuses it: {reason}",
                f"setting `{key}`, offset {offset}",
                f"`feedmill config history {key}` shows it: set it again, or `feedmill config"
                f" rollback {key}`; start workers with the same build and FEEDMILL_SIGNALS",
                *("config", (0,), name),
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
    for instance in inst.running.instances:
        for state, those in (
            ("refused", instance.refused_releases),
            ("waits for the store", instance.waiting_releases),
        ):
            found |= {(r.model, r.offset): (f"{state}: {r.reason}", instance) for r in those}
    releases = inst.releases if found else ()
    last = {
        (instance.key or b"").decode("utf-8", "replace"): instance.offset for instance in releases
    }
    for (key, offset), (what, instance) in found.items():
        if last.get(key) == offset:
            yield Finding(
                "warn" if "/" in key else "wrong",
                what,
                f"release of {key}, {_who(instance)}",
                "give the store of that worker the artifact, and release it again (`feedmill models"
                f" health` says where it runs); or {inst.command(taking_back(key))}",
                *("models", (0,), instance.instance),
            )


def taking_back(key: str) -> str:
    """Return the command that takes back the last record of a key of `models`."""
    kind, _, name = key.partition("/")
    if kind == "list":
        return f"lists rollback {name.replace('/', ' ')}"
    return f"models rollback {name or kind}"


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
    for instance in inst.running.instances:
        rest = instance.capped_count - len(instance.capped_sources)
        sources = ", ".join(instance.capped_sources) + (f" and {rest} more" if rest > 0 else "")
        what = f"{instance.stage} flags too much of {sources}: of authors it hides, else demotes"
        way_out = "look at some of their posts: an attack, or a wrong filter; `feedmill"
        way_out += f" override allow author:<id>` frees an honest account ({_DOCS}#alarms)"
        if instance.stage == "engagement":
            what = f"many hides and reports that are not believed: {sources}"
            way_out = f"look at some of their posts, and at who reports them ({_DOCS}#alarms)"
        if instance.capped_count:
            yield Finding("warn", what, _who(instance), way_out, instance=instance.instance)


def drift(inst: Installation) -> Iterator[Finding]:
    """What models read and say is as before."""
    for instance in inst.running.instances:
        for model in instance.drift:
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
