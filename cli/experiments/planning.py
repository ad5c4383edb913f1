"""`feedmill experiments plan|start|stop`: an experiment is sized, begins, and ends."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import click
import orjson

from feedmill.cli import FILE, SHARE, option, together
from feedmill.cli.awaited_change import ChangeOptions, change_setting, with_setting_change
from feedmill.cli.options import by_option, note_option
from feedmill.cli.output import Answer, Columns, answers, table_of, warn
from feedmill.events.errors import BadSetting, FeedmillError, UsageError
from feedmill.events.experiment import WHOLE, Experiment, decode_experiment
from feedmill.events.limits import is_name
from feedmill.events.metric import Metric
from feedmill.events.signal import SignalNames
from feedmill.events.weights import OBJECTIVE_ALIASES
from feedmill.experiments.plan import LIST_NOISE, Baseline, Plan, baselines_of, plan_of
from feedmill.experiments.table import read_period
from feedmill.operations.experiments.runs import PREFIX, run_of
from feedmill.operations.setting_changes import read_settings_log
from feedmill.operations.times import time_text
from feedmill.streams.environment import Environment, read_environment
from feedmill.streams.kafka.topic_reader import count_partitions

# More users than there are.
_MOST_USERS = 1e10


size_options = together(
    option("--before", "A table of users in one window before: CSV or Parquet.", FILE),
    option(
        "--assume METRIC=VALUE[:SD]",
        "A metric's value and the deviation of a user, instead of a table.",
        multiple=True,
    ),
    option(
        "--effect",
        "The relative change of the primary metric that is to be found.",
        click.FloatRange(0, 10, min_open=True),
        0.05,
    ),
    option(
        "--list-noise",
        "By which part the lists of a day are better or worse by chance.",
        SHARE,
        LIST_NOISE,
    ),
)


def _sized(
    experiment: Experiment,
    *,
    before: Path | None,
    assume: tuple[str, ...],
    users_a_day: float | None = None,
    **options: float,
) -> Plan:
    """Size the primary metric and every guardrail, by what the metrics are now.

    Raises `UsageError` where nothing says what one of them is now, or a table is unreadable.
    """
    baselines = baselines_by(experiment, before=before, assume=assume)
    return plan_of(experiment, baselines, users_a_day=users_a_day, **options)


def baselines_by(
    experiment: Experiment, *, before: Path | None, assume: tuple[str, ...]
) -> dict[str, Baseline]:
    """Return what the metrics are now; raises what `_sized` raises."""
    baselines = _assumed(assume, experiment.all_metrics)
    if before is not None:
        baselines = {**baselines_of(read_period(before, experiment), experiment), **baselines}
    wanted = (experiment.primary, *experiment.guardrails)
    missing = [name for name in wanted if name not in baselines]
    if missing:
        raise UsageError(
            f"nothing says what {', '.join(missing)} is now; give --before TABLE or --assume"
            f" {missing[0]}=VALUE:SD"
        )
    return baselines


def _too_small(found: Plan) -> FeedmillError | None:
    """Return why the planned users do not show the effect or a margin, and what would."""
    remedies = []
    for size in found.too_small:
        needed = f"plan {math.ceil(size.users):,}" if size.users < _MOST_USERS else "plan more"
        what = "a margin" if size.role == "guardrail" else "a change"
        remedies.append(
            f"{what} of {size.change:.1%} in {size.metric}: {needed}, or take"
            f" {size.least_change:.1%}"
        )
    text = f"{found.planned_n:,} users an arm do not show {'; '.join(remedies)}"
    return FeedmillError(text) if remedies else None


def _assumed(words: tuple[str, ...], metrics: dict[str, Metric]) -> dict[str, Baseline]:
    found = {}
    for word in words:
        name, _, numbers = word.partition("=")
        value, _, deviation = numbers.partition(":")
        try:
            if name not in metrics:
                raise ValueError
            needs_deviation = metrics[name].per != "reader"
            baseline = Baseline(float(value), float(deviation) if needs_deviation else 0.0)
            if not (baseline.value > 0 and baseline.deviation >= 0):
                raise ValueError
            found[name] = baseline
        except ValueError:
            raise UsageError(
                f"--assume {word}: expected METRIC=VALUE:SD, or METRIC=VALUE of a metric per"
                f" reader, with one of {', '.join(metrics)}"
            ) from None
    return found


class WrittenExperiment(NamedTuple):
    """An experiment as a file has it: its name, the value as it was written, and what it says."""

    name: str
    value: dict[str, Any]
    experiment: Experiment


def bytes_of(path: Path) -> bytes:
    """Return the content of a file; `UsageError` where there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist") from None


def read_experiment(path: Path, names: SignalNames, name: str | None = None) -> WrittenExperiment:
    """Read the experiment of a file, which is called like the file unless `name` says otherwise.

    Raises `UsageError` with the file, the path in it, what was expected and what was found.
    """
    called = path.stem if name is None else name
    if not is_name(called):
        text = "letters, digits, `.`, `_` and `-`"
        if name is not None:
            raise UsageError(f"--name: expected {text}, got {name!r}")
        raise UsageError(f"{path}: the file's name without its ending is the experiment's: {text}")
    try:
        value = orjson.loads(bytes_of(path))
        # What has another shape `decode_experiment` refuses.
        with suppress(AttributeError, KeyError, TypeError):
            for arm in value["arms"]:
                own = arm.get("weights", {})
                for alias, objective in OBJECTIVE_ALIASES.items():
                    own.update({objective: own.pop(alias)} if alias in own else {})
        return WrittenExperiment(called, value, decode_experiment(value, names))
    except orjson.JSONDecodeError as error:
        raise UsageError(f"{path}: JSON is malformed: {error}") from None
    except BadSetting as error:
        raise UsageError(f"{path}: {error}") from None


