"""`feedmill models` against an engine of a test."""

import json
import shlex
from typing import Any

import pytest
from click.testing import CliRunner, Result

from builders.engine import Engine
from feedmill.cli.main import main
from feedmill.models.store_files import Store


class Models:
    """`feedmill models …` against an engine, and what stands beside its offsets."""

    def __init__(
        self, engine: Engine, store: Store, patch: pytest.MonkeyPatch, group: str = "worker"
    ) -> None:
        self._engine = engine
        self._group = group
        engine.use_environment(patch, FEEDMILL_MODELS=str(store))

    def run(self, line: str) -> Result:
        return CliRunner().invoke(main, ["models", *shlex.split(line)])

    def done(self, line: str) -> Any:
        result = self.run(f"{line} --json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def notes(self, name: str) -> dict[int, tuple[str, int]]:
        """By partition the recorded version of a model, and the offset from which it holds."""
        notes = self._engine.notes(self._group, f"model.{name}")
        return {at: (text.split()[0], int(text.split()[1])) for at, text in notes.items()}
