"""What a simulation sends, as a reader of its topics would see it."""

from collections.abc import Iterable, Iterator

from feedmill.events.decode import decode_engagement, decode_post
from feedmill.events.engagement import Engagement
from feedmill.events.post import Post
from feedmill.simulation.replay.sender import with_send_time
from feedmill.simulation.schedule import ScheduledEvent

REACTIONS = {"like", "reply", "share"}


def decoded(events: Iterable[ScheduledEvent | None]) -> Iterator[tuple[float, Post | Engagement]]:
    """Decode each event from its bytes, with when it is due; assert that none is due earlier."""
    last = 0.0
    for scheduled in events:
        assert scheduled is not None
        assert scheduled.due_s >= last
        last = scheduled.due_s
        record = with_send_time(scheduled.event, 1_700_000_000_000)
        decode = decode_post if scheduled.topic == "posts" else decode_engagement
        event = decode(record.key, record.value)
        assert isinstance(event, Post | Engagement)
        yield last, event
