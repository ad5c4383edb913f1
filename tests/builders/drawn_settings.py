"""Drawn values of settings, small enough that they come again."""

from random import Random
from typing import Any

from builders.contract_oracle import GATES

PLACES = (1, 64, 128)


def draw_experiment(random: Random) -> dict[str, Any]:
    """The value with which an experiment begins."""
    arms: list[dict[str, Any]] = [{"name": "control", "share": 4000}]
    arms.append({"name": "b", "share": 3000, "weights": draw_weights(random)})
    gates = {gate: {"hide_at": random.choice((0.25, 0.5))} for gate in GATES}
    last = random.choice(({"control_copy": True}, {"gates": gates}, {"weights": {"novelty": 1}}))
    arms.append({"name": "c", "share": 3000, **last})
    feeds = random.choice((["global"], ["mine"], ["global", "mine"]))
    fixed = {"salt": "s", "planned_n": 1000, "traffic": 1, "stopped": False}
    return {"arms": arms, "feeds": feeds, **fixed}


def draw_feed(random: Random, feed: str) -> dict[str, Any]:
    """A value of the setting `feeds/<feed>`."""
    value: dict[str, Any] = {
        "size": random.choice((1, 2, 3, 500)),
        "window_hours": random.choice((1, 24, 168)),
        "include_replies": random.random() < 0.5,
    }
    if "*" in feed and random.random() < 0.4:
        value["max_feeds"] = random.choice(PLACES)
    if ":" not in feed:
        value["match"] = random.choice(
            (
                {},
                {"communities": ["py", "js"]},
                {"langs": ["en"]},
                {"authors": ["al", "nobody"]},
                {"authors": ["bo"], "communities": ["go"]},
            )
        )
    return value


def draw_weights(random: Random) -> dict[str, Any]:
    """A value of the setting `weights`."""
    return {
        "quality": random.choice((0, 0.5, 1, 1e6)),
        "engagement": 0.5,
        "novelty": random.choice((0, 0.25)),
        "half_life_hours": random.choice((24, None, 1)),
        "max_per_author": random.choice((None, 1, 3)),
        "scale": random.choice(({}, {"engagement": 1})),
        "costs": random.choice(({}, {"grumble": 0}, {"grumble": 2}, {"grumble": 1e4})),
    }


def draw_gate(random: Random) -> dict[str, Any]:
    """Some fields of the policy of a gate."""
    choices: dict[str, tuple[Any, ...]] = {
        "enabled": (True, False),
        "shadow": (False, False, True),
        "hide_at": (0.9, 0.6, None, 0.0),
        "demote_at": (0.6, 0.25, None),
        "demote_factor": (0.5, 0.25, 1.0),
        "on_failure": ("open", "closed"),
        "grace_s": (0, 30, 60),
    }
    return {name: random.choice(of) for name, of in choices.items() if random.random() < 0.5}


def draw_rates(random: Random) -> dict[str, Any] | None:
    """A value of the setting `rates`; None removes the setting."""
    kinds = random.sample(("hide", "report", "reply"), k=random.randrange(1, 4))
    drawn = {kind: {"base": random.choice((0.5, 0.01)), "strength": 100} for kind in kinds}
    return random.choice((drawn, drawn, None))
