"""The settings of a process, from variables to `Environment` and back."""

import dataclasses
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.golden import Golden
from feedmill.events.errors import UsageError
from feedmill.events.signal import RESERVED_NAMES, SignalNames
from feedmill.models.store_files import RemoteStore
from feedmill.streams.environment import (
    Environment,
    declared_signals,
    environment_variables,
    read_environment,
)
from feedmill.streams.security import variable_of

# For each variable, values of which the message is a golden file.
REFUSED = {
    "FEEDMILL_KAFKA": ("", "broker", "broker:", ":9092", "broker:port", "a:1,b", "a:1,,b:2"),
    "FEEDMILL_REDIS": ("", "localhost:6379", "http://user:secret@host/0", "user:secret@host:6379"),
    "FEEDMILL_TOPIC_PREFIX": ("a b", "é.", "a/b", "x" * 65),
    "FEEDMILL_SIGNALS": ("extreme",),
    "FEEDMILL_MODELS": ("/dev/null", "s3://key:secret@bucket/a", "gs://bucket/a"),
    "FEEDMILL_READER_PORT": ("-1", "http"),
    "FEEDMILL_PORT": ("-1", "65536", "http", "80.5", "²"),
    "FEEDMILL_BATCH_RECORDS": ("0", "100001", "many"),
    "FEEDMILL_SESSION_TIMEOUT_MS": ("5999", "1800001", "6 s"),
    "FEEDMILL_FLAGGED_CAP": ("-0.1", "1.01", "nan", "10%"),
    "FEEDMILL_USER_WINDOW": ("999", "100000001", "1e6"),
    "FEEDMILL_BURST_REACTIONS": ("0", "1000000001", "many"),
    "FEEDMILL_MEMORY_MIB": ("63", "65537", "1g"),
    "FEEDMILL_RESCORE_RATE": ("-1", "1000001", "0.5"),
    "FEEDMILL_EXAMINATION": ("1,", "1,0", "11", "1;0.5", "nan"),
    "FEEDMILL_FEATURE_SHARE": ("-0.1", "1.01", "1%"),
    "FEEDMILL_INSTANCE": ("a b", "spam/1", "x" * 65),
}


def refusal(variable: str, text: str) -> str:
    with pytest.raises(UsageError) as error:
        read_environment({variable: text})
    return str(error.value)


def test_refusals_say_what_is_expected(golden: Golden) -> None:
    lines = [
        f"{variable}={text}\n    {refusal(variable, text)}\n"
        for variable, texts in REFUSED.items()
        for text in texts
    ]
    golden.check("environment_refusals.txt", "".join(lines))


def test_every_variable_that_can_be_wrong_is_among_them() -> None:
    attributes = {field.name for field in dataclasses.fields(Environment)}
    never_wrong = {"redis_prefix", "host", "reader_tokens", "security", "secret_files"}
    never_wrong |= {"instance_is_given"}
    assert set(REFUSED) == {variable_of(name) for name in attributes - never_wrong}


def test_without_variables_the_defaults_are_in_force() -> None:
    environment = read_environment({"PATH": "/bin", "FEEDMILL_KAFKA_UNKNOWN": "x"})
    assert dataclasses.replace(environment, instance="") == Environment()


def test_an_empty_variable_counts_as_not_set() -> None:
    names = [field.name for field in dataclasses.fields(Environment)]
    without = ("kafka", "redis", "security", "instance_is_given")
    variables = {variable_of(name): "" for name in names if name not in without}
    environment = read_environment(variables)
    assert dataclasses.replace(environment, instance="") == Environment()


