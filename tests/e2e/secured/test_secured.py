"""One engine at a Kafka and a Redis that ask who connects: each process has its role's rights.

The tests share the servers and the engine, and go on from one another: rights are taken and given
back, then commands run under their roles, then what the authorizer allowed is compared with the
table, and each secret is looked for wherever it could have been written.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote_plus
from uuid import uuid4

import pytest
import redis
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    OffsetSpec,
)

from builders.engine import GATES, KINDS, READER, STAGES, WORKER, Engine, Worker
from builders.engine_topics import post_of
from builders.running_console import ConsoleOf, running
from builders.secured_stack import SECURED_TESTS, SecuredStack, Used, rows_of
from builders.used_rights import LIKE
from builders.waiting import in_background, now_ms, until
from feedmill.console.access import Access
from feedmill.events.built_in import BUILT_IN_COSTS, BUILT_IN_OBJECTIVES
from feedmill.streams.environment import declared_signals, read_environment
from feedmill.streams.kafka.client import ClientHealth, client_settings
from feedmill.streams.rights import ROLES, KafkaRight, Rights, rights_of
from feedmill.streams.tokens import OPERATOR, TokenFile

EXAMPLES = Path(__file__).parents[3] / "examples"
JUDGE, RANKER, NOVELTY = "+".join(STAGES[:-1]), STAGES[-1], "novelty"
PROCESSES = {"judge": JUDGE, "ranker": RANKER, "reader": READER, "own-signal": NOVELTY}
DECLARED = f"{NOVELTY}:objective"
SIGNALS = declared_signals(DECLARED)
AT_NIGHT = bool(SECURED_TESTS)
# In seconds.  Limits are checked by night: by day other tests may hold up the machine.
NOT_READY_S, READY_S = (10.0, 15.0) if AT_NIGHT else (60.0, 60.0)


def rights(role: str) -> Rights:
    return rights_of(role, SIGNALS, NOVELTY)


@pytest.fixture(scope="module")
def engine(secured: SecuredStack, tmp_path_factory: Any) -> Iterator[Engine]:
    """A judge, a ranker, a reader and an own signal, each with a user of its own."""
    folder = tmp_path_factory.mktemp("engine")
    engine = Engine(secured.kafka, secured.redis_url, "safe.", folder, DECLARED)
    engine.sign_in = secured.sign_in
    # A feed weighs the signals that are written on demand alone, and each value's row is logged.
    weighed = dict.fromkeys(BUILT_IN_OBJECTIVES, 0.1)
    engine.set("weights", {**weighed, "costs": dict.fromkeys(BUILT_IN_COSTS, 1.0)})
    engine.variables["FEEDMILL_FEATURE_SHARE"] = "1"
    try:
        for stages in (JUDGE, RANKER, READER):
            engine.start(stages)
            engine.wait_ready(seconds=240)
        start_novelty(secured, engine)
        engine.wait_ready(seconds=240)
        engine.wait_decided({f"first{n}": engine.post(f"first{n}") for n in range(6)})
        engine.wait_shown("first5")
        for kind in KINDS:
            engine.click("first5", kind=kind, dwell_ms=20_000.0 if kind == "dwell" else None)
        until(lambda: "first5" in engine.latest("signals.share"))
        # An edit of a post that has counts writes all signals that a feed weighs.
        engine.post("first5", "Another walk")
        yield engine
    finally:
        engine.stop()


def start_novelty(secured: SecuredStack, engine: Engine) -> None:
    path = engine.folder / f"{NOVELTY}.log"
    with path.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / "novelty_signal.py"), "worker", "--without-web"],
            env={**engine.environment(), **secured.user_of(engine, "own-signal", NOVELTY)},
            cwd=engine.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    engine.workers[NOVELTY] = Worker(NOVELTY, NOVELTY, process, path)


def user(engine: Engine, role: str) -> str:
    return f"{role}-{engine.prefix[:-1]}"


# --- rights are taken away ----------------------------------------------------------------------


def reason(engine: Engine, role: str) -> str:
    """Why a process is not ready, by its own page; "" where it is."""
    return engine.not_ready_since(engine.workers[PROCESSES[role]])


def publishes(engine: Engine, role: str, wanted: str) -> bool:
    """Whether the last heartbeat says that a process is not ready, for a reason with this text."""
    beats = {beat["pid"]: beat for beat in engine.instances().values()}
    beat = beats[engine.workers[PROCESSES[role]].pid]
    return not beat["ready"] and wanted in str(beat["reason"])


@contextmanager
def posts(engine: Engine) -> Iterator[None]:
    """50 posts a second; each is decided in the end, and was judged once."""
    sent: dict[str, int] = {}
    name = uuid4().hex[:8]

    def send(stop: Any) -> None:
        while not stop.wait(0.02):
            post_id = f"{name}-{len(sent)}"
            # Another text each, or many would be copies.
            sent[post_id] = engine.post(post_id, text=sha256(post_id.encode()).hexdigest())

    with in_background(send):
        yield
    engine.wait_decided(sent)
    # A ranker reads what is not committed yet.
    until(lambda: sent.keys() <= judged(engine).keys())
    found = judged(engine)
    assert {found[one] for one in sent} == {1}


def judged(engine: Engine) -> Counter[str]:
    return Counter(one.key.decode() for one in engine.read_all("signals.spam"))


# A right of Kafka, or a command of Redis.
Taken = KafkaRight | str


def topic(name: str, operation: str = "Read") -> KafkaRight:
    return KafkaRight("topic", name, operation)


def rounds() -> list[dict[str, Taken]]:
    """Rights that are taken at once, each of another user: three of each role; at night all.

    Of a transactional id Kafka does not tell; what only faults use has a test of its own.
    """
    of_roles: dict[str, list[Taken]] = {
        "judge": [
            *(topic("posts"), topic("signals.spam", "Write")),
            KafkaRight("group", "worker", "Read", is_prefix=True),
        ],
        "ranker": [topic("signals.spam"), "evalsha", topic("config")],
        "reader": [topic("posts"), topic("overrides"), topic("signals.quality")],
    }
    if AT_NIGHT:
        of_roles = {
            role: [
                right
                for right in rights(role).kafka
                if right.kind != "transactional-id"
                and not right.at_faults
                # A reader tells by its heartbeats alone.
                and (role, right) != ("reader", topic("instances", "Write"))
            ]
            for role in of_roles
        }
        of_roles["ranker"] += ["evalsha", "publish", "zadd", "hset", "get"]
    return [
        {role: taken[n] for role, taken in of_roles.items() if n < len(taken)}
        for n in range(max(map(len, of_roles.values())))
    ]


def take(secured: SecuredStack, engine: Engine, role: str, right: Taken) -> str:
    """Take a right away; how a process names it."""
    if isinstance(right, str):
        secured.redis_rules(user(engine, role), f"-{right}")
        return f"Redis at rediss://127.0.0.1:{secured.redis_port}/0: NOPERM"
    secured.take(user(engine, role), engine.prefix, right)
    named = f"`{engine.prefix}{right.name}`"
    return f"the user `{user(engine, role)}` may not {right.operation} the {right.kind} {named}"


def give_back(secured: SecuredStack, engine: Engine, role: str, right: Taken) -> None:
    if isinstance(right, str):
        secured.redis_rules(user(engine, role), f"+{right}")
    else:
        secured.allow(user(engine, role), engine.prefix, [right])


@contextmanager
def without(
    secured: SecuredStack, engine: Engine, taken: Mapping[str, Taken]
) -> Iterator[dict[str, str]]:
    """Take rights of roles away, give how each process names its own, and give them back."""
    try:
        yield {role: take(secured, engine, role, right) for role, right in taken.items()}
    finally:
        for role, right in taken.items():
            give_back(secured, engine, role, right)


def reasons(engine: Engine, roles: Iterable[str]) -> list[str]:
    return [reason(engine, role) for role in roles]


def wait_ready(engine: Engine, roles: Iterable[str], seconds: float) -> None:
    with suppress(AssertionError):
        until(lambda: not any(reasons(engine, roles)), seconds)
    assert not any(found := reasons(engine, roles)), found


def names(engine: Engine, role: str, wanted: str) -> str:
    found = reason(engine, role)
    return found if wanted in found else ""


@pytest.mark.parametrize("taken", rounds(), ids=lambda taken: str(len(taken)))
def test_without_a_right_a_process_is_not_ready_and_with_it_again_nothing_is_lost(
    secured: SecuredStack, engine: Engine, taken: dict[str, Taken]
) -> None:
    with posts(engine):
        with without(secured, engine, taken) as named:
            end = time.monotonic() + NOT_READY_S
            for role, wanted in named.items():
                found = until(partial(names, engine, role, wanted), end - time.monotonic())
                assert "topics create" not in found
            if AT_NIGHT or taken == rounds()[0]:
                # Also once the client has told the refusal.
                end = time.monotonic() + 6
                while time.monotonic() < end:
                    assert all(reasons(engine, taken))
                    time.sleep(0.3)
                for role, wanted in named.items():
                    until(partial(publishes, engine, role, wanted))
        wait_ready(engine, taken, READY_S)


@pytest.mark.parametrize(
    "taken",
    rounds() if AT_NIGHT else [{"judge": topic("config"), "ranker": topic("posts")}],
    ids=lambda taken: str(len(taken)),
)
def test_a_process_that_starts_without_a_right_names_it_and_begins_with_it(
    secured: SecuredStack, engine: Engine, taken: dict[str, Taken]
) -> None:
    # Of Redis an idle ranker's test tells, and a reader has no group that would be left.
    taken = {r: one for r, one in taken.items() if r != "reader" and not isinstance(one, str)}
    with without(secured, engine, taken) as named:
        for role in taken:
            worker = engine.workers[PROCESSES[role]]
            worker.stop(30)
            worker.log.write_text("")
            engine.restart(worker.name)
        for role in taken:
            log = engine.workers[PROCESSES[role]].log
            until(partial(is_in, log, named[role]), 60)
    wait_ready(engine, taken, 60)


def test_an_own_signal_that_may_not_read_ends_and_names_the_topic(
    secured: SecuredStack, engine: Engine
) -> None:
    right, worker = topic("posts"), engine.workers[NOVELTY]
    take(secured, engine, "own-signal", right)
    assert until(worker.process.poll, 30)
    assert is_in(worker.log, "Not authorized to read from topic safe.posts")
    engine.post("while-away")
    give_back(secured, engine, "own-signal", right)
    start_novelty(secured, engine)
    until(lambda: "while-away" in engine.latest("signals.novelty"), 60)


def is_in(log: Path, text: str) -> bool:
    return text in log.read_text()


def test_an_idle_ranker_whose_redis_user_may_do_nothing_is_not_ready(
    secured: SecuredStack, engine: Engine
) -> None:
    secured.redis_rules(user(engine, "ranker"), "nocommands")
    until(lambda: names(engine, "ranker", "NOPERM"), NOT_READY_S)
    found = rights("ranker").redis
    assert found is not None
    secured.redis_rules(user(engine, "ranker"), *(f"+{name}" for name in found.commands))
    wait_ready(engine, ["ranker"], READY_S)


# --- commands and programs under their roles -----------------------------------------------------

COMMANDS = (
    ("operator", ("config set weights quality=0.9", "config rollback weights", "models list")),
    ("operator", ("models freeze quality", "models unfreeze quality", "health")),
    ("operator", ("experiments start halves.json",)),
    ("trainer", tuple(f"labels report {gate}" for gate in GATES)),
    ("trainer", ("models freeze spam", "models unfreeze spam")),
    ("exporter", ("experiments export --out exported",)),
    ("moderator", ("override hide post:p1 --reason spam", "override clear post:p1")),
    ("moderator", ("override list",)),
    ("installer", ("topics create --apply",)),
    ("producer", ("replay events.jsonl",)),
)
HALVES = {
    "arms": [
        {"name": "control", "share": 5000},
        {"name": "fresher", "share": 5000, "weights": {"half_life_hours": 6}},
    ],
    **{"feeds": ["global"], "salt": "s", "traffic": 10_000, "planned_n": 1_000},
    **{"window_hours": 1, "primary": "take_rate"},
}
LOOKS = (
    *("health", "doctor", "doctor --role viewer", "feed global", "explain p1", "posts", "audit"),
    *("models health", "config get", "override list", "dead-letters list", "topics describe"),
    *("labels report spam", "weights preview global quality=0.9"),
)


def ends(secured: SecuredStack, engine: Engine) -> dict[Any, int]:
    """Where the topics end, but for `instances`, which workers write all the time."""
    found = secured.admin.list_topics(timeout=30).topics
    places = {
        TopicPartition(name, n): OffsetSpec.latest()
        for name in found
        if name.startswith(engine.prefix) and name != engine.topic("instances")
        for n in found[name].partitions
    }
    asked = secured.admin.list_offsets(places)
    return {(at.topic, at.partition): one.result(30).offset for at, one in asked.items()}


def rests(secured: SecuredStack, engine: Engine) -> bool:
    """Whether nothing is written, though the workers commit every half second."""
    before = ends(secured, engine)
    time.sleep(2)
    return ends(secured, engine) == before


def run(engine: Engine, variables: Mapping[str, str], *lines: str) -> None:
    """Run commands one after another, in one process: each import takes longer than most do."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN_LINES],
        env={**engine.environment(), **variables},
        cwd=engine.folder,
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, (lines, done.stdout, done.stderr)


