"""Makes the record of an event, with the time at which it is sent."""

from __future__ import annotations

from feedmill.events.decode import encode
from feedmill.events.engagement import Engagement
from feedmill.events.experiment import Exposure
from feedmill.events.post import Post
from feedmill.simulation.schedule import OutgoingRecord

_POST_FIELDS = tuple(n for n in Post.__struct_fields__ if n not in ("created_at_ms", "deleted"))
_ENGAGEMENT_FIELDS = tuple(n for n in Engagement.__struct_fields__ if n != "at_ms")
_EXPOSURE_FIELDS = tuple(n for n in Exposure.__struct_fields__ if n != "at_ms")


def with_send_time(
    event: Post | Engagement | Exposure | OutgoingRecord, now_ms: int | None
) -> OutgoingRecord:
    """The record of an event, with `now_ms` as a post's `created_at_ms`, else as `at_ms`.

    If `now_ms` is None, the event keeps its own time. Fields that are None are left out.
    """
    if isinstance(event, OutgoingRecord):
        return event
    if isinstance(event, Post):
        at_ms = event.created_at_ms if now_ms is None else now_ms
        value: dict[str, object] = {"created_at_ms": at_ms}
        names = _POST_FIELDS
    else:
        value = {"at_ms": event.at_ms if now_ms is None else now_ms}
        names = _EXPOSURE_FIELDS if isinstance(event, Exposure) else _ENGAGEMENT_FIELDS
    for name in names:
        field = getattr(event, name)
        if field is not None:
            value[name] = field
    key = event.user_id if isinstance(event, Exposure) else event.post_id
    return OutgoingRecord(key.encode(), encode(value))
