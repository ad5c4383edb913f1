"""Rounds of `feedmill train --follow`: repeated until the process is ended, each with a line."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from kafka.errors import KafkaError

from feedmill.cli.made_by import made_by
from feedmill.cli.model_releases import send_release, tried_release
from feedmill.cli.model_versions import read_history, sha256_in_force
from feedmill.cli.output import print_json
from feedmill.events.errors import FeedmillError, UsageError
from feedmill.models.artifact import ModelCard
from feedmill.models.store_files import Store
from feedmill.streams.environment import Environment
from feedmill.streams.settings.clock import now_ms
from feedmill.training.continual.challenger import Round

# What a round did, by name; `reason` says why nothing was released, or "released".
Figures = dict[str, Any]
Fitted = TypeVar("Fitted")

# The trial's limit, and some seconds for the instances.
_ANSWERS_S = 90.0
_BY = "train --follow"


def store_of_workers(environment: Environment) -> Store:
    """Return the store that the workers read, too; `UsageError` where none is named.

    A folder is made if need be, as by `--out`.
    """
    if environment.models is None:
        raise UsageError("--follow needs FEEDMILL_MODELS, the store that the workers read, too")
    if isinstance(environment.models, Path):
        environment.models.mkdir(parents=True, exist_ok=True)
    return environment.models


def repeat(
    model: str, every_ms: int, one_round: Callable[[], Figures], *, as_json: bool
) -> NoReturn:
    """Do rounds for ever, and print what came of each.

    What goes wrong with Kafka, the store or the release is the reason of a round and not the end:
    the next one may find Kafka again, the artifact, or the model unfrozen.
    """
    while True:
        due = time.monotonic() + every_ms / 1000
        try:
            figures = one_round()
        except (FeedmillError, KafkaError) as error:
            figures = {"reason": str(error)}
        _report(model, figures, as_json=as_json)
        time.sleep(max(0.0, due - time.monotonic()))


def champion_of(environment: Environment, model: str) -> str:
    """Return the sha256 of the version in force.

    Raises `UsageError` where somebody froze the model.
    """
    history = read_history(environment)
    history.check_not_frozen(model)
    return sha256_in_force(history, model)


def release_if_better(
    environment: Environment,
    found: Round[Fitted],
    champion: str,
    left_out: Mapping[str, int],
    save: Callable[[Fitted, dict[str, float]], ModelCard],
) -> Figures:
    """Save and release the challenger of a round if it may be; return what came of the round.

    `champion` is the version that it was tried against; `save` takes its e-values for the card.
    """
    verdict = found.result
    e_values = {} if verdict is None else verdict.e_values
    figures: Figures = {**found.counts, **e_values, "left_out": left_out, "champion": champion}
    if verdict is None or verdict.fitted is None or found.reason:
        return {**figures, "reason": found.reason}
    card = save(verdict.fitted, e_values)
    reason = _released(environment, card, champion, verdict.better, verdict.bets)
    return {**figures, "challenger": card.version, "reason": reason}


def _released(
    environment: Environment, card: ModelCard, old_version: str, better: float, bets: int
) -> str:
    """Release a version unless somebody froze the model meanwhile; return what came of it.

    Where it fails, the version is in the store: `feedmill models release` can still do it.
    """
    note = f"better than {old_version}: e-value {better:.0f} of {bets} bets"
    try:
        read_history(environment).check_not_frozen(card.name)
        wanted = tried_release(environment, card, _BY, note)
        send_release(
            environment,
            card.name,
            wanted,
            _ANSWERS_S,
            lambda line: click.echo(line, err=True),
            made_by(_BY, note),
        )
    except (FeedmillError, KafkaError) as error:
        return f"not released: {error}"
    return "released"


def _report(model: str, figures: Figures, *, as_json: bool) -> None:
    """Print what came of a round, as one line."""
    if as_json:
        print_json({"model": model, "at_ms": now_ms(), **figures})
        return
    at = datetime.now(UTC).strftime("%H:%M:%S")
    shown = ", ".join(f"{name} {_text(value)}" for name, value in figures.items() if value != {})
    click.echo(f"{at} {model}: {shown}")


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{count} {what}" for what, count in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
