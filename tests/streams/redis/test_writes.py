"""When changes of feeds are published."""

import json

from feedmill.streams.redis.scripts import Command, Keys
from feedmill.streams.redis.writes import ANNOUNCED_EVERY_S, GATHERED_S, Announcements, FeedVersion


def message(command: Command) -> tuple[str, int]:
    name, channel, text = command
    assert (name, channel) == ("PUBLISH", "x.feed-changes")
    told = json.loads(str(text, "utf-8") if isinstance(text, bytes) else "")
    assert set(told) == {"feed", "version", "config_offset", "at_ms"}
    return told["feed"], told["version"]


def test_changes_of_a_while_share_a_round_trip() -> None:
    announcements = Announcements(Keys("x."))
    announcements.add("first", FeedVersion(1, 3, 1_000), 50.0)
    announcements.add("later", FeedVersion(1, 3, 1_000), 50.0 + GATHERED_S / 2)
    assert announcements.next_s() == 50.0 + GATHERED_S
    assert len(announcements.take_due(50.0 + GATHERED_S)) == 2
    assert announcements.next_s() == float("inf")
    announcements.add("next", FeedVersion(1, 3, 1_000), 60.0)
    assert announcements.next_s() == 60.0 + GATHERED_S


def test_a_change_is_gathered_while_another_feed_waits_for_its_turn() -> None:
    announcements = Announcements(Keys("x."))
    announcements.add("busy", FeedVersion(1, 3, 1_000), 50.0)
    announcements.take_due(50.0)
    announcements.add("busy", FeedVersion(2, 3, 1_000), 50.0)
    announcements.add("quiet", FeedVersion(1, 3, 1_000), 50.04)
    assert announcements.next_s() == 50.04 + GATHERED_S
    assert list(map(message, announcements.take_due(50.07))) == [("quiet", 1)]
    assert announcements.next_s() == 50.0 + ANNOUNCED_EVERY_S


def test_when_feeds_were_published_is_not_kept_for_ever() -> None:
    announcements = Announcements(Keys("x."))
    for i in range(10_000):
        announcements.add(f"feed{i}", FeedVersion(1, 3, 1_000), 50.0)
    assert len(announcements.take_due(50.0)) == 10_000
    announcements.add("feed1", FeedVersion(2, 3, 1_000), 50.0)
    assert announcements.take_due(50.0) == []  # it is not its turn yet
    assert len(announcements.take_due(60.0)) == 1
    assert len(announcements._turn_s) == 1  # the others' turns were long ago
