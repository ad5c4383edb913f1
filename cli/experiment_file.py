"""The file of an experiment, as the commands that plan, start and analyse it read it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import click
import orjson

from feedmill.events.errors import BadSetting, UsageError
from feedmill.events.experiment import Experiment, decode_experiment
from feedmill.events.limits import is_name
from feedmill.events.signal import SignalNames
from feedmill.events.weights import OBJECTIVE_ALIASES

EXPERIMENT_FILE = click.Path(path_type=Path, dir_okay=False)


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

    Raises
    ------
    UsageError
        With the file, the path in it, what was expected and what was found.
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
