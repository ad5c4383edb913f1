"""Earlier posts get the values of a new model, and of signals that some feed begins to weigh."""

import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from builders.engagement_partition import COUNTERS, ENGAGEMENTS, Partition, begun
from builders.engagement_step import NOW_MS
from feedmill.events.built_in import FURTHER_SIGNALS
from feedmill.events.engagement import EngagementKind
from feedmill.events.post import Post
from feedmill.events.rates import BASES, RATES, Rates, bases_of, rate_value
from feedmill.events.settings import Settings
from feedmill.events.signal import SignalNames
from feedmill.rankers.reaction_rates import rate_steps
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


MODEL = ENGAGEMENT_RANKER.load()
NO_COSTS = dict.fromkeys(SignalNames().costs, 0.0)


def weighing(*names: str, feed: str = "") -> Settings:
    """Settings in which one feed, or all, weighs these further signals, and no other feed any."""
    costs = {name: float(name in names) for name in NO_COSTS}
    others = {name: 0.1 for name in names if name not in costs}
    plain = {"quality": 1, "engagement": 0, "costs": NO_COSTS}
    settings = Settings()
    for key, value in (("weights", plain), (f"weights/{feed}", plain | others | {"costs": costs})):
        record = json.dumps({"value": value}).encode()
        settings = settings.fold(key.rstrip("/").encode(), record, settings.offset + 1)
    return settings


