import msgspec
import pytest

from feedmill.events.audit import AuditRecord, decode_audit
from feedmill.events.decode import encode
from feedmill.events.errors import BadEvent

SAID = AuditRecord(
    at_ms=1_700_000_000_000,
    by="ann",
    user="root",
    host="box",
    command="config set",
    topic="config",
    key="weights",
    partition=0,
    offset=7,
    before=None,
    after={"value": {"quality": 0.25, "engagement": 1e-3}, "by": "ann"},
    note="less bait",
)


def test_a_record_reads_back_as_it_was_written() -> None:
    assert decode_audit(encode(SAID)) == SAID


def test_the_json_of_a_record_stands_in_it_as_it_is() -> None:
    raw = b'{"value": {"a": 0.1e1,  "b": null}}'
    written = encode(msgspec.structs.replace(SAID, before=msgspec.Raw(raw)))
    assert raw in written
    assert decode_audit(written).before == {"value": {"a": 1.0, "b": None}}


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b"\xff", encode({"by": "ann"})])
def test_what_is_no_record_of_the_audit_is_refused(value: bytes | None) -> None:
    with pytest.raises(BadEvent):
        decode_audit(value)
