"""The looks at an experiment, each kept, so that whoever looks again knows of those before."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from feedmill.events.errors import UsageError
from feedmill.events.experiment import Experiment
from feedmill.experiments.checks import ExperimentRecord
from feedmill.experiments.report import Report
from feedmill.experiments.tune_front import Front


def keep_look(
    report: Report | Front,
    table: Path,
    experiment: Experiment,
    record: ExperimentRecord,
    at_ms: int,
) -> None:
    """Add a look to `looks.jsonl` beside the export's parts, without an export beside the table.

    Raises
    ------
    UsageError
        What decides is not what the started setting says, or the file cannot be written.
    """
    offset = None if record.setting is None else record.setting.offset
    for name in ("primary", "planned_n"):
        said, asked = getattr(record.setting or experiment, name), getattr(experiment, name)
        if said != asked:
            raise UsageError(
                f"expected `{name}` {said!r}, as the setting at offset {offset} says, got"
                f" {asked!r}; `feedmill experiments join --experiment FILE` writes the setting"
            )
    file = (table.parent if record.export is None else Path(record.export)) / "looks.jsonl"
    digest = hashlib.sha256(table.read_bytes()).hexdigest()
    read = {"setting_offset": offset, "read": record.read, "table_sha256": digest}
    try:
        with file.open("a", encoding="utf-8") as kept:
            kept.write(json.dumps({"at_ms": at_ms, **read, **report.as_dict()}) + "\n")
    except OSError as error:
        reason = f"the look cannot be kept, so it is not shown: {error.strerror}"
        raise UsageError(f"{file}: {reason}") from None
