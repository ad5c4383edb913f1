"""The first evaluation of a user, from outside: `feedmill` as a process."""

import csv
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

from builders.training_data import sentences

ORDINARY = 7_200


def test_a_file_of_ones_own_is_evaluated_as_anybodys(tmp_path: Path) -> None:
    # Called as a set of this project is.
    with gzip.open(tmp_path / "spam_sms_uci.csv.gz", "wt", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("text", "label"))
        rows.writerows((text, 1) for text in sentences(60, 5, "BUY now!!"))
        rows.writerows((text, 0) for text in sentences(60, 6))
        # Of another length: a slice of all rows is not shown.
        rows.writerows((f"{text} {text} {text}", 0) for text in sentences(30, 7))
    lines = (json.dumps({"text": text}) + "\n" for text in sentences(ORDINARY, 3, "today"))
    (tmp_path / "plain.jsonl").write_text("".join(lines))
    kept = {name: text for name, text in os.environ.items() if not name.startswith("FEEDMILL_")}
    words = ["--data", "spam_sms_uci.csv.gz", "--ordinary", "plain.jsonl", "--look", "the first"]
    done = subprocess.run(
        [sys.executable, "-m", "feedmill.cli.main", "evaluate", "spam", *words],
        cwd=tmp_path,
        env={**kept, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "| spam_sms_uci |" in done.stdout
    assert "| spam_sms_uci | length: to 100 |" in done.stdout
    assert "version 0.1" not in done.stdout
    assert "these have more hidden" not in done.stdout
    assert "No community, page, author or host is known that has" in done.stdout
    # Which look it was is logged, where git ignores it.
    assert {path.name for path in tmp_path.iterdir()} == {
        *("spam_sms_uci.csv.gz", "plain.jsonl", "looks.jsonl")
    }
