"""An app for a signal of one's own, without Kafka: what it answers, and Faust's transport."""

import asyncio
import dataclasses
import gzip
import json
import re
import runpy
import ssl
from pathlib import Path
from typing import Any

import pytest
from faust.types.auth import AuthProtocol, SASLMechanism

from builders.bombs import CODECS, bomb
from feedmill.events.errors import BadEvent, UsageError
from feedmill.events.post import Post
from feedmill.streams.environment import Environment, declared_signals
from feedmill.streams.kafka.batch_headers import is_bounded
from feedmill.streams.kafka.client import MAX_INFLATED_BYTES
from feedmill.streams.own_signal import signal_app
from feedmill.streams.own_signal.signal_app import (
    Answers,
    BoundedRecords,
    ScorePost,
    broker_credentials,
    check_partition,
)

PAGE = Path(__file__).parents[3] / "docs" / "own_signals.md"
ENVIRONMENT = Environment(
    kafka="one:9092,two:9093",
    topic_prefix="shop.",
    signals=declared_signals("novelty:objective"),
    instance="n-1",
)


def test_an_undeclared_signal_is_refused() -> None:
    with pytest.raises(UsageError, match="FEEDMILL_SIGNALS=charm:objective, or charm:gate"):
        signal_app("charm", model="m", version="1", environment=ENVIRONMENT)


def test_a_version_that_the_combiner_would_refuse_is_refused() -> None:
    signal_app("novelty", model="m", version="v" * 256, environment=ENVIRONMENT)
    with pytest.raises(UsageError, match=r"of at most 256 characters, got 257; .* give shorter"):
        signal_app("novelty", model="m", version="v" * 257, environment=ENVIRONMENT)


def test_its_group_is_the_name_of_its_topic() -> None:
    app = signal_app("novelty", model="m", version="1", environment=ENVIRONMENT)
    assert app.conf.id == "shop.signals.novelty"
    assert [str(url) for url in app.conf.broker] == ["kafka://one:9092", "kafka://two:9093"]
    assert app.conf.consumer_group_instance_id is None
    # A given instance is a static member; settings of Faust are passed on.
    given = dataclasses.replace(ENVIRONMENT, instance_is_given=True)
    app = signal_app("novelty", model="m", version="1", environment=given, web_port=7001)
    assert (app.conf.consumer_group_instance_id, app.conf.web_port) == ("n-1", 7001)


def test_the_page_about_signals_has_a_program_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    program = tmp_path / "length.py"
    program.write_text(code)
    monkeypatch.setenv("FEEDMILL_SIGNALS", "length:objective")
    found = runpy.run_path(str(program))
    assert found["app"].conf.id == "signals.length"
    assert len(found["app"].agents) == 1
    assert found["length"](Post("p", "a", 0, "x" * 500)) == 0.5


POST = b'{"post_id": "p", "author_id": "a", "created_at_ms": 1700000000005, "text": "four"}'


def answer(score: ScorePost, value: bytes | None = POST, *, in_unit_range: bool = False) -> Any:
    answers = Answers("mine", in_unit_range, "m", "v1", score)
    written = asyncio.run(answers.answer(b"p", value, 7, 99))
    return None if written is None else json.loads(written)


def test_a_post_is_answered_about_its_own_version() -> None:
    assert answer(lambda post: len(post.text) / 10) == {
        "post_id": "p",
        "post_offset": 7,
        "value": 0.4000000059604645,  # a float32, written in full
        "model": "m",
        "version": "v1",
        "at_ms": 99,
    }


def test_a_coroutine_function_is_awaited() -> None:
    async def score(post: Post) -> float:
        await asyncio.sleep(0)
        return 2.0

    assert answer(score)["value"] == 2.0


def test_a_deletion_removes_the_signal() -> None:
    def score(post: Post) -> float:
        raise AssertionError("a deletion is not scored")

    assert answer(score, None) is None
    assert answer(score, b'{"post_id": "p", "deleted": true}') is None


