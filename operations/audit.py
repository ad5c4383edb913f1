"""What people changed, by the topic `audit`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from feedmill.events.audit import AuditRecord, decode_audit
from feedmill.events.errors import BadEvent
from feedmill.streams.kafka.topic_reader import TopicRecord

# Of records: what other columns have, and what only machines read.
_NOT_SHOWN = ("by", "note", "reason", "at_ms", "if_offset", "answers", "source", "post_id")


class AuditRow(NamedTuple):
    """A change, and where and when Kafka stored what the audit says of it."""

    audit_offset: int
    stored_ms: int
    said: AuditRecord

    @property
    def before(self) -> Any:
        """What is shown of the value that was in force; None for none."""
        return _changed(self.said.before, self.said.after)

    @property
    def after(self) -> Any:
        """What is shown of the value that was written; None where it was removed."""
        return _changed(self.said.after, self.said.before)


def audit_row(record: TopicRecord) -> AuditRow | None:
    """Return the change that a record of `audit` is about; None if it breaks the contract."""
    try:
        return AuditRow(record.offset, record.at_ms, decode_audit(record.value))
    except BadEvent:
        return None


def matching(
    rows: Iterable[AuditRow],
    *,
    topic: str | None = None,
    key: str | None = None,
    by: str | None = None,
) -> list[AuditRow]:
    """Return the changes of a topic, of a key, by somebody; None: of all."""
    return [
        row
        for row in rows
        if topic in (None, row.said.topic)
        and key in (None, row.said.key)
        and by in (None, row.said.by)
    ]


def _changed(value: Any, other: Any) -> Any:
    """Return what is shown of a value: of a long setting only what the other has not."""
    value, other = _shown(value), _shown(other)
    if isinstance(value, dict) and isinstance(other, dict) and value != other:
        return {k: v for k, v in value.items() if k not in other or other[k] != v}
    return value


def _shown(value: Any) -> Any:
    """Return what a record says, without who wrote it and why; of a label also its target."""
    if isinstance(value, dict) and "value" in value and "target" not in value:
        value = value["value"]
    if not isinstance(value, dict):
        return value
    return {name: field for name, field in value.items() if name not in _NOT_SHOWN}