@pytest.fixture
def begin_weighing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Starts a partition with posts that were seen and edited."""
    return partial(begun, monkeypatch, MODEL, posts=60)


def values(
    made: Partition, rates: Rates = RATES
) -> dict[tuple[str, str], tuple[float | None, int]]:
    """What posts have beside the base, with its record or without."""
    bases = bases_of(rates)
    return {
        key: (one.value, one.post_offset)
        for key, one in made.further.items()
        if one.value != bases[key[0]]
    }


def test_nobody_who_weighs_them_costs_no_record(begin_weighing: Any) -> None:
    made = begin_weighing(weighing())
    assert made.written == 0
    assert made.notes == {"scored.engagement": MODEL.version}


def test_each_value_is_what_the_counts_say_and_few_engagements_change_one(
    begin_weighing: Any,
) -> None:
    made = begin_weighing(weighing(*FURTHER_SIGNALS, feed="community:python"))
    # One in three has counts; of the others nothing is written.
    assert {post_id for _, post_id in made.further} == {f"p{i}" for i in range(0, 60, 3)}
    for (name, post_id), signal in made.further.items():
        counters = made.states[post_id].kept_counters
        steps = rate_steps(name, counters, RATES[name])
        assert signal.value == rate_value(steps)
        assert (signal.model, signal.version) == ("engagement", MODEL.version)
    seen = made.further["reply", "p57"].value
    assert seen == pytest.approx((1 + 3.0) / (58 + 200), rel=0.011)
    assert BASES["reply"] == rate_value(
        rate_steps("reply", made.states["p4"].kept_counters, RATES["reply"])
    )
    before = made.written
    made.cycle(engagements=[("p57", "impression")])
    assert made.written - before < len(FURTHER_SIGNALS)


def with_rates(settings: Settings, **rates: tuple[float, float]) -> Settings:
    value = {name: {"base": base, "strength": strength} for name, (base, strength) in rates.items()}
    return settings.fold(b"rates", json.dumps({"value": value}).encode(), settings.offset + 1)


def test_changed_rates_score_posts_with_counts_again(begin_weighing: Any) -> None:
    plain, names = weighing("reply", "report"), ("reply", "report")
    changed = with_rates(plain, reply=(0.045, 100), share=(0.3, 5))
    made, expected = begin_weighing(plain), begin_weighing(changed)
    before = dict(made.further)
    made.step.settings_changed(changed)
    made.idle()
    rates = changed.reaction_rates
    assert values(made, rates) == values(expected, rates)
    assert any(made.further[key] != one for key, one in before.items())
    for (name, post_id), signal in made.further.items():
        assert name in names
        steps = rate_steps(name, made.states[post_id].kept_counters, rates[name])
        assert signal.value == rate_value(steps)
    made.step.settings_changed(plain)
    made.idle()
    assert {key: made.further[key].value for key in before} == {
        key: one.value for key, one in before.items()
    }


def test_when_the_last_one_stops_to_weigh_one_nothing_is_written_again(begin_weighing: Any) -> None:
    made = begin_weighing(weighing("reply", "report"))
    before = made.written, made.values()
    made.step.settings_changed(weighing("report"))
    made.idle()
    assert (made.written, made.values()) == before
    assert made.notes == {"scored.engagement": f"{MODEL.version} report"}
    made.cycle(engagements=[("p57", "reply")])
    assert made.further["reply", "p57"].revision < made.signals["p57"].revision
    # Its values are old by then: all of them are made anew.
    expected = begin_weighing(weighing("reply", "report"))
    expected.cycle(engagements=[("p57", "reply")])
    for settings in (weighing("report"), weighing("reply", "report")):
        made.start(MODEL, settings)
        made.idle()
    assert values(made) == values(expected)


@pytest.mark.parametrize("cycles", range(8))
def test_a_kill_while_a_signal_is_made_changes_no_value(begin_weighing: Any, cycles: int) -> None:
    made, expected = begin_weighing(weighing()), begin_weighing(weighing("share", "report"))
    made.step.settings_changed(weighing("share", "report"))
    made.idle(cycles)
    made.start(MODEL, weighing("share", "report"))
    made.idle()
    assert values(made) == values(expected)
    assert made.states == expected.states


def test_what_a_dead_worker_may_have_shown_is_written_whether_it_changed_or_not(
    begin_weighing: Any,
) -> None:
    settings = weighing(*FURTHER_SIGNALS)
    made = begin_weighing(settings)
    made.cycle(engagements=[("p57", "impression")] * 300)
    # It was counted, shown, and never committed.
    made.add_engagements([("p57", "impression")])
    made.start(MODEL, settings)

    def written(post_id: str) -> int:
        before = made.written
        made.cycle(engagements=[(post_id, "impression")])
        return int(made.written - before)

    assert written("p57") == len(FURTHER_SIGNALS)
    assert written("p57") < len(FURTHER_SIGNALS)
    made.cycle([("new", "a post that the dead worker never had")])
    assert written("new") < len(FURTHER_SIGNALS)


def test_what_a_dead_worker_may_have_shown_is_written_behind_an_edit(begin_weighing: Any) -> None:
    settings = weighing(*FURTHER_SIGNALS)
    made = begin_weighing(settings)
    # The dead worker counted and showed it; the next one reads an edit of the post before it.
    made.add_engagements([("p1", "impression")])
    made.start(MODEL, settings)
    shown = made.topics[ENGAGEMENTS].pop()
    made.cycle([("p1", "reason 1 why this post is worth another look!")])
    assert ("hide", "p1") not in made.further
    made.topics[ENGAGEMENTS].append(shown)
    made.cycle()
    assert {name for name, post_id in made.further if post_id == "p1"} == {*FURTHER_SIGNALS}


def test_a_deleted_post_has_none(begin_weighing: Any) -> None:
    made = begin_weighing(weighing("report"))
    made.cycle([("p9", None)])
    assert ("report", "p9") not in made.further
    assert ("report", "p6") in made.further


def test_new_posts_follow_a_release_and_a_rollback_at_once(begin: Any) -> None:
    made = begin(OLD)
    for model in (NEW, OLD):
        made.step.swap(model)
        made.cycle([("q", f"a text for {model.version}")])
        assert made.signals["q"].version == model.version
        text = Post("q", "author", NOW_MS, f"a text for {model.version}")
        assert made.states["q"].prior == model.prior_many([text])[0]


def test_who_begins_to_weigh_one_has_it_of_all_posts(begin_weighing: Any) -> None:
    made, expected = begin_weighing(weighing("reply")), begin_weighing(weighing("reply", "report"))
    made.step.settings_changed(weighing("reply", "report"))
    made.idle()
    assert values(made) == values(expected)
    assert made.notes == {"scored.engagement": f"{MODEL.version} reply report"}
