"""Signals beside `engagement`: written while some feed weighs them, each from the counts alone."""

import json
from functools import partial
from typing import Any

import pytest

from builders.engagement_partition import ENGAGEMENTS, Partition, begun
from feedmill.events.built_in import FURTHER_SIGNALS
from feedmill.events.rates import BASES, RATES, Rates, bases_of, rate_value
from feedmill.events.settings import Settings
from feedmill.events.signal import SignalNames
from feedmill.rankers.reaction_rates import rate_steps
from feedmill.rankers.registry import ENGAGEMENT_RANKER

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
def begin(monkeypatch: pytest.MonkeyPatch) -> Any:
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


def test_nobody_who_weighs_them_costs_no_record(begin: Any) -> None:
    made = begin(weighing())
    assert made.written == 0
    assert made.notes == {"scored.engagement": MODEL.version}


def test_each_value_is_what_the_counts_say_and_few_engagements_change_one(begin: Any) -> None:
    made = begin(weighing(*FURTHER_SIGNALS, feed="community:python"))
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


def test_changed_rates_score_posts_with_counts_again(begin: Any) -> None:
    plain, names = weighing("reply", "report"), ("reply", "report")
    changed = with_rates(plain, reply=(0.045, 100), share=(0.3, 5))
    made, expected = begin(plain), begin(changed)
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


def test_when_the_last_one_stops_to_weigh_one_nothing_is_written_again(begin: Any) -> None:
    made = begin(weighing("reply", "report"))
    before = made.written, made.values()
    made.step.settings_changed(weighing("report"))
    made.idle()
    assert (made.written, made.values()) == before
    assert made.notes == {"scored.engagement": f"{MODEL.version} report"}
    made.cycle(engagements=[("p57", "reply")])
    assert made.further["reply", "p57"].revision < made.signals["p57"].revision
    # Its values are old by then: all of them are made anew.
    expected = begin(weighing("reply", "report"))
    expected.cycle(engagements=[("p57", "reply")])
    for settings in (weighing("report"), weighing("reply", "report")):
        made.start(MODEL, settings)
        made.idle()
    assert values(made) == values(expected)


@pytest.mark.parametrize("cycles", range(8))
def test_a_kill_within_the_pass_changes_no_value(begin: Any, cycles: int) -> None:
    made, expected = begin(weighing()), begin(weighing("share", "report"))
    made.step.settings_changed(weighing("share", "report"))
    made.idle(cycles)
    made.start(MODEL, weighing("share", "report"))
    made.idle()
    assert values(made) == values(expected)
    assert made.states == expected.states


def test_what_a_dead_worker_may_have_shown_is_written_whether_it_changed_or_not(begin: Any) -> None:
    settings = weighing(*FURTHER_SIGNALS)
    made = begin(settings)
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


def test_what_a_dead_worker_may_have_shown_is_written_behind_an_edit(begin: Any) -> None:
    settings = weighing(*FURTHER_SIGNALS)
    made = begin(settings)
    # The dead worker counted and showed it; the next one reads an edit of the post before it.
    made.add_engagements([("p1", "impression")])
    made.start(MODEL, settings)
    shown = made.topics[ENGAGEMENTS].pop()
    made.cycle([("p1", "reason 1 why this post is worth another look!")])
    assert ("hide", "p1") not in made.further
    made.topics[ENGAGEMENTS].append(shown)
    made.cycle()
    assert {name for name, post_id in made.further if post_id == "p1"} == {*FURTHER_SIGNALS}


def test_a_deleted_post_has_none(begin: Any) -> None:
    made = begin(weighing("report"))
    made.cycle([("p9", None)])
    assert ("report", "p9") not in made.further
    assert ("report", "p6") in made.further
