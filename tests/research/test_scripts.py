"""The scripts of research/ still run, on little: each reads files and writes its page."""

import csv
import gzip
import subprocess
import sys
from pathlib import Path

import evaluate_filters
import numpy as np
import pytest
import word_lists

from builders.training_data import sentences
from feedmill.features.text.profanity import SOURCES
from feedmill.training.datasets.known import KNOWN

RESEARCH = Path(__file__).parents[2] / "research"


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every known data set with 200 posts, half of which violate and say so."""
    folder: Path = tmp_path_factory.mktemp("data")
    for seed, known in enumerate(KNOWN.values()):
        table, rows = known.table, []
        texts = zip(sentences(100, seed), sentences(100, seed + 50, "BUY a cure"), strict=True)
        for number, text in enumerate(text for pair in texts for text in pair):
            row = dict.fromkeys(
                (table.group, table.author, table.community), f"g{number // 2 % 40}"
            )
            row |= dict.fromkeys(table.text.split("+"), text)
            time = "01/02/2026 10:00" if table.time_format else "2026-01-02"
            row |= {
                table.label: str(number % 2),
                table.time: time,
                table.link: f"a{number % 40}.org",
            }
            rows.append({name: value for name, value in row.items() if name})
        write(folder / known.file, rows)
    return folder


def write(path: Path, rows: list[dict[str, str]]) -> None:
    with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]])
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.usefixtures("parrots")
def test_the_pages_of_the_filters_are_written(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate_filters, "evaluate_local", lambda *_, **__: [])
    words = ["--data", str(data_folder), "--docs", str(tmp_path)]
    evaluate_filters.main([*words, "--look", "a test"])
    page = (tmp_path / "filters.md").read_text("utf-8")
    assert "| spam | youtube: auc | other: left out | ≥ 0.8 |" in page
    assert "| misinformation | posts of bluesky about health demoted or hidden |" in page
    assert '"a test"' in (tmp_path / "looks.jsonl").read_text("utf-8")
    assert len([*(tmp_path / "filters").glob("*.svg")]) == 11


def test_the_word_lists_are_made(tmp_path: Path) -> None:
    posts = [{"title": f"The {word} ran", "subreddit": f"s{n}"} for n in range(3) for word in "ab"]
    write(tmp_path / "engagement_reddit_top.csv.gz", posts)
    write(
        tmp_path / "lists_profanity.csv.gz", [{"term": "darn", "source": SOURCES[0], "lang": "en"}]
    )
    write(tmp_path / "lists_domain_quality.csv.gz", [{"domain": "a.example", "pc1": "0.5"}])
    for folder in ("text/lists", "lists"):
        (tmp_path / folder).mkdir(parents=True)
    word_lists.main(["--data", str(tmp_path), "--out", str(tmp_path)])
    assert len(np.load(tmp_path / "text/lists/words.npy")) == 3
    assert np.load(tmp_path / "lists/domain_quality.npz")["scores"].tolist() == [0.5]


@pytest.mark.parametrize("script", ["evaluate_filters", "evaluate_rankers", "word_lists"])
def test_a_script_runs_by_itself(script: str) -> None:
    command = [sys.executable, str(RESEARCH / f"{script}.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--data" in done.stdout
