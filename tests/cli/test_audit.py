"""Every command that changes something leaves a record of the audit, which can be replayed."""

import json
import shlex
import socket
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.structs import OffsetAndMetadata

from builders.command_tree import leaves
from builders.commands import CommandTopics, Run
from builders.experiment_tables import SETTING
from builders.golden import Golden
from builders.kafka_log import KafkaLog
from builders.lists import stored_list
from builders.lost_markers import leave_open
from builders.transcript import transcript
from builders.written_letters import GOOD_POST, write_letter
from feedmill.cli.main import main
from feedmill.deploy.local import StackAddress
from feedmill.events.audit import AuditRecord, decode_audit
from feedmill.events.decode import decode_override, encode
from feedmill.events.errors import BadSetting
from feedmill.events.override import Override, OverrideKey
from feedmill.events.settings import Settings
from feedmill.events.signal import SignalNames
from feedmill.operations import hanging_transactions
from feedmill.operations.changes import Change, MadeBy, write_change
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.offsets import CommitMark, encode_mark
from feedmill.streams.kafka.topic_reader import TopicRecord
from feedmill.streams.settings.config_log import fold_log

WHY = "--by ann --note why"


def rule_named(name: str) -> str:
    """The words of `config set` for a rule."""
    return f"{name}.verdict=hide " + shlex.quote(f'{name}.phrases=["{name}"]')


# Commands that change something, one after the other.
CHANGES = (
    f"topics create --partitions 2 {WHY}",
    f"topics create --partitions 2 --apply {WHY}",
    f"config set weights alpha=0.2 beta=0.8 --timeout 0 {WHY}",
    f"config set rules/spam {rule_named('casino')} --timeout 0 {WHY}",
    "config rollback weights --timeout 0 --by ann",
    "override hide post:p1 --timeout 0 --by ann --reason why",
    "override demote post:p1 --timeout 0 --by ann --reason why",
    "override allow author:a --timeout 0 --by ann --reason why",
    "override clear post:p1 --timeout 0 --by ann --reason why",
    f"models release spam shipped --timeout 0 {WHY}",
    f"models release spam shipped --canary 1 --timeout 0 {WHY}",
    "models rollback spam --timeout 0 --by ann",
    f"models freeze spam --timeout 0 {WHY}",
    f"models unfreeze spam --timeout 0 {WHY}",
    f"models shadow spam shipped --timeout 0 {WHY}",
    f"models shadow spam --stop --timeout 0 {WHY}",
    f"lists release spam bad --timeout 0 {WHY}",
    f"lists withdraw spam bad --timeout 0 {WHY}",
    "lists rollback spam bad --timeout 0 --by ann",
    f"experiments start fresher.json --timeout 0 {WHY}",
    f"experiments stop fresher --timeout 0 {WHY}",
    f"dead-letters replay --all {WHY}",
    f"groups reset-offsets worker posts:1 --to latest {WHY}",
    f"topics reset {WHY}",
    f"topics abort-hanging {WHY}",
)
# Those whose tests are elsewhere: `test_train_follow_engagement.py`, `test_topic_copy.py`,
# `test_tune.py`, `test_backup.py`, `test_rates.py`.
ELSEWHERE = {"train", "topics copy", "tune half", "restore", "rates learn"}
# What reads, and what changes nothing but files or the servers of this machine.  `run` creates
# missing topics, and `replay` sends what a product sends.
CHANGING_NOTHING = {
    *(
        "run",
        "console",
        "worker",
        "reader",
        "page",
        "replay",
        "feed",
        "explain",
        "latency",
        "audit",
        "sample",
        "score",
    ),
    *(
        "acls print",
        "doctor",
        "health",
        "token add",
        "token list",
        "token remove",
    ),
    *("config get", "config history", "gates preview", "weights preview", "weights suggest"),
    *("override list", "evaluate", "examination", "experiments plan", "experiments analyse"),
    *("experiments list", "experiments status", "experiments export", "experiments join"),
    "experiments forget",
    "experiments demo",
    *("posts", "backup"),
    *(
        "dead-letters list",
        "dead-letters show",
        "topics describe",
        "groups list",
        "groups describe",
    ),
    *("local up", "local down", "local status", "labels report", "labels sample"),
    *("models compare", "models diff", "models health", "models list", "models show"),
    *("models watch", "models purge", "lists build", "lists list"),
    *("tune preview", "tune front", "tune after"),
}
NAMES = SignalNames()


def command_of(line: str) -> str:
    return " ".join(line.split()[:2])


