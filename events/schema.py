"""The JSON Schemas of the events, generated from their records.

``python -m feedmill.events.schema docs/events`` writes them; a test compares what is written.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from feedmill.events.audit import AuditRecord
from feedmill.events.engagement import Engagement
from feedmill.events.experiment import Experiment, Exposure
from feedmill.events.feeds import FeedSpec
from feedmill.events.gates import gates_struct
from feedmill.events.instance import Instance
from feedmill.events.label import Label
from feedmill.events.limits import Name
from feedmill.events.override import Override, Withdrawal
from feedmill.events.post import Deletion, Post
from feedmill.events.release import Candidate, ListRelease, ModelRelease
from feedmill.events.rules import MAX_RULES, Rule
from feedmill.events.settings import SettingRecord
from feedmill.events.signal import Signal, SignalNames
from feedmill.events.weights import weights_decoder

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> Mapping[str, dict[str, Any]]:
    """Return the schema of each event by its name; those of settings for the built-in signals."""
    names = SignalNames()
    records: dict[str, Any] = {
        "post": Post,
        "deletion": Deletion,
        "engagement": Engagement,
        "exposure": Exposure,
        "signal": Signal,
        "override": Override,
        "withdrawal": Withdrawal,
        "label": Label,
        "setting": SettingRecord,
        "weights": weights_decoder(names).struct,
        "gates": gates_struct(names.gates),
        "feed": FeedSpec,
        "rules": Annotated[dict[Name, Rule], Meta(max_length=MAX_RULES)],
        "experiment": Experiment,
        "instance": Instance,
        "release": ModelRelease,
        "candidate": Candidate,
        "list": ListRelease,
        "audit": AuditRecord,
    }
    return {name: _schema(record) for name, record in records.items()}


def _schema(record: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"$schema": _DIALECT, **msgspec.json.schema(record)}
    for described in (schema, *schema.get("$defs", {}).values()):
        if "description" in described:
            # A record's docstring; the section on its attributes is for readers of the code.
            text = inspect.cleandoc(described["description"])
            described["description"] = text.partition("\n\nAttributes\n")[0]
    return schema


def schema_text(schema: Mapping[str, Any]) -> str:
    """Return a schema as its file holds it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def write_schemas(folder: Path) -> None:
    """Write ``<event>.schema.json`` of each event into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in schemas().items():
        (folder / f"{name}.schema.json").write_text(schema_text(schema), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m feedmill.events.schema FOLDER")
    write_schemas(Path(sys.argv[1]))
