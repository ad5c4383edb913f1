"""Drawn exposures and engagements, and what a join makes of them, by plain loops."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from feedmill.events.engagement import ENGAGEMENT_KINDS
from feedmill.events.experiment import Experiment
from feedmill.events.metric import Metric
from feedmill.experiments.assignment import arm_of

NAME = "fresher"
DAY_MS, HOUR_MS = 86_400_000, 3_600_000
STARTED_MS = 1_700_000_000_000
KIND_RATES = (0.7, 0.1, 0.05, 0.03, 0.02, 0.06, 0.02, 0.02)

Event = dict[str, Any]


def drawn_events(
    setting: Experiment, seed: int, users: int, each: int = 20, *, uplift: float = 0.0
) -> tuple[list[Event], list[Event]]:
    """Return exposures and engagements of so many users over three weeks; some are sent twice.

    Users of `fresher` like so many more of the posts that they see.
    """
    rng = np.random.default_rng(seed)
    exposures: list[Event] = []
    engagements: list[Event] = []
    for number in range(users):
        user = f"usér-{number}"
        arm = arm_of(setting.salt, NAME, user, 10_000, [*setting.shares.items()])
        enters_ms = STARTED_MS + int(rng.integers(15 * DAY_MS))
        for _ in range(int(rng.integers(1, 4))):
            at_ms = enters_ms + int(rng.integers(4 * DAY_MS))
            page = {"version": int(rng.integers(9)), "first": int(rng.integers(3)) * 10}
            exposures.append(
                {
                    **{"user_id": user, "experiment": NAME, "arm": arm, "feed": "global"},
                    **{**page, "count": 10, "at_ms": at_ms},
                }
            )
        for _ in range(int(rng.poisson(each))):
            kind = ENGAGEMENT_KINDS[rng.choice(8, p=KIND_RATES)]
            event: Event = {
                **{"user_id": user, "post_id": f"p{rng.integers(60)}", "kind": kind},
                "at_ms": enters_ms - 2 * DAY_MS + int(rng.integers(10 * DAY_MS)),
            }
            if rng.random() < 0.3:
                event["feed"] = ("global", "lang:de")[rng.integers(2)]
            if rng.random() < 0.3:
                event["event_id"] = f"e{len(engagements)}"
            if kind == "dwell":
                event["dwell_ms"] = float(rng.integers(30_000))
            engagements.append(event)
            is_seen = kind == "impression" and event["at_ms"] > enters_ms + 4 * DAY_MS
            if arm == "fresher" and is_seen and rng.random() < uplift:
                engagements.append({**event, "kind": "like", "event_id": f"e{len(engagements)}"})
    for events in (exposures, engagements):
        events += [events[place] for place in rng.integers(len(events), size=len(events) // 10)]
        rng.shuffle(events)
    return exposures, engagements


def expected_rows(
    setting: Experiment, exposures: list[Event], engagements: list[Event], through_ms: int
) -> dict[str, Event]:
    """Return the columns of each user, `elsewhere_` and `pre_` ones too."""
    pages: dict[str, list[Event]] = defaultdict(list)
    for page in exposures:
        if page not in pages[page["user_id"]]:
            pages[page["user_id"]].append(page)
    of_user: dict[str, list[Event]] = defaultdict(list)
    for event in engagements:
        of_user[event["user_id"]].append(event)
    window_ms = setting.window_hours * HOUR_MS
    rows = {}
    for user, mine in pages.items():
        first = min(mine, key=lambda page: (page["at_ms"], page["arm"]))
        begin = first["at_ms"]
        found = _sums(setting, of_user[user], begin, begin + window_ms)
        rows[user] = {
            "arm": first["arm"],
            "computed_arm": arm_of(setting.salt, NAME, user, 10_000, [*setting.shares.items()]),
            "first_exposure_ms": begin,
            "complete": begin + window_ms + HOUR_MS <= through_ms,
            "served": sum(p["count"] for p in mine if p["at_ms"] < begin + window_ms),
            **found,
        }
    return rows


def _sums(setting: Experiment, events: list[Event], begin: int, end: int) -> Event:
    places: dict[str, list[Event]] = {"": [], "pre_": [], "elsewhere_": []}
    for event in _once([one for one in events if one["at_ms"] < end]):
        here = event.get("feed", "global") in setting.feeds
        if begin <= event["at_ms"] < end:
            places["" if here else "elsewhere_"].append(event)
        elif here and event["at_ms"] < begin:
            places["pre_"].append(event)
    row: Event = {}
    for before, mine in places.items():
        is_seen = bool(mine) or before != "pre_"
        if before != "elsewhere_":
            seen = sum(event["kind"] == "impression" for event in mine)
            row[f"{before}impressions"] = seen if is_seen else None
        for name, metric in setting.all_metrics.items():
            row[before + name] = _value(metric, mine) if is_seen else None
    return row


def _once(events: list[Event]) -> list[Event]:
    """Return each event at its first time, with its longest dwell, elsewhere if it always was."""
    repeats: dict[Any, list[Event]] = defaultdict(list)
    for event in sorted(events, key=lambda one: int(one["at_ms"])):
        same = event.get("event_id") or (event["kind"], event["at_ms"] // DAY_MS)
        repeats[event["post_id"], same].append(event)
    once = []
    for first, *others in repeats.values():
        all_of_them = (first, *others)
        is_elsewhere = all(one.get("feed", "global") != "global" for one in all_of_them)
        feed = "lang:de" if is_elsewhere else "global"
        dwell_ms = max(one.get("dwell_ms", 0) for one in all_of_them)
        once.append({**first, "feed": feed, "dwell_ms": dwell_ms})
    return once


def _value(metric: Metric, events: list[Event]) -> int:
    def counts(event: Event, kinds: tuple[str, ...]) -> bool:
        is_long = event["kind"] != "dwell" or event["dwell_ms"] >= metric.dwell_ms
        return event["kind"] in kinds and is_long

    if metric.per != "impression":
        return sum(counts(event, metric.kinds) for event in events)
    by_post: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        by_post[event["post_id"]].append(event)
    return sum(
        any(event["kind"] == "impression" for event in mine)
        and any(counts(event, metric.kinds) for event in mine)
        and not any(counts(event, metric.unless) for event in mine)
        for mine in by_post.values()
    )