_RUN_LINES = """
import shlex, sys
from feedmill.cli.main import main
for line in sys.stdin:
    try:
        main(shlex.split(line))
    except SystemExit as end:
        if end.code:
            sys.exit(f"{line} ended with {end.code}")
"""


def test_a_viewer_sees_all_and_writes_nothing(secured: SecuredStack, engine: Engine) -> None:
    engine.wait_decided({f"p{n}": engine.post(f"p{n}") for n in range(5)})
    for gate in GATES:
        label = {"post_id": "p1", "target": gate, "value": 0, "source": "ann", "at_ms": now_ms()}
        engine.send("labels", "p1", label).get(30)
    variables = secured.user_of(engine, "viewer")
    until(lambda: rests(secured, engine))
    before = ends(secured, engine)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda half: run(engine, variables, *LOOKS[half::2]), (0, 1)))
    assert ends(secured, engine) == before
    written = {one.key.decode().partition("/")[0] for one in engine.read_all("instances")}
    assert written <= {*STAGES, READER, NOVELTY}


def test_commands_run_under_their_role(secured: SecuredStack, engine: Engine) -> None:
    click = {"post_id": "p1", "user_id": "u", "kind": "click", "at_ms": now_ms()}
    lines = map(json.dumps, [post_of("replayed"), click])
    (engine.folder / "events.jsonl").write_text("\n".join(lines))
    (engine.folder / "halves.json").write_text(json.dumps(HALVES))
    engine.send("exposures", "u", b"no JSON").get(30)
    users = {role: secured.user_of(engine, role) for role, _ in COMMANDS}
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda one: run(engine, users[one[0]], *one[1]), COMMANDS))


