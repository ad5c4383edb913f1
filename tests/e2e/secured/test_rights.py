"""Every role does its work with the rights of the table alone, and is not ready without them."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import pytest
import redis

from builders.engine import STAGES, Engine
from builders.secured_stack import SecuredStack
from builders.waiting import in_background, until
from feedmill.events.built_in import BUILT_IN_OBJECTIVES
from feedmill.streams.environment import declared_signals
from feedmill.streams.rights import KafkaRight, rights_of

JUDGE, RANKER = "+".join(STAGES[:-1]), STAGES[-1]
SIGNALS = declared_signals("").all
NOT_READY_S, READY_S = 10.0, 15.0


def readyz(engine: Engine, name: str) -> str:
    return engine.not_ready_since(engine.workers[name]).strip() or "ready"


@contextmanager
def posts(engine: Engine, name: str) -> Iterator[None]:
    """50 posts a second; each is decided in the end, and was judged once."""
    sent: dict[str, int] = {}

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
    assert {judged(engine)[one] for one in sent} == {1}


def judged(engine: Engine) -> Counter[str]:
    return Counter(one.key.decode() for one in engine.read_all("signals.spam"))


def used(secured: SecuredStack, user: str, prefix: str) -> set[tuple[str, str, str]]:
    """What a user did in Kafka, but for the Describe that another right includes."""
    found = set()
    for kind, name, operation in secured.decisions(user):
        named = name.removeprefix(prefix)
        if kind == "transactionalid":
            named = named.partition("/")[0]
        found.add((kind, named, operation.title().replace("_", "")))
    more = {(kind, name) for kind, name, operation in found if operation != "Describe"}
    return {one for one in found if one[2] != "Describe" or one[:2] not in more}


def table(role: str) -> set[tuple[str, str, str]]:
    rights = [right for right in rights_of(role, SIGNALS).kafka if not right.at_faults]
    return {(right.kind.replace("-", ""), right.name, right.operation) for right in rights}


def test_judge_and_ranker_need_exactly_the_rights_of_the_table(
    secured: SecuredStack, secured_engine: Any
) -> None:
    secured.client.config_resetstat()
    engine: Engine = secured_engine(judge=JUDGE, ranker=RANKER)
    first = {f"p{n}": engine.post(f"p{n}") for n in range(20)}
    engine.wait_decided(first)
    until(lambda: first.keys() <= set(engine.order()))
    engine.click("p1").get(20)
    until(lambda: engine.read_all("counters"))
    engine.send("posts", "p2", None)
    engine.wait_gone("p2")
    # Its successor restores counts.
    engine.workers[JUDGE].stop()
    engine.variables = secured.variables(f"judge-{engine.prefix[:-1]}")
    engine.restart(JUDGE)
    engine.wait_ready(JUDGE, seconds=120)
    for worker in engine.workers.values():
        worker.stop()
    for role, rare in (("judge", RARE), ("ranker", set())):
        user = f"{role}-{engine.prefix[:-1]}"
        # Kafka is asked of these too, what the user may do.
        asked = {("topic", right.name, "Describe") for right in faults(role)}
        assert used(secured, user, engine.prefix) - rare - asked == table(role) - rare
        denied = secured.decisions(user, "Denied")
        assert denied <= {("group", f"{engine.prefix}unused", "DESCRIBE")}
    called = {name.removeprefix("cmdstat_") for name in secured.client.info("commandstats")}
    rights = rights_of("ranker", SIGNALS).redis
    assert rights is not None
    assert called - OF_THE_TEST <= {*rights.commands, "auth", "hello", "client|setinfo"}


# Of reactions, which no feed weighs, and of a sample of the posts.
RARE = {
    ("topic", name, operation)
    for name in ("features", *(f"signals.{one}" for one in BUILT_IN_OBJECTIVES[2:]))
    for operation in ("Write", "Describe")
}
# What the tests' own client calls.
OF_THE_TEST = {
    *("acl|setuser", "acl|log", "config|resetstat", "info", "ping", "hgetall", "zrevrange"),
    *("multi", "exec", "select", "acl|deluser"),
}


def faults(role: str) -> list[KafkaRight]:
    return [right for right in rights_of(role, SIGNALS).kafka if right.at_faults]


def rights_to_take() -> list[tuple[str, KafkaRight]]:
    """Three of a judge and one of a ranker; at night all, but for ids, of which Kafka is silent."""
    if "SECURED_TESTS" in os.environ:
        return [
            (role, right)
            for role in ("judge", "ranker")
            for right in rights_of(role, SIGNALS).kafka
            if right.kind != "transactional-id" and right not in faults(role)
        ]
    of_judge = (
        KafkaRight("topic", "posts", "Read"),
        KafkaRight("topic", "signals.spam", "Write"),
        KafkaRight("group", "worker", "Read", is_prefix=True),
    )
    of_ranker = KafkaRight("topic", "signals.spam", "Read")
    return [*(("judge", right) for right in of_judge), ("ranker", of_ranker)]


@pytest.mark.parametrize(
    ("role", "right"),
    rights_to_take(),
    ids=lambda one: f"{one.operation}-{one.name}" if isinstance(one, KafkaRight) else one,
)
def test_without_a_right_a_worker_is_not_ready_and_with_it_again_nothing_is_lost(
    secured: SecuredStack, shared_engine: Engine, role: str, right: KafkaRight
) -> None:
    engine, stages = shared_engine, {"judge": JUDGE, "ranker": RANKER}[role]
    user = f"{role}-{engine.prefix[:-1]}"
    named = f"the user `{user}` may not {right.operation} the {right.kind}"
    with posts(engine, f"{role}-{right.operation}-{right.name}"):
        secured.take(user, engine.prefix, right)
        reason = until(lambda: _named(readyz(engine, stages), named), NOT_READY_S)
        assert f"`{engine.prefix}{right.name}`" in reason
        assert "topics create" not in reason
        stays(engine, stages)
        secured.allow(user, engine.prefix, [right])
        until(lambda: readyz(engine, stages) == "ready", READY_S)


def stays(engine: Engine, stages: str) -> None:
    """See that a worker is not ready, also once the client has told the refusal."""
    end = time.monotonic() + 6
    while time.monotonic() < end:
        assert readyz(engine, stages) != "ready"
        time.sleep(0.2)


def _named(reason: str, wanted: str) -> str:
    return reason if wanted in reason else ""


@pytest.mark.parametrize("command", ["evalsha", "publish"])
def test_without_a_right_in_redis_a_ranker_is_not_ready(
    secured: SecuredStack, shared_engine: Engine, command: str
) -> None:
    engine = shared_engine
    user = f"ranker-{engine.prefix[:-1]}"
    with posts(engine, command):
        secured.client.execute_command("ACL", "SETUSER", user, f"-{command}")
        reason = until(lambda: _named(readyz(engine, RANKER), "NOPERM"), NOT_READY_S)
        assert command in reason.lower()
        stays(engine, RANKER)
        secured.client.execute_command("ACL", "SETUSER", user, f"+{command}")
        until(lambda: readyz(engine, RANKER) == "ready", READY_S)


def test_a_worker_that_starts_without_a_right_names_it(
    secured: SecuredStack, shared_engine: Engine
) -> None:
    engine, right = shared_engine, KafkaRight("topic", "config", "Read")
    user = f"judge-{engine.prefix[:-1]}"
    secured.take(user, engine.prefix, right)
    engine.workers[JUDGE].stop(30)
    engine.variables = secured.variables(user)
    engine.restart(JUDGE)
    named = f"the user `{user}` may not Read the topic `{engine.prefix}config`"
    until(lambda: _named(engine.workers[JUDGE].log.read_text(), named), 60)
    secured.allow(user, engine.prefix, [right])
    engine.wait_ready(JUDGE, seconds=120)


def test_an_idle_ranker_whose_redis_user_may_do_nothing_is_not_ready(
    secured: SecuredStack, shared_engine: Engine
) -> None:
    user = f"ranker-{shared_engine.prefix[:-1]}"
    secured.client.execute_command("ACL", "SETUSER", user, "nocommands")
    reason = until(lambda: _named(readyz(shared_engine, RANKER), "NOPERM"), NOT_READY_S)
    assert reason.startswith(f"Redis at rediss://127.0.0.1:{secured.redis_port}/0: NOPERM")


def test_a_frontend_reads_feeds_and_nothing_else(secured: SecuredStack) -> None:
    secured.add_user("frontend")
    secured.grant("frontend", "f1.", ["frontend"], SIGNALS)
    secured.client.zadd("f1.feed:{global}", {"a": 1.0})
    url = secured.variables("frontend")["FEEDMILL_REDIS"]
    client: Any = redis.Redis.from_url(url, decode_responses=True)
    assert client.zrange("f1.feed:{global}", 0, 9) == ["a"]
    for refused in (
        lambda: client.hgetall("f1.signals:a"),
        lambda: client.keys("*"),
        lambda: next(client.scan_iter()),
        lambda: client.zadd("f1.feed:{global}", {"b": 1.0}),
        lambda: client.zrange("f2.feed:{global}", 0, 9),
    ):
        with pytest.raises(redis.exceptions.NoPermissionError):
            refused()  # type: ignore[no-untyped-call]  # redis has no type here
    client.close()
