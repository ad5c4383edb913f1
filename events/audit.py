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

    The fields are those of docs/contracts.md, "Audit".
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
