"""Feeds are renewed one after the other, and not where they were written anyway."""

from feedmill.streams.ranking.feed_renewals import LOOK_EVERY_S, FeedRenewals


def test_each_feed_is_renewed_in_time_and_few_at_once() -> None:
    feeds = [f"f{n}" for n in range(1000)]
    renewals = FeedRenewals()
    # All were written at a start.
    renewals.written(feeds, 100.0)
    latest, sizes = dict.fromkeys(feeds, 100.0), []
    for turn in range(200):
        now_s = 100.0 + turn * LOOK_EVERY_S
        due = renewals.due(feeds, now_s)
        renewals.written(due, now_s)
        latest |= dict.fromkeys(due, now_s)
        sizes.append(len(due))
        assert min(latest.values()) >= now_s - 8.0
    assert max(sizes) == 80
    assert sum(sizes) > 5 * len(feeds)


def test_what_was_written_is_not_renewed() -> None:
    renewals = FeedRenewals()
    renewals.written(["a", "b"], 10.0)
    renewals.written(["a"], 14.0)
    assert renewals.due(["a", "b", "new"], 15.5) == ["b", "new"]
    # Names that are feeds no more are forgotten.
    assert renewals.due(["a"], 15.5) == []
    assert renewals.due(["a", "b"], 15.5) == ["b"]


def test_all_are_due_at_once_when_more_may_be_fresh() -> None:
    feeds = [f"f{n}" for n in range(60)]
    renewals = FeedRenewals()
    renewals.written(feeds, 10.0)
    assert renewals.due(feeds, 10.0) == []
    renewals.hurry()
    found = []
    while renewals.is_hurried:
        due = renewals.due(feeds, 10.0)
        renewals.written(due, 10.0)
        found += due
    assert found == feeds
