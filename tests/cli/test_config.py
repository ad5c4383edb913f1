import json
import re

import pytest

from builders.commands import Run, StartStage
from builders.golden import Golden
from builders.transcript import transcript

LINKS = {"domains": ["evil.example"], "verdict": "hide"}

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("topics_made")]


# Commands one after the other, and what they print: `config/<name>.txt`.
SESSIONS: dict[str, tuple[str, ...]] = {
    "pairs": (
        *("config get weights --json", "config get --json"),
        "config set weights alpha=0.2 beta=0.8 --json",
        "config set weights scale.beta=20 half_life_hours=null --note tuned --json",
        # Behind each change stands the marker of its transaction.
        "config get weights --json",
        *("config set weights alpha=1 --if-offset -1", "config history weights --json"),
        *("config rollback gates", "config set gates spam.enabled=false", "config rollback gates"),
        "config get gates --json",
    ),
    "rules": (
        f"config set rules/spam '{json.dumps({'bad-links': LINKS})}'",
        "config set rules/spam 'v1.words.phrases=[\"buy now\"]' v1.words.verdict=demote"
        " bad-links.expires_at_ms=5",
        "config get rules/spam --json",
        "config set rules/spam v1.words=null bad-links.expires_at_ms=null",
        *("config get", "config get rules/nsfw --json"),
        *("config set rules/spam null", "config get rules/spam --json"),
    ),
    "refused": (
        """config set rules/spam '{"r": {"verdict": "hide", "patterns": ["(a"]}}'""",
        "config set rules/spam r.verdict=hide",
        "config set rules/quality null",
        "config set weights alpha=-1",
        "config set weights alpha=0 beta=0",
        "config set gates spam.hide_at=2",
        "config set gates quality.hide_at=0.5",
        "config set weigths alpha=1",
        "config set weights '[1]'",
        "config history --json",
    ),
    "history": (
        "config set weights alpha=0.1 --by ann",
        "config set weights alpha=0.2 --by ben",
        """config set weights --force '{"quality": 1}' --by ben""",
        *("config history weights", "config rollback weights --by ben"),
        *("config get weights --json", "config rollback weights --to 2 --by ben"),
        *("config get weights --json", "config rollback weights --to 4", "config history"),
    ),
    # Gates that hide before they demote; a feed inherits the threshold that it does not set.
    "warnings": (
        "config set gates spam.hide_at=0.7",
        "config set gates spam.hide_at=0.4 nsfw.demote_at=null",
        "config set gates/mine spam.demote_at=0.5",
        *("config set gates spam.demote_at=0.3", "config set gates/mine null"),
        "config set gates spam.enabled=false",
    ),
}


@pytest.mark.parametrize("name", SESSIONS)
def test_settings_are_shown_set_refused_and_rolled_back(
    name: str, run: Run, golden: Golden
) -> None:
    golden.check(f"config/{name}.txt", transcript(run, SESSIONS[name]))


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
