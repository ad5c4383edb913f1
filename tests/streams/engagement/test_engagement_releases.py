"""After a release earlier posts get the values of the new model, as if it had counted them all."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from builders.engagement_partition import COUNTERS, begun
from feedmill.events.engagement import EngagementKind
from feedmill.rankers.registry import ENGAGEMENT_RANKER
from feedmill.streams.engagement import engagement_restore

OLD = ENGAGEMENT_RANKER.load()
# Another rate, another weight of the prior, another order of texts.
NEW = replace(OLD, version="new", base=2 * OLD.base, prior_weight=50.0, trees=None)


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Starts a partition with posts that were seen and edited."""
    return partial(begun, monkeypatch)


def test_every_value_is_what_the_new_version_would_have_said_from_the_start(begin: Any) -> None:
    made, expected = begin(OLD), begin(NEW)
    assert made.notes == {"scored.engagement": OLD.version}
    made.step.swap(NEW)
    made.idle()
    assert made.values() == expected.values()
    assert made.states == expected.states
    assert len(made.values()) == 149
    assert made.notes == {"scored.engagement": "new"}
    # What comes next is counted on.
    for one in (made, expected):
        one.cycle([("q", "new")], [("p6", "impression"), ("p7", "like"), ("p3", "click")])
    assert made.values() == expected.values()


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("cycles", range(10))
def test_a_kill_within_the_pass_changes_no_value(begin: Any, cycles: int, *, back: bool) -> None:
    """Also where the version of before comes back meanwhile, which did not judge all."""
    last = OLD if back else NEW
    made, expected = begin(OLD), begin(last)
    made.step.swap(NEW)
    made.cycle([("q", "new")], [("p9", "impression"), ("p140", "click")])
    made.idle(cycles)
    assert made.values() != expected.values()
    made.start(last)
    made.idle()
    expected.cycle([("q", "new")], [("p9", "impression"), ("p140", "click")])
    assert made.values() == expected.values()
    assert made.states == expected.states
    assert made.notes == {"scored.engagement": last.version}


@pytest.mark.parametrize("cycles", range(10))
def test_what_happens_to_posts_within_the_pass_is_not_undone(begin: Any, cycles: int) -> None:
    made, expected = begin(OLD), begin(NEW)
    made.step.swap(NEW)
    made.idle(cycles)
    changes = [("p80", "an edit"), ("p90", None), ("p20", "a late edit")]
    events: list[tuple[str, EngagementKind]] = [("p80", "impression"), ("p100", "click")]
    for one in (made, expected):
        one.cycle(changes, events)
        one.idle()
    assert made.values() == expected.values()
    assert made.states == expected.states


def test_what_is_left_of_the_old_version_is_told(begin: Any) -> None:
    made = begin(OLD)
    assert made.share() is None
    made.step.swap(NEW)
    shares = []
    while made.notes["scored.engagement"] != "new":
        made.cycle()
        shares.append(made.share())
    assert shares[0] == 1.0
    assert shares[-1] == 0.0


def test_without_a_release_nothing_is_read_or_written_again(begin: Any) -> None:
    made = begin(OLD)
    before = made.values(), len(made.topics[COUNTERS])
    made.start(OLD)
    made.idle()
    assert (made.values(), len(made.topics[COUNTERS])) == before
    assert made.opened == []


def test_no_post_is_left_out_since_its_counts_are_not_restored_yet(
    begin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engagement_restore, "_SLICE_RECORDS", 50)
    monkeypatch.setattr(engagement_restore, "_BUDGET_S", 0.0)
    made, expected = begin(OLD), begin(NEW)
    made.start(NEW)
    made.cycle()
    assert not made.step.ready_for(0, "engagements")
    made.idle(300)
    assert made.values() == expected.values()
