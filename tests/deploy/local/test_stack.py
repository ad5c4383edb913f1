"""The local stack with its real servers."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from builders.patient_broker import PATIENT_BROKER
from feedmill.cli.main import main
from feedmill.deploy.local import LocalStackError, StackAddress, default_folder, down, status, up

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a second stack, which these tests may kill."""
    folder = tmp_path_factory.mktemp("other")
    up(folder)
    yield folder
    down(folder)


def invoke(*arguments: str) -> tuple[int, str, str]:
    outcome = CliRunner().invoke(main, arguments, prog_name="feedmill")
    return outcome.exit_code, outcome.stdout, outcome.stderr


def test_two_stacks_stand_beside_each_other(stack: StackAddress, other: Path) -> None:
    beside = status(other)
    assert beside.running
    assert beside.kafka != stack.kafka
    assert redis.Redis.from_url(beside.redis).set("who", "other")
    assert redis.Redis.from_url(stack.redis).get("who") is None


def test_up_on_a_running_stack_changes_nothing(other: Path) -> None:
    before = status(other)
    assert up(other) == StackAddress(before.kafka, before.redis)
    assert status(other) == before


def test_the_servers_have_sessions_of_their_own(other: Path) -> None:
    found = status(other)
    for pid in (*found.kafka_pids, found.redis_pid):
        assert pid is not None
        assert os.getsid(pid) == pid


def test_the_servers_listen_on_loopback_alone(other: Path) -> None:
    properties = (other / "kafka.properties").read_text()
    assert "listeners=PLAINTEXT://127.0.0.1:" in properties
    assert redis.Redis.from_url(status(other).redis).config_get("bind") == {"bind": "127.0.0.1"}


def test_another_port_than_the_running_one_is_refused(other: Path) -> None:
    with pytest.raises(LocalStackError, match=r"already runs on port .* `feedmill local down`"):
        up(other, kafka_port=1)


def test_a_taken_port_is_refused(stack: StackAddress, tmp_path: Path) -> None:
    taken = int(stack.kafka.rpartition(":")[2])
    with pytest.raises(LocalStackError, match=f"port {taken} .* is taken"):
        up(tmp_path, kafka_port=taken)
    assert not status(tmp_path).running


def test_the_command_line_tells_where_the_servers_are(other: Path) -> None:
    code, out, _ = invoke("local", "status", "--json", "--folder", str(other))
    assert code == 0
    found = status(other)
    assert json.loads(out) == {
        "kafka": found.kafka,
        "redis": found.redis,
        "folder": str(other),
        "kafka_pids": list(found.kafka_pids),
        "redis_pid": found.redis_pid,
    }
    assert invoke("local", "up", "--json", "--folder", str(other))[:2] == (0, out)


def test_down_stops_what_runs_and_may_be_repeated(other: Path) -> None:
    before = status(other)
    for _ in range(2):
        assert invoke("local", "down", "--folder", str(other))[0] == 0
    after = status(other)
    assert after.stopped == ("Kafka", "Redis")
    assert (after.kafka, after.redis) == (before.kafka, before.redis)
    code, out, err = invoke("local", "status", "--json", "--folder", str(other))
    assert (code, out) == (1, "")
    assert err == (
        f"feedmill: Kafka and Redis of the local stack in {other} do not run;"
        " `feedmill local up` starts what is missing\n"
    )


def test_the_broker_of_a_stack_has_the_settings_that_it_was_started_with(
    stack: StackAddress,
) -> None:
    admin = KafkaAdminClient(bootstrap_servers=stack.kafka)
    resource = ConfigResource(ConfigResourceType.BROKER, "1")
    try:
        configs = admin.describe_configs([resource], config_filter="all")["broker"]["1"]
    finally:
        admin.close()
    for name, value in PATIENT_BROKER.items():
        assert configs[name]["value"] == value


def test_down_where_nothing_ever_ran_does_nothing(tmp_path: Path) -> None:
    down(tmp_path / "never")
    assert not (tmp_path / "never").exists()
    assert status(tmp_path / "never").stopped == ("Kafka", "Redis")


def test_the_default_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEEDMILL_HOME", "/somewhere")
    assert default_folder() == Path("/somewhere/local")
    monkeypatch.delenv("FEEDMILL_HOME")
    assert default_folder() == Path.cwd() / ".feedmill" / "local"
