"""Drawn exposures and engagements, and what a join makes of them, by plain loops."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
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
            page: Event = {"version": int(rng.integers(9)), "first": int(rng.integers(3)) * 10}
            if rng.random() < 0.8:
                page["client"] = ("app", "web")[rng.integers(2)]
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


def start_at(export: Path, at_ms: int) -> None:
    """Let the settings of an export be of this time: events that are sent now may be older."""
    for file in (export / "parts").glob("*.json"):
        part = json.loads(file.read_bytes())
        for setting in part["settings"]:
            setting["at_ms"] = at_ms
        file.write_text(json.dumps(part))


def expected_rows(
    setting: Experiment,
    exposures: list[Event],
    engagements: list[Event],
    through_ms: int,
    started_ms: int = STARTED_MS,
) -> dict[str, Event]:
    """Return the columns of each user, `elsewhere_` and `pre_` ones too."""
    pages: dict[str, list[Event]] = defaultdict(list)
    for page in exposures:
        is_early = page["at_ms"] < started_ms
        if not is_early and page not in pages[page["user_id"]]:
            pages[page["user_id"]].append(page)
    of_user: dict[str, list[Event]] = defaultdict(list)
    for event in engagements:
        of_user[event["user_id"]].append(event)
    window_ms = setting.window_hours * HOUR_MS
    rows = {}
    for user, mine in pages.items():
        first = min(mine, key=lambda page: (page["at_ms"], page["arm"], page.get("client", "")))
        begin = first["at_ms"]
        found = _sums(setting, of_user[user], begin, begin + window_ms)
        within = [page for page in mine if page["at_ms"] < begin + window_ms]
        rows[user] = {
            "arm": first["arm"],
            "computed_arm": arm_of(setting.salt, NAME, user, 10_000, [*setting.shares.items()]),
            "first_exposure_ms": begin,
            "complete": begin + window_ms + HOUR_MS <= through_ms,
            "served": sum(page["count"] for page in within),
            **found,
            "arm_count": len({page["arm"] for page in within}),
            "client": first.get("client"),
        }
    return rows


def _sums(setting: Experiment, events: list[Event], begin: int, end: int) -> Event:
    places: dict[str, list[Event]] = {"": [], "pre_": [], "elsewhere_": []}
    for event in _once([one for one in events if begin - 14 * DAY_MS <= one["at_ms"] < end]):
        here = event.get("feed", "global") in setting.feeds
        if begin <= event["at_ms"] < end:
            places["" if here else "elsewhere_"].append(event)
        elif here and event["at_ms"] < begin:
            places["pre_"].append(event)
    row: Event = {}
    for before, mine in places.items():
        is_seen = bool(mine) or before != "pre_"
        by_post: dict[str, list[Event]] = defaultdict(list)
        for event in mine:
            by_post[event["post_id"]].append(event)
        if before != "elsewhere_":
            seen = sum(_first_seen(of_post) is not None for of_post in by_post.values())
            row[f"{before}impressions"] = seen if is_seen else None
        for name, metric in setting.all_metrics.items():
            value = sum(_value(metric, of_post) for of_post in by_post.values())
            row[before + name] = value if is_seen else None
        for day in range(setting.window_days if not before else 0):
            of_day = [one for one in by_post.values() if _day(one) - begin // DAY_MS == day]
            seen = sum(_first_seen(one) is not None for one in of_day)
            row[f"on_day{day}_impressions"] = seen
            for name, metric in setting.all_metrics.items():
                row[f"on_day{day}_{name}"] = sum(_value(metric, one) for one in of_day)
    return row


def _first_seen(events: list[Event]) -> int | None:
    return min((one["at_ms"] for one in events if one["kind"] == "impression"), default=None)


def _day(events: list[Event]) -> int:
    seen = _first_seen(events)
    return int(min(one["at_ms"] for one in events) if seen is None else seen) // DAY_MS


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
    """What one post of a user adds."""

    def counts(event: Event, kinds: tuple[str, ...]) -> bool:
        is_long = event["kind"] != "dwell" or event["dwell_ms"] >= metric.dwell_ms
        return event["kind"] in kinds and is_long

    if metric.per != "impression":
        return sum(counts(event, metric.kinds) for event in events)
    seen = _first_seen(events)
    return int(
        seen is not None
        and any(counts(event, metric.kinds) and event["at_ms"] >= seen for event in events)
        and not any(counts(event, metric.unless) for event in events)
    )