@pytest.mark.parametrize(
    ("value", "in_unit_range", "error"),
    [
        # A gate and a cost are probabilities, an objective any number.
        (4.5, False, ""),
        (4.5, True, "Expected `mine` in [0, 1]"),
        *((value, False, "Expected a finite float32") for value in (float("nan"), 1e300)),
    ],
)
def test_a_value_that_no_reader_takes_becomes_an_error(
    value: float, error: str, *, in_unit_range: bool
) -> None:
    written = answer(lambda post: value, in_unit_range=in_unit_range)
    assert written["value"] == (None if error else value)
    assert error in written.get("error", "")


def test_an_exception_becomes_an_error() -> None:
    written = answer(lambda post: 1 / 0)
    assert (written["value"], written["error"]) == (None, "ZeroDivisionError: division by zero")


def test_what_is_no_post_is_rejected() -> None:
    with pytest.raises(BadEvent):
        answer(lambda post: 1.0, b"no post")


def test_a_record_in_a_foreign_partition_is_rejected() -> None:
    # murmur2 of `p`, as Java's client computes it, puts it into partition 2 of 4.
    check_partition(b"p", 2, 4)
    with pytest.raises(BadEvent, match="Expected partition 2 for this key, got 1"):
        check_partition(b"p", 1, 4)


SASL = {
    "sasl_mechanism": "SCRAM-SHA-512",
    "sasl_plain_username": "reader",
    "sasl_plain_password": "secret",
}


def test_tls_checks_the_broker_and_without_security_there_are_no_credentials() -> None:
    assert broker_credentials({}) is None
    assert broker_credentials({"security_protocol": "PLAINTEXT"}) is None
    found = broker_credentials({"security_protocol": "SSL"})
    assert found.protocol is AuthProtocol.SSL
    assert found.context.verify_mode is ssl.CERT_REQUIRED


def test_a_password_goes_over_the_protocol_that_is_asked_for() -> None:
    plain = broker_credentials({"security_protocol": "SASL_PLAINTEXT", **SASL})
    assert plain.protocol is AuthProtocol.SASL_PLAINTEXT
    secured = broker_credentials({"security_protocol": "SASL_SSL", **SASL})
    assert secured.protocol is AuthProtocol.SASL_SSL
    assert secured.mechanism is SASLMechanism.SCRAM_SHA_512
    assert (secured.username, secured.password) == ("reader", "secret")
    assert secured.ssl_context.verify_mode is ssl.CERT_REQUIRED


COMPRESSED = ("gzip", "snappy", "lz4", "zstd")
SMALL = {codec: bomb(codec, 1_000_000, record_bytes=1_000) for codec in CODECS}
LARGE = {codec: bomb(codec, 20_000_000) for codec in COMPRESSED}


@pytest.mark.parametrize("codec", CODECS)
def test_records_of_every_codec_are_read(codec: str) -> None:
    records = BoundedRecords(SMALL[codec])
    assert records.has_next()
    assert records.size_in_bytes() == len(SMALL[codec])
    batch = records.next_batch()
    assert [len(record.value) for record in batch] == [1_000] * 1_000
    assert not records.has_next()


@pytest.mark.parametrize("codec", COMPRESSED)
def test_a_batch_beyond_the_bound_has_no_records_and_the_next_one_has(codec: str) -> None:
    records = BoundedRecords(LARGE[codec] + SMALL[codec] + LARGE[codec])
    passed = records.next_batch()
    assert not list(passed)
    assert (passed.base_offset, passed.next_offset, passed.is_control_batch) == (0, 40, False)
    assert len(list(records.next_batch())) == 1_000
    assert not list(records.next_batch())


def test_a_second_member_of_gzip_counts() -> None:
    member = gzip.compress(bytes(MAX_INFLATED_BYTES // 2 + 1))
    assert is_bounded(CODECS["gzip"], memoryview(member))
    assert not is_bounded(CODECS["gzip"], memoryview(member + member))


@pytest.mark.parametrize("codec", COMPRESSED)
def test_what_cannot_be_inflated_is_passed(codec: str) -> None:
    assert not is_bounded(CODECS[codec], memoryview(b"\xff" * 100))
