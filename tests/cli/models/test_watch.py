"""`feedmill models watch` where its detectors are not installed."""

import sys

import pytest
from click.testing import CliRunner

from feedmill.cli.main import main


def test_without_river_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("feedmill.streams.watch.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "river.drift", None)
    result = CliRunner().invoke(main, ["models", "watch", "--kafka", "127.0.0.1:1"])
    assert result.exit_code == 1
    assert "pip install 'feedmill[watch]'" in result.output