def test_a_trainer_reads_what_the_engagement_model_learns_from(
    secured: SecuredStack, engine: Engine
) -> None:
    line = "train engagement --from-topics --wait 1s"
    done = engine.feedmill(line, **secured.user_of(engine, "trainer"))
    assert "impressions" in done.stderr, done


def test_a_ranker_writes_the_dead_letter_of_a_record_that_rankers_alone_read(
    secured: SecuredStack, engine: Engine
) -> None:
    at = engine.send("signals.novelty", "p1", b"no JSON").get(30)
    until(lambda: ("signals.novelty", at.partition, at.offset) in engine.lettered())
    assert ("topic", "dead-letters", "Write") in secured.compared()[user(engine, "ranker")][0]


def test_a_backup_is_made_and_restored_under_the_roles_of_both(
    secured: SecuredStack, engine: Engine, tmp_path: Path
) -> None:
    run(engine, secured.user_of(engine, "backup"), f"backup {tmp_path}/kept")
    new = Engine(secured.kafka, secured.redis, "restored.", tmp_path, DECLARED)
    try:
        variables = secured.user_of(new, "restore")
        run(new, variables, f"restore {tmp_path}/kept")
        again = new.feedmill(f"restore {tmp_path}/kept", **variables)
        assert "has records: a backup is restored where nothing is" in again.stderr
        used, beside = secured.compared()["restore-restored"]
        assert (rows_of(rights("restore")).keys() - used, beside) == (set(), set())
    finally:
        new.stop()