@click.command()
@click.argument("experiment", type=FILE)
@size_options
@option(
    "--users-a-day",
    "How many new users a day come into the experiment.",
    click.FloatRange(0, min_open=True),
)
@answers
def plan(*, experiment: Path, **sizing: Any) -> Answer:
    """Size the primary metric and every guardrail of EXPERIMENT.

    The table before has a row for each user: user, impressions, <metric>, and where they are known
    pre_impressions and pre_<metric>. The value of a metric per impression is a ratio of sums, and
    its deviation that of (sum - value x impressions) / mean impressions.

    Exits with 1 where the planned n cannot show the effect or a margin.
    """
    wanted = read_experiment(experiment, read_environment().signals).experiment
    found = _sized(wanted, **sizing)
    content = {
        "planned_n": found.planned_n,
        "miss": found.miss,
        "days": found.days,
        "metrics": [
            {
                "metric": size.metric,
                "role": size.role,
                "value": size.value,
                "to_show": size.change,
                "users": math.ceil(size.users) if size.users < _MOST_USERS else None,
                "enough": size.users <= found.planned_n,
                "least_shown": round(size.least_change, 6),
            }
            for size in found.sizes
        ],
    }
    time = "run it for two whole weeks at least, and whole weeks after"
    if found.days is not None:
        time = f"{found.days} days, the windows of the last users included"
    odds = f"\neach metric is missed in {found.miss:.1%} of all experiments; {time}"
    return Answer(content, [table_of(found.sizes, _plan_columns(found)), odds], _too_small(found))


def _plan_columns(found: Plan) -> Columns:
    return {
        "metric": "metric",
        "role": "role",
        "value>": "value:.4g",
        "to show>": "change:.1%",
        "users an arm>": lambda size: f"{size.users:,.0f}" if size.users < _MOST_USERS else "never",
        "planned>": lambda size: (
            f"{found.planned_n:,}{'' if size.users <= found.planned_n else '  too few'}"
        ),
        "least shown>": "least_change:.1%",
    }


@click.command()
@click.argument("experiment", type=FILE)
@option("--name", "Its name.  [that of the file, without its ending]")
@option(
    "--traffic N",
    "How many of 10,000 readers are in it, instead of what EXPERIMENT says.",
    click.IntRange(1, WHOLE),
)
@size_options
@with_setting_change(by_option, note_option)
def start(
    environment: Environment,
    change: ChangeOptions,
    experiment: Path,
    name: str | None,
    traffic: int | None,
    **sizing: Any,
) -> None:
    """Start EXPERIMENT on the readers of its feeds, or give one that runs more of them.

    It writes the setting `experiments/<name>`, after the checks that every stage makes: the feeds
    exist and have no other experiment, arms differ, gates are at most stricter. Later only traffic
    changes, upwards, and no name is used twice.

    With --before or --assume it sizes EXPERIMENT as `plan` does, and starts none whose planned n
    cannot show the effect or a margin.
    """
    written = read_experiment(experiment, environment.signals, name)
    value = {**written.value, **({} if traffic is None else {"traffic": traffic})}
    log = read_settings_log(environment)
    key = PREFIX + written.name
    running = log.written_value(key)
    if running == value:
        raise UsageError(f"`{written.name}` runs with just that; nothing was sent")
    # Without it frontends could not say who saw what.
    count_partitions(environment, ["exposures"])
    is_sized = bool(sizing["before"] or sizing["assume"])
    if is_sized and (failure := _too_small(_sized(written.experiment, **sizing))):
        raise failure
    if running is None:
        _warn(written.experiment, is_sized=is_sized)
    change_setting(environment, log, key, value, change)


@click.command()
@click.argument("name")
@with_setting_change(by_option, note_option)
def stop(environment: Environment, change: ChangeOptions, name: str) -> None:
    """Stop the experiment NAME: every reader has the feed itself again, at once.

    The lists of its arms leave Redis. What is exported of it stays, and the name stays taken.
    """
    log = read_settings_log(environment)
    run = run_of(log, name)
    if run.stopped is not None:
        raise UsageError(
            f"`{name}` was stopped at {time_text(run.stopped.at_ms)}, offset {run.stopped.offset}"
        )
    value = {**(log.written_value(PREFIX + name) or {}), "stopped": True}
    change_setting(environment, log, PREFIX + name, value, change)


def _warn(experiment: Experiment, *, is_sized: bool) -> None:
    """Say on stderr what a careful reader of the results would miss."""
    if not is_sized:
        warn(
            f"warning: nothing says that {experiment.planned_n:,} users an arm can show anything;"
            " give --before or --assume, as to `plan`"
        )
    if not experiment.guardrails:
        warn("warning: no guardrail says what an arm may not worsen; consider `guardrails`")
