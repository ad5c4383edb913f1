"""Faust's transport: credentials, and batches of which no more is inflated than a bound."""

import gzip
import ssl

import pytest
from faust.types.auth import AuthProtocol, SASLMechanism

from builders.bombs import CODECS, bomb
from feedmill.streams.kafka.batch_headers import is_bounded
from feedmill.streams.kafka.client import MAX_INFLATED_BYTES
from feedmill.streams.own_signal.signal_app import BoundedRecords, broker_credentials

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
