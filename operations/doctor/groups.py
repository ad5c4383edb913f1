"""What is wrong with the consumer groups of workers, their positions, and what was rejected."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from kafka import TopicPartition as KafkaPartition
from kafka.admin import OffsetSpec

from feedmill.operations.doctor.finding import Finding, some_of
from feedmill.operations.doctor.installation import CLOCK_TOLERANCE_MS, Installation
from feedmill.operations.hanging_transactions import HangingTransaction, find_hanging
from feedmill.operations.worker_groups import Group
from feedmill.streams.flow import COMBINER, stages_of
from feedmill.streams.kafka.assignment import POSTS, SHARDS
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.read_progress import WAY_OUT
from feedmill.streams.kafka.topic_reader import TopicRecord
from feedmill.streams.kafka.topic_table import MINUTE_MS
from feedmill.streams.settings.instances import RECENT_MS

_INPUTS = (POSTS, "engagements")
# What people and the product write, and every worker reads committed.
_COMMITTED = (*_INPUTS, "config", "overrides", "models")
_LATE_MS = MINUTE_MS
_LETTERS = 100
_RECENT_LETTERS_MS = 10 * MINUTE_MS


def members(inst: Installation) -> Iterator[Finding]:
    """Every group that has read has a member, as long as somebody should run."""
    running = {one.stage for one in inst.instances.values()}
    for name, group in inst.groups.items():
        if group.members or not group.offsets:
            continue
        own = _stages(inst, name)
        full = inst.environment.group(name)
        if running and own <= running:
            yield Finding(
                "members",
                "warn",
                "the group has no members any more: others run its stages",
                f"group `{full}`",
                f"`kafka-consumer-groups.sh --bootstrap-server {inst.environment.kafka} --delete"
                f" --group {full}` removes what is left of it",
            )
            continue
        waiting = _waiting(inst, group)
        named = (
            " ".join(["", *sorted(own)]) if own != set(stages_of(inst.environment.signals)) else ""
        )
        yield Finding(
            "members",
            "wrong" if waiting else "warn",
            f"the group has no members, and {waiting:,} records wait: nobody judges and ranks"
            if waiting
            else "the group has no members: no worker runs",
            f"group `{full}`",
            f"start its workers: {inst.command(f'worker{named}')}, or `feedmill run`",
        )


def strangers(inst: Installation) -> Iterator[Finding]:
    """Every member of a group is a worker."""
    known = {one.instance for one in inst.instances.values()}
    for name, group in inst.groups.items():
        for member in group.members:
            if member.client_id not in known:
                full = inst.environment.group(name)
                yield Finding(
                    "strangers",
                    "wrong",
                    f"a member, {member.client_id} on {member.host}, writes no heartbeats: it is no"
                    " worker, or stands still, and its partitions are judged by nobody",
                    f"group `{full}`",
                    f"stop it, or give it another group.id than {full}; a worker that just starts"
                    " is known within seconds",
                )


def owners(inst: Installation) -> Iterator[Finding]:
    """Every partition of `posts` has an owner that judges it, every shard one that ranks."""
    for name, group in inst.groups.items():
        full = inst.environment.group(name)
        elsewhere = {one.stage for one in inst.instances.values() if one.group != full}
        judging = _stages(inst, name) - {COMBINER}
        for topic, verb, stages in ((POSTS, "judges", judging), (SHARDS, "ranks", {COMBINER})):
            # A group owns what it has committed, until all of that is another group's.
            is_own = any(at.topic == topic for at in group.offsets) and not stages <= elsewhere
            if group.state != "Stable" or topic not in inst.topics or not is_own:
                continue
            owned = frozenset[int]().union(*(member.numbers(topic) for member in group.members))
            free = sorted(set(range(inst.topics[topic].partitions)) - owned)
            if free:
                names = some_of([f"{inst.environment.topic(topic)}[{n}]" for n in free])
                yield Finding(
                    "owners",
                    "wrong",
                    f"nobody {verb} {names}, though the group has {len(group.members)} members",
                    f"group `{full}`",
                    "stop members that are no workers, and restart the workers of the group",
                )


def positions(inst: Installation) -> Iterator[Finding]:
    """The positions of groups are within what topics hold."""
    begins, ends = _bounds(inst)
    for name, group in inst.groups.items():
        for (topic, partition), offset in sorted(group.offsets.items()):
            at = TopicPartition(topic, partition)
            if at not in ends or begins[at] <= offset <= ends[at]:
                continue
            is_before = offset < begins[at]
            to = "earliest" if is_before else "latest"
            found = "records that it had not read are gone" if is_before else "the log was cut off"
            words = f"groups reset-offsets {name} {topic}:{partition} --to {to}"
            yield Finding(
                "positions",
                "wrong",
                f"the group is at offset {offset}, and the partition has {begins[at]} to"
                f" {ends[at]}: {found}, and its worker stands still",
                f"{inst.environment.topic(topic)}[{partition}], group"
                f" `{inst.environment.group(name)}`",
                f"stop the workers of the group, then {inst.command(words)}",
            )


def waiting_records(inst: Installation) -> Iterator[Finding]:
    """No record waits for longer than a minute while workers run."""
    newest_ms = max((one.at_ms for one in inst.heartbeats), default=inst.now_ms())
    begins, ends = _bounds(inst)
    late = _offsets(inst, newest_ms - _LATE_MS)
    for name, group in inst.groups.items():
        if not group.members:
            continue
        behind = {}
        for at, first_recent in late.items():
            upto = first_recent if first_recent >= 0 else ends[at]
            if at in group.offsets and begins[at] <= group.offsets[at] < upto:
                behind[at] = upto - group.offsets[at]
        if behind:
            worst = max(behind, key=lambda at: behind[at])
            yield Finding(
                "waiting records",
                "warn",
                f"{sum(behind.values()):,} records wait for more than a minute, most of them in"
                f" {inst.environment.topic(worst[0])}[{worst[1]}]",
                f"group `{inst.environment.group(name)}`",
                f"`feedmill latency` shows where the time goes; {inst.command('worker')} starts one"
                " more, which takes a share of the partitions",
            )


def silent_instances(inst: Installation) -> Iterator[Finding]:
    """Where groups have members, somebody writes heartbeats."""
    newest_ms = max((one.at_ms for one in inst.heartbeats), default=0)
    silent_ms = inst.now_ms() - newest_ms
    joined = [name for name, group in inst.groups.items() if group.members]
    if joined and silent_ms > RECENT_MS + CLOCK_TOLERANCE_MS:
        yield Finding(
            "silent instances",
            "wrong",
            f"groups have members, and nobody has written a heartbeat for {silent_ms // 1000:,} s"
            " by the clock of this host",
            f"groups {some_of([inst.environment.group(name) for name in joined])}",
            "restart workers that stand still (their logs, `/readyz`); or set the clock of this"
            " host (NTP), if it is ahead",
        )


def hanging_transactions(inst: Installation) -> Iterator[Finding]:
    """No transaction hangs."""
    if found := _hanging(inst):
        places = [f"{one.topic}[{one.partition}]" for one in found]
        yield Finding(
            "hanging transactions",
            "wrong",
            f"{len(found)} transactions never end: who reads what is committed waits behind them",
            some_of(places),
            inst.command("topics abort-hanging"),
        )


def open_transactions(inst: Installation) -> Iterator[Finding]:
    """No transaction of others is open for a minute on what every worker reads committed."""
    known = {(one.topic, one.partition, one.producer_id) for one in _hanging(inst)}
    places = [
        KafkaPartition(inst.environment.topic(name), n)
        for name in _COMMITTED
        if name in inst.topics
        for n in range(inst.topics[name].partitions)
    ]
    described = inst.admin.describe_producers(places) if places else {}
    for at, state in sorted(described.items()):
        for one in state.active_producers:
            is_open = one.current_transaction_start_offset >= 0
            quiet_ms = inst.now_ms() - one.last_timestamp
            if not is_open or quiet_ms < MINUTE_MS or (*at, one.producer_id) in known:
                continue
            yield Finding(
                "open transactions",
                "warn",
                f"a transaction is open from offset {one.current_transaction_start_offset} on, and"
                f" has written nothing for {quiet_ms // 1000:,} s: what stands behind it waits",
                f"{at.topic}[{at.partition}], producer {one.producer_id}",
                f"have its writer commit or abort: {WAY_OUT}",
            )


def _hanging(inst: Installation) -> list[HangingTransaction]:
    if not inst.topics:
        return []
    return inst.once("hanging", lambda: find_hanging(inst.environment, inst.now_ms()))


def dead_letters(inst: Installation) -> Iterator[Finding]:
    """Nothing was rejected in the last ten minutes that was not sent again."""
    records = inst.newest("dead-letters", _LETTERS)
    replayed = {_rejected(one) for one in records if one.header("replayed_offset")}
    since_ms = inst.now_ms() - _RECENT_LETTERS_MS
    letters = [
        one
        for one in records
        if one.at_ms >= since_ms and not one.header("replayed_offset") and one.header("topic")
        if _rejected(one) not in replayed
    ]
    if letters:
        last = letters[-1]
        more = " or more" if len(records) >= _LETTERS else ""
        topics = sorted({one.header("topic") for one in letters})
        yield Finding(
            "dead letters",
            "warn",
            f"{len(letters)}{more} records were rejected within ten minutes, the last one because:"
            f" {last.header('error')}",
            f"topics {some_of(topics)}; dead letter {last.offset}",
            f"{inst.command('dead-letters list --since 10m')}; correct the producer, then"
            f" {inst.command(f'dead-letters replay {last.offset}')}, with --value for a mended one",
        )


def _rejected(record: TopicRecord) -> tuple[str, str, str]:
    return record.header("topic"), record.header("partition"), record.header("offset")


def _stages(inst: Installation, group: str) -> set[str]:
    """Return the stages of a group: those after which it is called, else all.

    One that never judged has rankers alone.
    """
    if named := set(group.split("-")[1:]):
        return named
    has_judged = any(at.topic == POSTS for at in inst.groups[group].offsets)
    return set(stages_of(inst.environment.signals)) if has_judged else {COMBINER}


def _waiting(inst: Installation, group: Group) -> int:
    _, ends = _bounds(inst)
    return sum(max(0, ends[at] - offset) for at, offset in group.offsets.items() if at in ends)


def _bounds(inst: Installation) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    """Return where the partitions of the inputs begin and end."""
    begins = inst.once("begins", partial(_offsets, inst, OffsetSpec.EARLIEST))
    return begins, inst.once("ends", partial(_offsets, inst, OffsetSpec.LATEST))


def _offsets(inst: Installation, spec: OffsetSpec | int) -> dict[TopicPartition, int]:
    """Return the offset in each partition of the inputs that a spec, or a time, stands for."""
    places = {
        KafkaPartition(inst.environment.topic(name), n): TopicPartition(name, n)
        for name in _INPUTS
        if name in inst.topics
        for n in range(inst.topics[name].partitions)
    }
    if not places:
        return {}
    found = inst.admin.list_partition_offsets(dict.fromkeys(places, spec))
    return {places[at]: int(one.offset) for at, one in found.items()}
