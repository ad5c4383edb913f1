"""`feedmill experiments`: how many readers an experiment takes, and what came of it."""

from __future__ import annotations

import click

from feedmill.cli import LazyGroup

_PLACES = {
    "plan": "experiments.planning:plan",
    "start": "experiments.planning:start",
    "stop": "experiments.planning:stop",
    "list": "experiments.running:list_command",
    "status": "experiments.running:status",
    "export": "experiments.exports:export",
    "join": "experiments.exports:join",
    "forget": "experiments.exports:forget",
    "analyse": "experiments.results:analyse",
    "demo": "experiments.results:demo",
}


@click.group(cls=LazyGroup, places=_PLACES)
def experiments() -> None:
    """Plan experiments on readers, and analyse them by statistics that hold at every look.

    EXPERIMENT is a file of JSON with the value of `experiments/<name>`; its name without the ending
    is the experiment's. The first arm is the control. Built-in metrics are take_rate, actions,
    reporters and hiders; `metrics` adds others, or gives these a cap.

    \b
    {"arms": [{"name": "control", "share": 5000},
              {"name": "fresher", "share": 5000, "weights": {"half_life_hours": 6}}],
     "feeds": ["global"], "salt": "s-1", "traffic": 10000, "planned_n": 63000,
     "window_hours": 168, "primary": "take_rate",
     "guardrails": {"reporters": 0.25, "actions": 0.05},
     "metrics": {"likes": {"per": "user", "kinds": ["like"], "cap": 50}}}
    """  # noqa: D301 - click's mark of lines that stay as they are
