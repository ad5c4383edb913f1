"""What `feedmill doctor` prints; what it finds is tested with operations/doctor."""

import json
import os
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from builders.golden import Golden
from feedmill.cli.main import main

# Nothing listens on port 1.
AWAY = "--kafka 127.0.0.1:1 --redis redis://user:secret@127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def _empty_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith("FEEDMILL_")]:
        monkeypatch.delenv(variable)


def doctor(line: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *shlex.split(line)], prog_name="feedmill")


def test_each_finding_says_what_is_wrong_where_and_the_way_out(
    golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEEDMILL_PROT", "9100")
    monkeypatch.setenv("FEEDMILL_OF_MINE", "1")
    result = doctor(AWAY)
    assert result.exit_code == 1
    assert "secret" not in result.output
    golden.check("doctor_without_servers.txt", result.output)


def test_json_has_the_same_and_the_worst_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEEDMILL_OF_MINE", "1")
    result = doctor(f"{AWAY} --json")
    report = json.loads(result.stdout)
    found = [(one["check"], one["severity"]) for one in report["findings"]]
    assert found == [("kafka", "wrong"), ("redis", "wrong"), ("variables", "warn")]
    assert {*report["findings"][0]} == {"check", "severity", "what", "where", "way_out"}
    assert report["skipped"] > report["checks"] > 0
    assert result.exit_code == 1
