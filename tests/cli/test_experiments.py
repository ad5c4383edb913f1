"""`feedmill experiments`, on tables and settings in files."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from builders.experiment_tables import SETTING, user_columns, write_table
from builders.golden import Golden
from feedmill.cli.main import main

ASSUMED = ("--assume", "take_rate=0.05:0.122", "--assume", "reporters=0.01", "--assume")
RECORD = {"gaps": [], "overlap": {"fresher": 0.6}, "changes": ["weights, offset 17"]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("fresher.json").write_text(json.dumps(SETTING))
    Path("record.json").write_text(json.dumps(RECORD))
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["experiments", *words], prog_name="feedmill")


def test_the_analysis_is_printed_and_written_as_a_page(folder: Path, golden: Golden) -> None:
    write_table(folder / "users.parquet", user_columns(5, 40_000, uplift=0.2))
    words = ("analyse", "users.parquet", "--experiment", "fresher.json", "--record", "record.json")
    result = run(*words, "--html", "page.html")
    assert result.exit_code == 0
    golden.check("experiment_analysis.txt", result.stdout)
    golden.check("experiment_page.html", Path("page.html").read_text("utf-8"))
    shown: dict[str, Any] = json.loads(run(*words, "--json").stdout)
    assert shown["arms"][0]["verdict"] == "ship"
    assert shown["arms"][0]["metrics"][0]["metric"] == "take_rate"
    assert shown["conclusion"] in result.stdout


def test_an_analysis_that_fails_its_checks_ends_with_1_and_shows_no_effect(
    folder: Path, golden: Golden
) -> None:
    columns = user_columns(5, 40_000, uplift=0.2)
    columns["arm_count"] = 1 + (columns["arm"] == "fresher")
    write_table(folder / "users.csv", columns)
    words = ("analyse", "users.csv", "--experiment", "fresher.json")
    result = run(*words)
    assert result.exit_code == 1
    golden.check("experiment_failed.txt", result.stdout)
    shown = run(*words, "--json")
    assert shown.exit_code == 1
    assert json.loads(shown.stdout)["arms"] == []


def test_a_plan_is_printed_and_refused_where_the_users_are_too_few(
    folder: Path, golden: Golden
) -> None:
    enough = run("plan", "fresher.json", *ASSUMED, "actions=1:2", "--effect", "0.06")
    assert enough.exit_code == 0
    few = run("plan", "fresher.json", *ASSUMED, "actions=1:9", "--users-a-day", "9000")
    assert few.exit_code == 1
    golden.check("experiment_plan.txt", f"{enough.stdout}\n{few.stdout}\n{few.stderr}")
    # A period before gives what is not assumed, and --json the same figures.
    columns = user_columns(2, 20_000)
    write_table(folder / "before.csv", {name: columns[name] for name in columns if name != "arm"})
    words = ("plan", "fresher.json", "--before", "before.csv", "--assume", "reporters=0.01")
    shown = json.loads(run(*words, "--json").stdout)
    assert [one["metric"] for one in shown["metrics"]] == ["take_rate", "reporters", "actions"]
    assert all(one["enough"] == (one["users"] <= 63_000) for one in shown["metrics"])


@pytest.mark.parametrize("rows", [0, 3])
def test_a_table_of_few_users_shows_nothing(folder: Path, rows: int) -> None:
    write_table(folder / "users.parquet", user_columns(1, rows))
    result = run("analyse", "users.parquet", "--experiment", "fresher.json")
    assert result.exit_code == 1
    assert "Nothing may be concluded: data: users: 0 users" in result.stdout


def test_each_look_is_kept_beside_the_parts_or_the_table(folder: Path) -> None:
    write_table(folder / "users.parquet", user_columns(5, 40_000, uplift=0.2))
    words = ("analyse", "users.parquet", "--experiment", "fresher.json", "--record", "record.json")
    assert run(*words).exit_code == 0
    export = folder / "export"
    export.mkdir()
    setting = {"offset": 17, "primary": "take_rate", "planned_n": 63_000}
    read = {"exposures": {"0": 12}}
    known = {**RECORD, "export": str(export), "setting": setting, "read": read}
    Path("record.json").write_text(json.dumps(known))
    assert run(*words).exit_code == run(*words, "--json").exit_code == 0
    (bare,), looks = (
        [json.loads(line) for line in Path(place, "looks.jsonl").read_text().splitlines()]
        for place in (".", "export")
    )
    assert (bare["setting_offset"], len(looks)) == (None, 2)
    for look in looks:
        assert (look["setting_offset"], look["read"]) == (17, read)
        assert look["arms"][0]["verdict"] == "ship"
        assert (
            look["table_sha256"] == hashlib.sha256(Path("users.parquet").read_bytes()).hexdigest()
        )
    # What decides is what was started; a look that cannot be kept is not shown.
    for changes, said in (
        ({"planned_n": 20_000}, "63000"),
        ({"primary": "actions"}, "'take_rate'"),
    ):
        value = {**SETTING, "guardrails": {}, **changes}
        Path("fresher.json").write_text(json.dumps(value))
        refused = run(*words)
        assert refused.exit_code == 1
        assert f"{said}, as the setting at offset 17 says, got" in refused.stderr
    Path("fresher.json").write_text(json.dumps(SETTING))
    Path("record.json").write_text(json.dumps({**known, "export": str(folder / "gone")}))
    refused = run(*words)
    assert refused.exit_code == 1
    assert "the look cannot be kept, so it is not shown" in refused.stderr
    assert len(Path("export", "looks.jsonl").read_text().splitlines()) == 2


def test_noise_of_lists_takes_users_until_no_number_is_enough(folder: Path) -> None:
    def users(noise: str) -> int | None:
        words = ("plan", "fresher.json", *ASSUMED, "actions=1:2", "--list-noise", noise, "--json")
        found: int | None = json.loads(run(*words).stdout)["metrics"][0]["users"]
        return found

    none, usual, bold = users("0"), users("0.003"), users("0.02")
    assert none and usual and bold
    assert 1 < usual / none < 1.02
    assert 1.2 < bold / none < 1.5
    assert users("0.05") is None
