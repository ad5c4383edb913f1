"""What `feedmill doctor` prints; what it finds is tested with operations/status."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from builders.golden import Golden
from feedmill.cli.main import main
from feedmill.models.store_files import RemoteStore

# Nothing listens on port 1.
AWAY = "--kafka 127.0.0.1:1 --redis redis://user:secret@127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def _empty_environment(no_variables: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


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


def test_a_store_that_cannot_be_read_is_named_until_its_address_is_right(
    s3_store: RemoteStore, s3_server: str
) -> None:
    def checks_of(address: str) -> list[str]:
        variables = {"FEEDMILL_MODELS": str(s3_store), "AWS_ENDPOINT_URL": address}
        done = subprocess.run(
            [sys.executable, "-m", "feedmill.cli.main", "doctor", "--json", *shlex.split(AWAY)],
            env={**os.environ, **variables},
            capture_output=True,
            timeout=200,
            check=False,
        )
        return [one["check"] for one in json.loads(done.stdout)["findings"]]

    assert checks_of("http://127.0.0.1:1") == ["kafka", "redis", "store"]
    assert checks_of(s3_server) == ["kafka", "redis"]


def test_json_has_the_same_and_the_worst_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEEDMILL_OF_MINE", "1")
    result = doctor(f"{AWAY} --json")
    report = json.loads(result.stdout)
    found = [(one["check"], one["severity"]) for one in report["findings"]]
    assert found == [("kafka", "wrong"), ("redis", "wrong"), ("variables", "warn")]
    assert {*report["findings"][0]} == {"check", "severity", "what", "where", "way_out"}
    assert report["skipped"] > report["checks"] > 0
    assert result.exit_code == 1