def test_each_command_changes_something_or_does_not() -> None:
    """A new one belongs into one of the three."""
    changing = {command_of(line) for line in CHANGES}
    assert sorted([*changing, *ELSEWHERE, *CHANGING_NOTHING]) == sorted(leaves(main))


@pytest.fixture
def said(topics: CommandTopics) -> "Audit":
    return Audit(topics)


class Audit:
    """The records of the audit, read on from where the look before ended."""

    def __init__(self, topics: CommandTopics) -> None:
        self._topics = topics
        self._seen = 0

    def new(self) -> list[AuditRecord]:
        found = [decode_audit(record.value) for record in self._topics.read("audit")]
        new = found[self._seen :]
        self._seen = len(found)
        return new


def prepare(line: str, log: KafkaLog, store: Path) -> None:
    """Make what a command needs to have something to change."""
    kafka, environment = log.environment.kafka, log.environment
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    if "--apply" in line:
        retention = {"retention.ms": "86400000"}
        posts = ConfigResource(ConfigResourceType.TOPIC, environment.topic("posts"), retention)
        admin.alter_configs([posts])
    elif line.startswith("lists release"):
        stored_list(store, "domains", ["evil.example"])
    elif line.startswith("experiments start"):
        Path("fresher.json").write_text(json.dumps(SETTING))
    elif line.startswith("dead-letters"):
        write_letter(log, b"p1", GOOD_POST, offset=3)
    elif line.startswith("groups reset-offsets"):
        place = TopicPartition(environment.topic("posts"), 1)
        group = environment.group("worker")
        admin.alter_group_offsets(group, {place: OffsetAndMetadata(40, "", None)})
    elif line.startswith("topics reset"):
        anchor = TopicPartition(environment.topic("config"), 0)
        text = encode_mark(CommitMark(topics={"posts": "another"}))
        admin.alter_group_offsets(
            environment.group("worker"), {anchor: OffsetAndMetadata(3, text, None)}
        )
    elif line.startswith("topics abort"):
        name = environment.topic("signals.spam")
        leave_open(kafka, f"{environment.topic_prefix}gone", name, 1, [(b"lost", b"x")])
    admin.close()


