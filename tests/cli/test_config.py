import json
import re
from typing import Any

import pytest
from click.testing import Result

from builders.commands import Run, StartStage

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("topics_made")]


def outcome(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_without_records_the_built_in_settings_hold(run: Run) -> None:
    shown = outcome(run("config get weights --json"))
    assert shown["offset"] == -1
    assert shown["value"] is None
    assert shown["effective"]["quality"] == 0.5
    assert shown["effective"]["scale"] == {"quality": 1.0, "engagement": 10.0}
    assert [one["key"] for one in outcome(run("config get --json"))] == [
        "weights",
        "gates",
        "feeds/global",
    ]


def test_pairs_change_their_fields_and_leave_the_others(run: Run) -> None:
    assert outcome(run("config set weights alpha=0.2 beta=0.8 --json"))["offset"] == 0
    outcome(run("config set weights scale.beta=20 half_life_hours=null --note tuned --json"))
    shown = outcome(run("config get weights --json"))
    assert shown["value"] == {
        "quality": 0.2,
        "engagement": 0.8,
        "scale": {"engagement": 20},
        "half_life_hours": None,
    }
    assert shown["effective"]["scale"] == {"quality": 1.0, "engagement": 20.0}
    # Behind each change stands the marker of its transaction.
    assert (shown["offset"], shown["note"]) == (2, "tuned")


def test_rules_are_set_changed_and_taken_away_one_by_one(run: Run) -> None:
    links = {"domains": ["evil.example"], "verdict": "hide"}
    outcome(run(f"config set rules/spam '{json.dumps({'bad-links': links})}' --json"))
    outcome(
        run(
            """config set rules/spam 'v1.words.phrases=["buy now"]' v1.words.verdict=demote"""
            " bad-links.expires_at_ms=5 --json"
        )
    )
    shown = outcome(run("config get rules/spam --json"))
    words = {"phrases": ["buy now"], "verdict": "demote"}
    assert shown["value"] == {"bad-links": {**links, "expires_at_ms": 5}, "v1.words": words}
    assert shown["effective"] == shown["value"]
    outcome(run("config set rules/spam v1.words=null bad-links.expires_at_ms=null --json"))
    shown = outcome(run("config get rules/spam --json"))
    assert shown["effective"] == {"bad-links": links}
    assert "bad-links.domains" in run("config get").stdout
    assert outcome(run("config get rules/nsfw --json"))["effective"] == {}
    outcome(run("config set rules/spam null --json"))
    assert outcome(run("config get rules/spam --json"))["value"] is None


REFUSED = {
    """rules/spam '{"r": {"verdict": "hide", "patterns": ["(a"]}}'""": "Rule `r`: RE2 refuses",
    "rules/spam r.verdict=hide": "Rule `r` has no entries, so it matches no post",
    "rules/quality null": "Expected `rules/<filter>`, one of spam, nsfw, misinformation",
    "weights alpha=-1": "Expected `float` >= 0.0 - at `$.value.quality`",
    "weights alpha=0 beta=0": "Expected at least one weight above 0",
    "gates spam.hide_at=2": "Expected `float` <= 1.0 - at `$.value.spam.hide_at`",
    "gates quality.hide_at=0.5": "Expected a declared gate",
    "weigths alpha=1": "Expected one of weights",
    "weights '[1]'": "Expected `object | null`, got `array` - at `$.value`",
}


def test_what_would_be_refused_is_not_sent(run: Run) -> None:
    for line, reason in REFUSED.items():
        result = run(f"config set {line}")
        assert result.exit_code == 1, line
        assert result.stderr.startswith("feedmill: refused, nothing was sent: ")
        assert reason in result.stderr
    assert outcome(run("config history --json")) == []


def test_a_stale_if_offset_is_refused(run: Run) -> None:
    outcome(run("config set weights alpha=1 --if-offset -1 --json"))
    result = run("config set weights alpha=2 --if-offset -1")
    assert result.exit_code == 1
    assert "was changed meanwhile" in result.stderr


def test_history_says_what_was_refused_and_rollback_returns_to_what_was_applied(run: Run) -> None:
    outcome(run("config set weights alpha=0.1 --by ann --json"))
    outcome(run("config set weights alpha=0.2 --by ben --json"))
    outcome(run("""config set weights --force '{"quality": 1}' --json"""))
    history = outcome(run("config history weights --json"))
    assert [(one["offset"], one["by"], one["applied"]) for one in history[:2]] == [
        (0, "ann", True),
        (2, "ben", True),
    ]
    assert history[2]["reason"] == "Object missing required field `engagement` - at `$.value`"
    assert outcome(run("config rollback weights --json"))["offset"] == 6
    shown = outcome(run("config get weights --json"))
    assert (shown["value"]["quality"], shown["note"]) == (0.1, "rollback to 0")
    outcome(run("config rollback weights --to 2 --json"))
    assert outcome(run("config get weights --json"))["value"]["quality"] == 0.2
    assert run("config rollback weights --to 4").exit_code == 1
    assert "refused: Object missing" in run("config history").stdout


def test_the_first_values_rollback_removes_the_setting(run: Run) -> None:
    assert run("config rollback gates").exit_code == 1
    outcome(run("config set gates spam.enabled=false --json"))
    outcome(run("config rollback gates --json"))
    assert outcome(run("config get gates --json"))["effective"]["spam"]["enabled"] is True


def test_set_waits_for_every_instance_and_says_how_long_each_took(
    run: Run, stage: StartStage
) -> None:
    stage("spam/1")
    stage("combiner/1")
    result = run("config set weights alpha=0.3 --timeout 60")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "`weights` written at offset 0"
    assert sorted(line.split()[1] for line in lines[1:]) == ["combiner/1", "spam/1"]
    assert all(line.split()[0] == "applied" and line.endswith(" ms") for line in lines[1:])


def test_an_instance_that_refuses_fails_the_command(run: Run, stage: StartStage) -> None:
    stage("spam/1")
    stage("quality/1", "too new for this build")
    result = run("config set weights alpha=0.3 --timeout 60 --json")
    assert result.exit_code == 1
    assert "refused by quality/1: too new for this build" in result.stderr
    answers = {one["instance"]: one for one in json.loads(result.stdout)["instances"]}
    assert answers["spam/1"]["state"] == "applied"
    assert answers["quality/1"]["reason"] == "too new for this build"


def test_a_silent_instance_is_named(run: Run, stage: StartStage) -> None:
    stage("spam/1")
    dead = stage("nsfw/1")
    dead.ended.set()
    dead.join()
    result = run("config set weights alpha=0.3 --timeout 1.5")
    assert result.exit_code == 1
    assert re.search(r"nsfw/1.* did not answer within 1.5 s", result.stderr)
    assert run("config set weights alpha=0.4 --timeout 0").exit_code == 0


@pytest.mark.usefixtures("_connects_at_once_or_never")
def test_a_missing_topic_or_broker_is_said_in_one_line(run: Run) -> None:
    result = run("config get --prefix nobody.")
    assert result.exit_code == 1
    assert "has no topic `nobody.config`" in result.stderr
    result = run("config get --kafka 127.0.0.1:1")
    assert result.exit_code == 1
    assert result.stderr.startswith("feedmill: Kafka at 127.0.0.1:1: ")
    assert run("config get --kafka nowhere").exit_code == 1


def test_gates_that_hide_before_they_demote_are_set_with_a_warning(run: Run) -> None:
    assert "warning" not in run("config set gates spam.hide_at=0.7 --timeout 0").stderr
    result = run("config set gates spam.hide_at=0.4 nsfw.demote_at=null --timeout 0")
    assert result.exit_code == 0
    assert result.stderr == (
        "warning: spam: hide_at 0.4 is below demote_at 0.6: every post from 0.4 on is hidden and"
        " none is demoted; lower demote_at, or set it to null\n"
    )
    # A feed inherits the threshold that it does not set.
    result = run("config set gates/mine spam.demote_at=0.5 --timeout 0")
    assert result.stderr.startswith("warning: spam of mine: hide_at 0.4 is below demote_at 0.5")
    result = run("config set gates spam.demote_at=0.3 --timeout 0")
    assert result.stderr.startswith("warning: spam of mine: hide_at 0.4 is below demote_at 0.5")
    assert "warning" not in run("config set gates/mine null --timeout 0").stderr
    assert "warning" not in run("config set gates spam.enabled=false --timeout 0").stderr