def test_an_installer_creates_topics_and_mends_their_settings(
    secured: SecuredStack, engine: Engine
) -> None:
    variables = secured.user_of(SimpleNamespace(prefix="new.", signals=DECLARED), "installer")
    variables["FEEDMILL_TOPIC_PREFIX"] = "new."
    run(engine, variables, "topics create --partitions 1")
    other = ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)
    posts = ConfigResource(ConfigResource.Type.TOPIC, "new.posts", incremental_configs=[other])
    for done in secured.admin.incremental_alter_configs([posts]).values():
        done.result(30)
    run(engine, variables, "topics create --partitions 1 --apply")
    table = rows_of(rights("installer")).keys()
    used, beside = secured.compared()["installer-new"]
    assert (table - used, beside) == (set(), set())


def test_the_drift_watch_runs_under_its_role(secured: SecuredStack, engine: Engine) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "feedmill.cli.main", "models", "watch"],
        env={**engine.environment(), **secured.user_of(engine, "watch")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    rows = rows_of(rights("watch"))
    name = user(engine, "watch")
    try:
        until(lambda: any(beat["pid"] == process.pid for beat in engine.instances().values()), 60)
        until(lambda: secured.compared()[name][0] == rows.keys())
    finally:
        process.terminate()
        process.wait(30)


def test_an_autoscaler_sees_how_far_workers_are(secured: SecuredStack, engine: Engine) -> None:
    """As KEDA asks: where the topics end, and what the group committed."""
    variables = {**engine.environment(), **secured.user_of(engine, "autoscaler")}
    admin = AdminClient(client_settings(read_environment(variables), ClientHealth()))
    group = engine.topic("worker")
    places = [
        TopicPartition(engine.topic(name), n)
        for name in ("posts", "engagements")
        for n in range(engine.partitions)
    ]
    asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)])
    committed = [one.offset for one in asked[group].result(30).topic_partitions]
    found = admin.list_offsets(dict.fromkeys(places, OffsetSpec.latest()))
    assert sum(committed) > 0
    assert sum(one.result(30).offset for one in found.values()) >= sum(committed)