def test_every_command_that_changes_something_leaves_its_record(
    run: Run,
    stack: StackAddress,
    prefix: str,
    said: "Audit",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEEDMILL_MODELS", str(tmp_path))
    monkeypatch.setattr(hanging_transactions, "_QUIET_MS", 0)
    log = KafkaLog(Environment(kafka=stack.kafka, topic_prefix=prefix), 2)
    for line in CHANGES:
        prepare(line, log, tmp_path)
        result = run(line)
        assert result.exit_code == 0, (line, result.output)
        records = said.new()
        assert records, (line, result.output)
        for one in records:
            assert (one.by, one.command) == ("ann", command_of(line))
            assert one.user and one.host
            assert one.note == "why" or (one.note and "rollback" in line)
            assert one.before != one.after, line


# --- it can be replayed ---------------------------------------------------------------------


def drawn_change(random: Random) -> str:
    """A command that changes a setting, a rule or an override."""
    share = random.choice(("0.1", "0.5", "0.9"))
    feed = random.choice(("", "/global", "/mine"))
    rule = random.choice(("casino", "crypto"))
    gate = random.choice(("spam", "nsfw"))
    subject = random.choice(("post:p1", "post:p2", "author:a"))
    setting = random.choice(
        (
            f"config set weights{feed} alpha={share}",
            f"config set weights{feed} null --note over",
            f"config set gates{feed} {gate}.hide_at={share}",
            f"config set gates{feed} null",
            f"config set rules/{gate} {rule_named(rule)}",
            f"config set rules/{gate} {rule}=null",
            f"config set feeds/mine size={random.choice((5, 50))}",
            "config set feeds/mine null",
            "config set weights alpha=7 --if-offset -1 --force",
            f"config rollback weights{feed}",
        )
    )
    override = random.choice(
        (
            f"override hide {subject} --gate {gate}",
            f"override demote {subject} --expires 2h --reason drawn",
            f"override allow {subject} --any-version --gate {gate}",
            f"override clear {subject} --gate {random.choice((gate, '*'))} --reason drawn",
        )
    )
    return random.choice((setting, override)) + " --timeout 0"


def folded(records: list[TopicRecord]) -> Settings:
    return fold_log(records, NAMES).settings


def overrides_of(records: list[TopicRecord]) -> dict[OverrideKey, Override]:
    last: dict[OverrideKey, Override] = {}
    for record in records:
        key, override = decode_override(NAMES, record.key, record.value)
        last.pop(key, None)
        if override is not None:
            last[key] = override
    return last


def replayed(records: list[TopicRecord], topic: str) -> list[TopicRecord]:
    """The records of a topic, by the audit alone."""
    said = [decode_audit(record.value) for record in records]
    of_topic = sorted((one.offset, one) for one in said if one.topic == topic)
    return [
        TopicRecord(offset, 0, one.key.encode(), None if one.after is None else encode(one.after))
        for offset, one in of_topic
        if offset is not None and one.key is not None
    ]


@pytest.mark.usefixtures("topics_made")
def test_the_audit_replayed_gives_settings_rules_and_overrides(
    run: Run, stack: StackAddress, prefix: str, topics: CommandTopics
) -> None:
    random = Random(56)
    outcomes = [run(drawn_change(random)).exit_code for _ in range(30)]
    assert outcomes.count(0) > 20
    # Somebody lost a race: the record is there, and every worker refuses it.
    late = b'{"value": {"quality": 1, "engagement": 0}, "if_offset": 1000}'
    environment = Environment(kafka=stack.kafka, topic_prefix=prefix)
    made_by = MadeBy("bob", "root", "box", "config set", "")
    write_change(environment, made_by, Change("config", "weights", late, None))

    audit, config, given = (topics.read(name) for name in ("audit", "config", "overrides"))
    settings, overrides = folded(config), overrides_of(given)
    assert settings.offsets and settings.rules and overrides
    assert folded(replayed(audit, "config")) == settings
    assert overrides_of(replayed(audit, "overrides")) == overrides
    # What was in force before a change is what the one before it left.
    in_force: dict[tuple[str, str | None], Any] = {}
    now = Settings(names=NAMES)
    for one in map(decode_audit, (record.value for record in audit[:-1])):
        at = one.topic, one.key
        assert one.before == in_force.get(at), at
        if one.topic == "config":
            with suppress(BadSetting):
                now = now.fold((one.key or "").encode(), encode(one.after), one.offset or 0)
                in_force[at] = one.after if one.after["value"] is not None else None
        else:
            in_force[at] = one.after if "verdict" in one.after else None


# --- what is printed ------------------------------------------------------------------------


@pytest.mark.usefixtures("topics_made")
def test_it_lists_what_was_changed_with_what_differs(run: Run, golden: Golden) -> None:
    for line in (
        "config set weights alpha=0.2 beta=0.8 --by ann --note 'less bait'",
        "config set weights alpha=0.3 --by bob",
        "override hide post:p1 --gate spam --by ann --reason 'buy now'",
        "override clear post:p1 --gate spam --by bob --reason 'was a joke'",
    ):
        assert run(f"{line} --timeout 0").exit_code == 0
    asked = ("", "--by bob --topic config", "--since 1h --key weights", "--topic models")
    lines = [f"audit {words}".strip() for words in (*asked, "--json --topic overrides")]
    hidden = {socket.gethostname(): "<host>"}
    golden.check("audit.txt", transcript(run, lines, hidden))


@pytest.mark.usefixtures("topics_made")
def test_what_is_no_record_of_it_is_counted_and_left_out(run: Run, topics: CommandTopics) -> None:
    topics.send("audit", "config", {"by": "somebody else"})
    result = run("audit")
    assert result.exit_code == 0
    assert result.stdout == "no change was recorded\n"
    assert "left out: 1 records" in result.stderr


def test_without_the_topic_it_and_every_change_name_the_way_out(
    run: Run, topics: CommandTopics
) -> None:
    topics.make("config", "overrides", "instances")
    for line in ("audit", "config set weights alpha=1 beta=0", "override hide post:p1 --timeout 0"):
        result = run(line)
        assert result.exit_code == 1, line
        assert "audit`" in result.stderr and "`feedmill topics create`" in result.stderr
    assert topics.read("config") == topics.read("overrides") == []


@pytest.mark.usefixtures("topics_made")
def test_who_writes_without_the_commands_needs_no_audit(run: Run, topics: CommandTopics) -> None:
    topics.send("config", "weights", {"value": {"quality": 0.7, "engagement": 0.3}})
    assert json.loads(run("config get weights --json").stdout)["effective"]["quality"] == 0.7
    topics.send("config", "weights", {"value": None, "by": "jo", "note": "over"})
    assert json.loads(run("config get weights --json").stdout)["offset"] == -1
    [_, removal] = json.loads(run("config history weights --json").stdout)
    assert (removal["value"], removal["by"], removal["note"]) == (None, "jo", "over")
    assert "(removed)" in run("config history").stdout
    assert topics.read("audit") == []
