"""The faults by which alarms are raised on a live engine, and their cures.

Each is a generator: what comes before its `yield` causes the fault, what comes after cures it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from alarms.model_faults import (
    bad_signals_while_nobody_ranks,
    broken_model,
    greedy_worker,
    other_reactions,
    post_that_ends_workers,
    refused_release,
    waiting_release,
)
from alarms.surroundings import Fault, Surroundings
from builders.bombs import bomb, send_batch
from builders.engine import Engine
from builders.engine_topics import post_of
from builders.secured_stack import SecuredStack
from builders.waiting import in_background, now_ms, until
from feedmill.deploy.local.process import free_port

SPAM = "FREE CASH!!! WINNER claim your {} prize NOW"
HOUR_MS = 3_600_000


def refused_setting(at: Surroundings) -> Iterator[None]:
    at.engine.set("weights", {"nonsense": 1})
    yield


def bad_records(at: Surroundings) -> Iterator[None]:
    for n in range(30):
        at.engine.send("engagements", f"bad-{n}", b"{").get(10)
    yield


def flood_of_bad_records(at: Surroundings) -> Iterator[None]:
    for _ in range(8_000):
        at.engine.send("engagements", "bad", b"{")
    at.engine.producer.flush(60)
    yield


def inflating_batch(at: Surroundings) -> Iterator[None]:
    send_batch(at.engine.kafka, at.engine.topic("posts"), 0, bomb("zstd", 130_000_000))
    yield


def posts_hidden_by_a_rule(at: Surroundings) -> Iterator[None]:
    rule = {"everything": {"verdict": "hide", "phrases": ["river"]}}
    at.engine.wait_applied(at.engine.set("rules/spam", rule))
    for n in range(120):
        at.engine.post(f"hidden-{n}")
    yield
    at.engine.wait_applied(at.engine.set("rules/spam", None))


def open_transaction(at: Surroundings) -> Iterator[None]:
    """Hold engagements back; more and more wait behind them."""
    producer = at.engine.producer_of(**{"transactional.id": at.engine.topic("upstream")})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(at.engine.topic("engagements"), b"{}", b"some")
    producer.flush(30)

    def send_until(stop: threading.Event) -> None:
        while not stop.wait(0.1):
            for _ in range(30):
                at.engine.click("some")

    with in_background(send_until):
        yield
    producer.abort_transaction(30)


def redis_away(at: Surroundings) -> Iterator[None]:
    at.redis.stop()

    def post_until(stop: threading.Event) -> None:
        while not stop.wait(0.5):
            at.engine.post(f"away-{now_ms()}")

    with in_background(post_until):
        yield
    at.redis.start()


def another_owner(at: Surroundings) -> Iterator[None]:
    """Have somebody else own all feeds, again and again: an installation with the same prefix."""
    client = at.redis.client()

    def own_until(stop: threading.Event) -> None:
        while not stop.wait(0.3):
            for key in client.scan_iter(f"{at.engine.prefix}feed:*:info"):
                client.hincrby(key, "owner", 1_000)
            at.engine.post(f"owned-{now_ms()}")

    with in_background(own_until):
        yield


def killed_worker(at: Surroundings) -> Iterator[None]:
    assert at.worker is not None
    at.worker.kill()
    yield
    at.start()


def stamp_in_the_future(at: Surroundings) -> Iterator[None]:
    """Have the broker give a heartbeat a stamp three hours ahead."""
    _stamp_by(at.engine, "CreateTime")
    at.engine.send(
        "instances", "clock/wrong", None, partition=0, timestamp_ms=now_ms() + 3 * HOUR_MS
    ).get(10)
    yield
    _stamp_by(at.engine, "LogAppendTime")


def _stamp_by(engine: Engine, kind: str) -> None:
    entries = [
        ConfigEntry("message.timestamp.type", kind, incremental_operation=AlterConfigOpType.SET),
        ConfigEntry(
            "message.timestamp.after.max.ms",
            str(24 * HOUR_MS),
            incremental_operation=AlterConfigOpType.SET,
        ),
    ]
    resource = ConfigResource(
        ConfigResource.Type.TOPIC, engine.topic("instances"), incremental_configs=entries
    )
    admin = AdminClient({"bootstrap.servers": engine.kafka})
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(30)


def capped_community(at: Surroundings) -> Iterator[None]:
    """Send a community of which a filter flags a quarter."""
    at.engine.wait_applied(at.engine.set("gates", {"spam": {"hide_at": 0.5, "demote_at": 0.2}}))
    _send(at.engine, "loud", spam_every=4)
    yield
    _send(at.engine, "calm", spam_every=10_000)
    _send(at.engine, "calmer", spam_every=10_000)
    at.engine.wait_applied(at.engine.set("gates", None))


def _send(engine: Engine, tag: str, spam_every: int) -> None:
    def text(n: int) -> str:
        return SPAM.format(n) if n % spam_every == 3 else f"{n} and a walk along the river"

    engine.posts(post_of(f"{tag}-{n}", text(n), communities=["alarms"]) for n in range(1600))


def workers_that_end(at: Surroundings) -> Iterator[None]:
    """Kill a supervisor's worker whenever it is there again."""
    with _supervisor(at) as pid:

        def kill_until(stop: threading.Event) -> None:
            while not stop.wait(1.0):
                for child in _children(pid):
                    os.kill(child, signal.SIGKILL)

        with in_background(kill_until):
            yield