@pytest.mark.parametrize(
    ("attribute", "text", "value"),
    [
        ("kafka", "a:9092", "a:9092"),
        ("kafka", "a:1,[::1]:2", "a:1,[::1]:2"),
        ("redis", "rediss://user:secret@host:6380/3", "rediss://user:secret@host:6380/3"),
        ("redis", "unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("topic_prefix", "eu-1.news_", "eu-1.news_"),
        ("topic_prefix", "x" * 64, "x" * 64),
        ("redis_prefix", "any text: é", "any text: é"),
        ("host", "0.0.0.0", "0.0.0.0"),  # noqa: S104 - nothing listens here
        ("port", "0", 0),
        ("port", "65535", 65_535),
        ("examination", "1", (1.0,)),
        ("examination", "1, 0.5,1e-3,10", (1.0, 0.5, 0.001, 10.0)),
        ("models", "s3://bucket/a/b/", RemoteStore("s3://bucket/a/b")),
    ],
)
def test_a_variable_sets_its_attribute_alone(attribute: str, text: str, value: object) -> None:
    environment = read_environment({variable_of(attribute): text})
    expected: dict[str, Any] = {"instance": environment.instance, attribute: value}
    assert environment == dataclasses.replace(Environment(), **expected)


def test_a_store_is_a_folder_or_one_that_is_yet_to_be_made(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "new"):
        assert read_environment({"FEEDMILL_MODELS": str(path)}).models == path
    (tmp_path / "file").write_text("")
    assert "which is no folder" in refusal("FEEDMILL_MODELS", str(tmp_path / "file"))


def test_the_variables_of_the_process_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEEDMILL_TOPIC_PREFIX", "mine.")
    assert read_environment().topic_prefix == "mine."


# --- secrets --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("rediss://user:secret@host:6379/0", "rediss://host:6379/0"),
        ("redis://:sec@ret@host:6379/0", "redis://host:6379/0"),
        ("redis://host/0?password=secret", "redis://host/0"),
        ("redis://host/0?password=sec@ret", "redis://host/0"),
        ("redis://:sec?ret@host/0", "redis://…"),
        ("redis://:sec/ret@host/0", "redis://…"),
        ("rediss+cluster://u:p@a:1,[::1]:2", "rediss+cluster://a:1,[::1]:2"),
        ("unix://user:secret@/run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_messages_get_the_url_of_redis_without_credentials(url: str, address: str) -> None:
    assert Environment(redis=url).redis_address == address


def test_the_passwords_of_kafka_are_not_printed() -> None:
    environment = Environment(
        redis="redis://u:hidden@h/0", security={"sasl_plain_password": "hidden"}
    )
    assert "hidden" not in repr(environment)


# --- the name of the instance -----------------------------------------------------------------


def test_each_process_gets_a_name_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "weird host/näme" + "x" * 80)
    first, second = read_environment({}).instance, read_environment({}).instance
    assert first != second
    assert first.startswith("weird-host-n-mexxx")
    for name in (first, second):
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name)
        assert read_environment({"FEEDMILL_INSTANCE": name}).instance == name
        assert read_environment({"FEEDMILL_INSTANCE": name}).instance_is_given
    assert not read_environment({}).instance_is_given


# --- child processes --------------------------------------------------------------------------

SIGNAL_NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True).filter(
    lambda name: name not in RESERVED_NAMES and name not in SignalNames().all
)
SIGNED_IN = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "SCRAM-SHA-512",
    "sasl_plain_username": "u",
    "sasl_plain_password": "p",
}
NAME_PARTS = st.from_regex(r"[A-Za-z0-9._-]{0,12}", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


def whole(least: int, most: int) -> st.SearchStrategy[int]:
    return st.sampled_from([least, most]) | st.integers(least, most)


@st.composite
def environments(draw: st.DrawFn) -> Environment:
    names = draw(st.lists(SIGNAL_NAMES, unique=True, max_size=5))
    declared = ",".join(f"{name}:{draw(st.sampled_from(['gate', 'objective']))}" for name in names)
    return Environment(
        kafka=draw(st.sampled_from(["a:1", "a:1,b:2"])),
        redis=draw(st.sampled_from(["redis://h/0", "rediss://u:p@h:1/2"])),
        topic_prefix=draw(NAME_PARTS),
        redis_prefix=draw(TEXTS),
        signals=declared_signals(declared),
        models=draw(st.sampled_from([None, Path("/"), RemoteStore("s3://bucket/a")])),
        host=draw(st.sampled_from(["127.0.0.1", "::1", "feedmill.example"])),
        batch_records=draw(whole(1, 100_000)),
        session_timeout_ms=draw(whole(6_000, 1_800_000)),
        flagged_cap=draw(st.floats(0, 1) | st.sampled_from([0.0, 1.0])),
        rescore_rate=draw(whole(0, 1_000_000)),
        user_window=draw(whole(1_000, 100_000_000)),
        burst_reactions=draw(whole(1, 1_000_000_000)),
        memory_mib=draw(whole(64, 65_536)),
        feature_share=draw(st.floats(0, 1) | st.sampled_from([0.0, 1.0])),
        examination=tuple(draw(st.lists(st.floats(1e-6, 10), max_size=5))),
        security=draw(st.sampled_from([{}, SIGNED_IN])),
    )


@given(environments())
def test_a_child_process_reads_the_same_environment(environment: Environment) -> None:
    child = read_environment(environment_variables(environment))
    assert dataclasses.replace(child, instance="") == environment


def test_a_child_process_inherits_neither_name_nor_port() -> None:
    variables = environment_variables(Environment(instance="me", port=9000))
    assert not {"FEEDMILL_INSTANCE", "FEEDMILL_PORT"} & set(variables)


def test_a_child_process_gets_the_shipped_models_whatever_it_inherits() -> None:
    inherited = {"FEEDMILL_MODELS": "/elsewhere"}
    assert read_environment({**inherited, **environment_variables(Environment())}).models is None
