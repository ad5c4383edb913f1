"""What all tests share: golden files, and one real Kafka and Redis for the whole session."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from confluent_kafka.admin import AdminClient

from builders.commands import CommandTopics, FakeStage
from builders.own_redis import OwnRedis
from builders.patient_broker import PATIENT_BROKER
from builders.scratch import scratch_folder
from builders.written_redis import WrittenRedis
from feedmill.deploy.local import StackAddress, down, up

pytest_plugins = ["builders.golden", "builders.s3_server"]

# OpenMP threads wait by spinning: beside other processes training takes ten times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Names the folder of the servers to the processes that xdist starts.
_STACK_FOLDER = "STACK_OF_TESTS"
_STACK = pytest.StashKey[Path]()

# A busy machine is no failure, so no draw has a deadline.
hypothesis.settings.register_profile("feedmill", deadline=None)
hypothesis.settings.load_profile("feedmill")


def pytest_configure(config: pytest.Config) -> None:
    if _hands_out(config):
        os.environ[_STACK_FOLDER] = str(scratch_folder("feedmill-tests-"))
    config.stash[_STACK] = Path(os.environ[_STACK_FOLDER])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers, whichever process started them."""
    if _hands_out(config):
        down(config.stash[_STACK])
        shutil.rmtree(config.stash[_STACK])


def _hands_out(config: pytest.Config) -> bool:
    """Whether this process hands out the tests to others, or runs all of them."""
    return not hasattr(config, "workerinput")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what needs the servers, so that `-m "not stack"` runs without them.

    Of several processes, some are to wait for engines while others compute, from begin to end.
    """
    for item in items:
        if "stack" in getattr(item, "fixturenames", ()):
            item.add_marker("stack")
    if not _hands_out(config):
        files = dict.fromkeys(item.path for item in items)
        waiting = [file for file in files if "e2e" in file.parts]
        computing = [file for file in files if "e2e" not in file.parts]
        place = {
            file: number / len(some)
            for some in (waiting, computing)
            for number, file in enumerate(some)
        }
        items.sort(key=lambda item: place[item.path])


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config) -> StackAddress:
    """Kafka and Redis, shared by all tests of all processes: keep apart by `prefix`.

    Whoever asks first starts them.  With FEEDMILL_TEST_KAFKA and FEEDMILL_TEST_REDIS set, those
    servers instead.
    """
    kafka, redis = os.environ.get("FEEDMILL_TEST_KAFKA"), os.environ.get("FEEDMILL_TEST_REDIS")
    if kafka and redis:
        return StackAddress(kafka, redis)
    return up(pytestconfig.stash[_STACK], broker_settings=PATIENT_BROKER)


@pytest.fixture(scope="session")
def _admin(stack: StackAddress) -> AdminClient:
    return AdminClient({"bootstrap.servers": stack.kafka})


@pytest.fixture
def prefix(_admin: AdminClient) -> Iterator[str]:
    """A topic prefix of this test alone; its topics are deleted afterwards."""
    unique = f"t{uuid.uuid4().hex[:6]}."
    yield unique
    left = [name for name in _admin.list_topics(timeout=30).topics if name.startswith(unique)]
    for deleted in _admin.delete_topics(left).values() if left else ():
        deleted.result(30)  # else the next test would wait beside it


@pytest.fixture
def topics(stack: StackAddress, prefix: str) -> Iterator[CommandTopics]:
    """The topics of this test, none of which is made yet."""
    made = CommandTopics(stack.kafka, prefix)
    yield made
    made.close()


@pytest.fixture
def stage(
    stack: StackAddress, prefix: str, topics_made: None
) -> Iterator[Callable[..., FakeStage]]:
    """Start fake stages: `stage("spam/1")`, or one that refuses what it reads."""
    started: list[FakeStage] = []

    def start(name: str, refuses: str | None = None) -> FakeStage:
        one = FakeStage(stack.kafka, prefix, name, refuses)
        one.start()
        assert one.ready.wait(60)
        started.append(one)
        return one

    yield start
    for one in started:
        one.ended.set()
        one.join(10)


@pytest.fixture
def writer(stack: StackAddress, prefix: str) -> Iterator[WrittenRedis]:
    """Writes feeds and posts to Redis as an engine does."""
    writer = WrittenRedis(stack.redis, prefix)
    yield writer
    writer.close()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    """An empty Redis, which runs and which nobody else uses."""
    server = OwnRedis(tmp_path / "own-redis")
    try:
        server.start()
        yield server
    finally:
        server.close()