def stopped_worker(at: Surroundings) -> Iterator[None]:
    """Have a supervisor's worker stand still."""
    with _supervisor(at) as pid:
        (child,) = until(lambda: _children(pid), 60)
        time.sleep(10)
        os.kill(child, signal.SIGSTOP)
        yield
        os.kill(child, signal.SIGCONT)
        time.sleep(10)


@contextlib.contextmanager
def _supervisor(at: Surroundings) -> Iterator[int]:
    """Run a supervisor of one worker in place of the worker; its pid."""
    assert at.worker is not None
    at.worker.stop()
    port = free_port(set())
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "feedmill.cli.main", "worker", "--isolate", "quality"],
        env={**at.engine.environment(), "FEEDMILL_PORT": str(port)},
        cwd=at.engine.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        at.prometheus.watch(port)
        # As long as the rules look back.
        time.sleep(20)
        yield supervisor.pid
    finally:
        supervisor.terminate()
        supervisor.wait(30)
        at.start()


def _children(pid: int) -> set[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)],  # noqa: S607 - the one on the path
        capture_output=True,
        text=True,
        check=False,
    )
    return {int(word) for word in listed.stdout.split()}


def member_that_is_no_worker(at: Surroundings) -> Iterator[None]:
    """Join the group with a plain client, which gets half of the shards and ranks none."""
    stranger = Consumer(
        {
            "bootstrap.servers": at.engine.kafka,
            "group.id": at.engine.topic("worker"),
            "partition.assignment.strategy": "range",
            "enable.auto.commit": False,
        }
    )

    def poll_until(stop: threading.Event) -> None:
        stranger.subscribe([at.engine.topic("feed-shards")])
        while not stop.is_set():
            stranger.poll(0.5)
        stranger.close()

    with in_background(poll_until):
        yield


def certificate_that_expires(at: Surroundings) -> Iterator[None]:
    """Have a worker sign in elsewhere by a certificate of five days; the cure is another one."""
    folder = at.engine.folder / "secured"
    with contextlib.closing(SecuredStack(folder)) as secured:
        engine = Engine(secured.kafka, secured.redis_url, "signed.", folder)
        secured.user_of(engine, "worker")

        def start(name: str, **more: object) -> None:
            files = secured.certificates.issue("worker-signed", **more)
            variables = secured.mutual_variables("worker-signed", *files)
            worker = engine.ready_worker(name, variables=variables)
            at.prometheus.watch(engine.port_of(worker))

        start("old", not_after=datetime.now(UTC) + timedelta(days=5))
        yield
        engine.workers["workerold"].stop()
        start("new")
        until(lambda: "FeedmillCertificateExpires" not in at.prometheus.firing(), 150)
        engine.stop()
        if at.worker is not None:
            at.prometheus.watch(at.engine.port_of(at.worker))


# By fault which alarms it raises.
FAULTS: dict[Fault, tuple[str, ...]] = {
    refused_setting: ("FeedmillRefusedSettings",),
    bad_records: ("FeedmillDeadLetters",),
    flood_of_bad_records: ("FeedmillSharedLetters", "FeedmillDeadLetters"),
    inflating_batch: ("FeedmillPassedBatches",),
    refused_release: ("FeedmillRefusedReleases",),
    posts_hidden_by_a_rule: ("FeedmillHiddenPosts",),
    open_transaction: (
        *("FeedmillHeldBack", "FeedmillPartitionLate", "FeedmillStaleFeeds", "FeedmillLag"),
    ),
    redis_away: ("FeedmillRedisErrors", "FeedmillNotReady"),
    another_owner: ("FeedmillWritesRefused",),
    stamp_in_the_future: ("FeedmillClockRefused",),
    capped_community: ("FeedmillCappedSources",),
    broken_model: ("FeedmillModelErrors", "FeedmillPostsHeld"),
    waiting_release: ("FeedmillWaitingReleases",),
    post_that_ends_workers: ("FeedmillPoison",),
    greedy_worker: ("FeedmillMemory",),
    other_reactions: ("FeedmillDrift",),
    workers_that_end: ("FeedmillWorkerRestarts", "FeedmillCrashLoop"),
    stopped_worker: ("FeedmillLoopStandsStill",),
    bad_signals_while_nobody_ranks: ("FeedmillLostLetters",),
    member_that_is_no_worker: ("FeedmillFreeShards",),
    certificate_that_expires: ("FeedmillCertificateExpires",),
    killed_worker: ("FeedmillDown", "FeedmillNoWorker"),
}
