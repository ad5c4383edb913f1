"""`feedmill backup` and `restore` as an operator sees them."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from builders.commands import CommandTopics, Run
from feedmill.deploy.local import StackAddress
from feedmill.events.audit import decode_audit
from feedmill.streams.kafka.topic_table import KEPT


def test_what_was_decided_is_in_force_under_another_prefix(
    run: Run,
    stack: StackAddress,
    prefix: str,
    topics: CommandTopics,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topics.make(*KEPT, "instances")
    for line in (
        "config set weights alpha=0.2 beta=0.8 --if-offset -1",
        "config set weights alpha=0.3",
        "override hide post:p1 --reason why",
        "override allow post:p2 --any-version --reason why",
        "models freeze spam",
    ):
        assert run(f"{line} --timeout 0 --by ann").exit_code == 0
    monkeypatch.setenv("FEEDMILL_MODELS", str(tmp_path / "store"))
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "spam.json").write_text("{}")
    made = run(f"backup {tmp_path}/kept")
    assert made.exit_code == 0, made.output
    said = re.sub(r"[0-9.]+ (kB|bytes)", "<size>", made.stdout).replace(str(tmp_path), "…")
    assert said == (
        "config: 2 records\nmodels: 1 records\noverrides: 2 records\nlabels: 0 records\n"
        "audit: 5 records\n1 files of …/store\n"
        "…/kept: <size>; `sha256sum -c SHA256SUMS` checks it\n"
    )

    checked = ["sha256sum", "--quiet", "--check", "SHA256SUMS"]
    done = subprocess.run(checked, cwd=tmp_path / "kept", capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"")

    asked = ("config get weights --json", "override list --json", "models list --json")
    before = [run(line).stdout for line in asked]
    monkeypatch.setenv("FEEDMILL_TOPIC_PREFIX", f"{prefix}b.")
    monkeypatch.setenv("FEEDMILL_MODELS", str(tmp_path / "other"))
    assert run("topics create --partitions 2").exit_code == 0
    restored = run(f"restore {tmp_path}/kept --by ann --note fire --json")
    assert restored.exit_code == 0, restored.output
    found = json.loads(restored.stdout)
    assert found["files"] == 1 and found["versions"] == []
    assert found["offsets"]["config"] == {"0": 0, "2": 1}
    after = [run(line).stdout for line in asked]
    assert [_without_offsets(text) for text in after] == [_without_offsets(x) for x in before]
    again = run(f"restore {tmp_path}/kept")
    assert again.exit_code == 1 and "has records" in again.stderr
    records = CommandTopics(stack.kafka, f"{prefix}b.").read("audit")
    audited = [decode_audit(record.value) for record in records]
    ours = [one for one in audited if one.command == "restore"]
    assert [one.topic for one in ours] == [*KEPT]
    assert {(one.by, one.note) for one in ours} == {("ann", "fire")}


def _without_offsets(text: str) -> str:
    return re.sub(r'"offset": \d+', '"offset": 0', text)