def test_the_console_changes_settings_and_posts_under_its_role(
    secured: SecuredStack, engine: Engine
) -> None:
    environment = read_environment({**engine.environment(), **secured.user_of(engine, "console")})
    tokens = TokenFile(engine.folder / "tokens.json")
    with running(ConsoleOf(environment, Access(tokens))) as client:
        assert client.sign_in_by_token(tokens.add("ann", OPERATOR))
        pages = ("/", "/feeds/global", "/feeds/global/preview", "/posts/p1", "/queue",
                 "/models/quality", "/audit")  # fmt: skip
        assert {page: client.get(page).status for page in pages} == dict.fromkeys(pages, 200)
        offset, labelled = (
            next(one.offset for one in engine.read_all("posts") if one.key == key)
            for key in (b"p2", b"p3")
        )
        answers = [
            client.post("/overrides", [
                ("subject", "post:p2"), ("verdict", "hide"), ("post_offset", str(offset)),
            ]),
            client.post("/queue/decide", [
                ("post_id", "p3"), ("verdict", "hide"), ("post_offset", str(labelled)),
                ("target", "spam"), ("pile", "near"),
            ]),
            client.post("/settings", [
                ("words", "quality=0.8"), ("feed", "global"), ("expect", "weights/global=-1"),
            ]),
        ]  # fmt: skip
        assert [answer.status for answer in answers] == [200] * 3, answers


