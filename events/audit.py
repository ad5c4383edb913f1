"""Records of `audit`: what people changed, one for each change."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from feedmill.events.errors import BadEvent
from feedmill.events.limits import TimeMs
from feedmill.events.reasons import DECODE_ERRORS, reason_of

TOPIC = "audit"


class AuditRecord(Struct, frozen=True, gc=False, kw_only=True):
    """The value of a record of `audit`: one change, in the transaction of the change.

    Attributes
    ----------
    at_ms
        When, by the clock of the host on which the command ran, Unix milliseconds.
    by
        Who made the change, by what the command was told; its user unless it was told.
    user, host
        As which user of which host the command ran.
    command
        The command without its arguments: `config set`.
    topic
        What was changed, without the prefix; `__consumer_offsets` for the offsets of a group.
    key
        Of the record that was written; of offsets the group, without the prefix.  None where a
        topic itself was changed.
    partition, offset
        Where the record stands that was written; None where none was.
    before, after
        What was in force, and what is: values of records as JSON, None for no value.
    note
        Why.
    """

    at_ms: TimeMs
    by: str
    user: str
    host: str
    command: str
    topic: str
    key: str | None
    partition: int | None
    offset: int | None
    before: Any
    after: Any
    note: str


_decoder = msgspec.json.Decoder(AuditRecord)


def decode_audit(value: bytes | None) -> AuditRecord:
    """Decode a record of `audit`; raises `BadEvent`."""
    try:
        return _decoder.decode(value or b"")
    except DECODE_ERRORS as error:
        raise BadEvent(reason_of(error)) from None
