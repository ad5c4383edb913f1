"""Engagements of one partition as they stand in the log, drawn at random."""

from dataclasses import dataclass
from random import Random

from feedmill.events.engagement import ENGAGEMENT_KINDS, Engagement
from feedmill.streams.engagement.partition_state import PartitionState
from feedmill.streams.kafka.topic_table import DAY_MS

START_MS = 1_700_000_000_000


@dataclass
class Record:
    """As the consumer hands it out."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None = None


Event = tuple[Record, Engagement]


def draw_log(random: Random, length: int) -> list[Event]:
    """Engagements of a few posts, ids that come again sooner or later, dates before and after."""
    log, at_ms, offset = [], START_MS, 0
    for _ in range(length):
        at_ms += random.choice((0, 1, 500, 20_000, 90_000, 299_999, 300_000, 600_000))
        offset += random.choice((1, 1, 1, 4))
        post_id = f"p{random.randrange(5)}"
        event = Engagement(
            post_id=post_id,
            user_id=random.choice(("u", "v", "w", *(f"u{n}" for n in range(20)))),
            kind=random.choice(ENGAGEMENT_KINDS),
            at_ms=at_ms - random.choice((0, 3, 7_000_000, -90_000)),
            event_id=random.choice((None, *(f"e{i}" for i in range(6)))),
            dwell_ms=random.choice((None, 12.5, 900.0)),
        )
        log.append((Record(offset, at_ms, post_id.encode()), event))
    return log


def needed_before(log: list[Event], start: int, state: PartitionState) -> list[Event]:
    """What the stage notes on assignment: the events that say what counts from an offset on."""
    before = [(record, event) for record, event in log if record.offset < start]
    if not before:
        return []
    since_ms = state.log_needed(before[-1][0].timestamp)
    first = next(record for record, _ in before if record.timestamp >= since_ms)
    offset, day_ms = state.users_needed(first.offset), (first.timestamp // DAY_MS - 1) * DAY_MS
    return [one for one in before if one[0].offset >= offset and one[0].timestamp >= day_ms]