def test_the_frontend_of_the_examples_signs_in_by_the_same_variables(
    secured: SecuredStack, engine: Engine
) -> None:
    variables = secured.user_of(engine, "frontend")
    exposed = ("--user", "u", "--kafka", secured.sasl, "--topic", engine.topic("exposures"))
    for options in (exposed, ("--follow", "--for", "1")):
        done = subprocess.run(
            [
                *(sys.executable, str(EXAMPLES / "frontend.py")),
                *("--redis-prefix", engine.prefix, *options),
            ],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("\n") > 5
    until(lambda: json.loads(engine.read_all("exposures")[-1].value or b"")["feed"] == "global")


def test_a_frontend_reads_feeds_and_nothing_else(secured: SecuredStack, engine: Engine) -> None:
    environment = read_environment(secured.user_of(engine, "frontend"))
    client: Any = redis.Redis.from_url(environment.redis, decode_responses=True)
    assert client.zrange("safe.feed:{global}", 0, 9)
    for refused in (
        lambda: client.hgetall("safe.signals:p1"),
        lambda: client.keys("*"),
        lambda: next(client.scan_iter()),
        lambda: client.zadd("safe.feed:{global}", {"b": 1.0}),
        lambda: client.zrange("other.feed:{global}", 0, 9),
    ):
        with pytest.raises(redis.exceptions.NoPermissionError):
            refused()  # type: ignore[no-untyped-call]  # redis has no type here
    client.close()


def test_a_command_signs_in_by_mutual_tls(secured: SecuredStack, engine: Engine) -> None:
    files = secured.certificates.issue(user(engine, "viewer"))
    secured.user_of(engine, "viewer")
    run(engine, secured.mutual_variables(user(engine, "viewer"), *files), "groups describe")


def test_doctor_names_what_is_missing_and_what_is_too_much(
    secured: SecuredStack, engine: Engine
) -> None:
    done = engine.feedmill("doctor --role viewer --json", **secured.user_of(engine, "moderator"))
    findings = json.loads(done.stdout)["findings"]
    missing = next(one for one in findings if "may not Read the topic `safe.posts`" in one["what"])
    assert missing["way_out"].startswith("`kafka-acls.sh --bootstrap-server")
    assert "--operation Read --topic safe.posts" in missing["way_out"]
    more = next(one for one in findings if "more than a viewer needs" in one["what"])
    assert more["severity"] == "warn"
    assert "Write topic `overrides`" in more["what"]
    assert done.returncode == 1


def test_a_whole_worker_takes_over_under_its_role(secured: SecuredStack, engine: Engine) -> None:
    for stages in (JUDGE, RANKER):
        engine.workers.pop(stages).stop(30)
    engine.start(WORKER)
    engine.wait_ready(WORKER, seconds=240)
    engine.wait_decided({f"w{n}": engine.post(f"w{n}") for n in range(5)})
    assert not is_in(engine.workers[WORKER].log, "may not")


# --- what came of all that ------------------------------------------------------------------------

# What the tests' own client calls.
OF_THE_TEST = {
    *("acl|setuser", "acl|log", "config|resetstat", "info", "ping", "hgetall", "zrevrange"),
    *("multi", "exec", "select", "zrange", "del", "scan", "hmget", "client|setname"),
}
# Called where a release, an experiment or a loss of keys is.
RARE_IN_REDIS = {"rename", "zcount", "zrangebyscore", "hkeys", "hlen", "hmget", "hget", "zscore"}


UsedByRole = defaultdict[str, set[Used]]
# `train spam --follow` reads `config`: test_continual_learning.py runs it by night.
ELSEWHERE = {"trainer": {("topic", "config", "Read")}}


@pytest.fixture(scope="module")
def by_role(secured: SecuredStack, engine: Engine) -> tuple[UsedByRole, UsedByRole]:
    """The rows of the table that the users of each role used, and what they did beside it."""
    used, beside = UsedByRole(set), UsedByRole(set)
    for name, (of_table, more) in secured.compared().items():
        role, *_ = secured.given[name]
        used[role] |= of_table
        beside[role] |= more
    return used, beside


@pytest.mark.parametrize("role", ROLES)
def test_a_role_uses_what_the_table_has_and_nothing_else(
    by_role: tuple[UsedByRole, UsedByRole], role: str
) -> None:
    """Some roles run the same code: one use of a right counts for all of these roles."""
    used, beside = by_role
    assert beside[role] == set()
    of_all = used[role].union(*(used[like] for like in LIKE.get(role, ())))
    table = rows_of(rights(role))
    unused = {row for row in table.keys() - of_all if not table[row]}
    assert unused <= ELSEWHERE.get(role, set())


def test_redis_is_asked_for_what_the_table_has(secured: SecuredStack, engine: Engine) -> None:
    """No command was called beside those of the roles, and the ranker's are used."""
    called = secured.called()
    of_roles = [rights_of(role, SIGNALS).redis for role in ROLES]
    named = {name for one in of_roles if one is not None for name in one.commands}
    assert called - OF_THE_TEST - named - {"auth", "hello", "client|setinfo"} == set()
    writer = rights("ranker").redis
    assert writer is not None
    assert {*writer.commands} - called - RARE_IN_REDIS == set()


def test_no_secret_was_written_anywhere(secured: SecuredStack, engine: Engine) -> None:
    """Each password is looked for in logs, topics, metrics, command lines and environments."""
    texts = [one.read_text("utf-8", "replace") for one in engine.folder.rglob("*") if one.is_file()]
    for name in secured.admin.list_topics(timeout=30).topics:
        if name.startswith(engine.prefix):
            texts += [repr(one) for one in engine.read_all(name.removeprefix(engine.prefix))]
    texts += [engine.page(engine.workers[WORKER], path) for path in ("metrics", "healthz")]
    for worker in engine.workers.values():
        place = Path(f"/proc/{worker.pid}")
        texts += [(place / name).read_text() for name in ("cmdline", "environ")]
    texts += [repr(read_environment(secured.variables(one))) for one in secured.passwords]
    secrets = {*secured.passwords.values(), *map(quote_plus, secured.passwords.values())}
    assert [text[:200] for text in texts if any(one in text for one in secrets)] == []
