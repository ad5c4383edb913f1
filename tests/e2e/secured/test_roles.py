"""Commands and programs under the roles of the table, over SCRAM with TLS and over mutual TLS."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import OffsetSpec

from builders.engine import WORKER, Engine
from builders.secured_stack import SecuredStack
from builders.waiting import until
from feedmill.streams.environment import declared_signals
from feedmill.streams.rights import rights_of

EXAMPLES = Path(__file__).parents[3] / "examples"
OWN = "novelty:objective"
SIGNALS = declared_signals(OWN).all
COMMANDS = {
    "viewer": ("health", "doctor", "doctor --role viewer", "feed global", "explain p1",
               "groups describe", "models health"),
    "moderator": ("override hide post:p1 --reason spam", "override clear post:p1"),
    "operator": ("config set weights quality=0.9", "models list", "health"),
    "installer": ("topics create --apply",),
}  # fmt: skip


@pytest.fixture(scope="module")
def engine(secured: SecuredStack, tmp_path_factory: Any) -> Any:
    engine = Engine(secured.kafka, secured.redis_url, "roles.", tmp_path_factory.mktemp("e"), OWN)
    engine.sign_in = secured.sign_in
    try:
        engine.start(WORKER)
        engine.wait_ready(seconds=120)
        engine.wait_decided({f"p{n}": engine.post(f"p{n}") for n in range(5)})
        yield engine
    finally:
        engine.stop()


def user_of(secured: SecuredStack, engine: Engine, role: str) -> dict[str, str]:
    secured.add_user(role)
    secured.grant(role, engine.prefix, [role], SIGNALS)
    return secured.variables(role)


def ends(secured: SecuredStack, engine: Engine) -> dict[Any, int]:
    """Where the topics end, but for `instances`, which workers write all the time."""
    found = secured.admin.list_topics(timeout=30).topics
    places = {
        TopicPartition(topic, n): OffsetSpec.latest()
        for topic in found
        if topic.startswith(engine.prefix) and topic != engine.topic("instances")
        for n in found[topic].partitions
    }
    asked = secured.admin.list_offsets(places)
    return {(at.topic, at.partition): one.result(30).offset for at, one in asked.items()}


def engine_rests(secured: SecuredStack, engine: Engine) -> dict[Any, int]:
    """Where the topics end a while later, since the workers commit every half second."""
    time.sleep(2)
    return ends(secured, engine)


@pytest.mark.parametrize("role", COMMANDS)
def test_commands_run_under_their_role(secured: SecuredStack, engine: Engine, role: str) -> None:
    variables = user_of(secured, engine, role)
    until(lambda: ends(secured, engine) == engine_rests(secured, engine))
    before = ends(secured, engine)
    for line in COMMANDS[role]:
        done = engine.feedmill(line, **variables)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
    assert {name for _, name, _ in secured.decisions(role, "Denied")} <= {engine.topic("unused")}
    if role == "viewer":
        assert ends(secured, engine) == before
        keys = [one.key.decode() for one in engine.read_all("instances")]
        assert {key for key in keys if key.startswith("clock")} == set()


def test_an_own_signal_on_faust_has_the_rights_of_its_role(
    secured: SecuredStack, engine: Engine
) -> None:
    secured.add_user("novelty")
    rights = rights_of("own-signal", SIGNALS, "novelty")
    secured.allow("novelty", engine.prefix, rights.kafka)
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "novelty_signal.py"), "worker"],
        env={**engine.environment(), **secured.variables("novelty")},
        cwd=engine.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: len(engine.read_all("signals.novelty")) >= 5, 60)
    finally:
        process.terminate()
        process.wait(30)
    assert secured.decisions("novelty", "Denied") == set()


def test_the_frontend_of_the_examples_signs_in_by_the_same_variables(
    secured: SecuredStack, engine: Engine
) -> None:
    variables = user_of(secured, engine, "frontend")
    done = subprocess.run(
        [
            *(sys.executable, str(EXAMPLES / "frontend.py"), "--redis-prefix", engine.prefix),
            *("--user", "u", "--kafka", secured.sasl, "--topic", engine.topic("exposures")),
        ],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert " p1" in done.stdout


def test_a_command_signs_in_by_mutual_tls(secured: SecuredStack, engine: Engine) -> None:
    certificate, key = secured.certificates.issue("viewer-tls")
    secured.add_user("viewer-tls")
    secured.grant("viewer-tls", engine.prefix, ["viewer"], SIGNALS)
    variables = {
        "FEEDMILL_KAFKA": secured.mutual,
        "FEEDMILL_KAFKA_SECURITY_PROTOCOL": "SSL",
        "FEEDMILL_KAFKA_SSL_CAFILE": str(secured.certificates.authority),
        "FEEDMILL_KAFKA_SSL_CERTFILE": str(certificate),
        "FEEDMILL_KAFKA_SSL_KEYFILE": str(key),
        "FEEDMILL_REDIS": secured.variables("viewer-tls")["FEEDMILL_REDIS"],
    }
    done = engine.feedmill("groups describe --json", **variables)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    assert secured.decisions("viewer-tls")


def test_doctor_names_what_is_missing_and_what_is_too_much(
    secured: SecuredStack, engine: Engine
) -> None:
    variables = user_of(secured, engine, "moderator")
    done = engine.feedmill("doctor --role viewer --json", **variables)
    findings = json.loads(done.stdout)["findings"]
    missing = next(one for one in findings if "may not Read the topic `roles.posts`" in one["what"])
    assert missing["way_out"].startswith("`kafka-acls.sh --bootstrap-server")
    assert "--operation Read --topic roles.posts" in missing["way_out"]
    more = next(one for one in findings if "more than a viewer needs" in one["what"])
    assert more["severity"] == "warn"
    assert "Write topic `overrides`" in more["what"]
    assert done.returncode == 1
