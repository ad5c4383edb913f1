"""The shipped filters are measured on little made-up data, with and without a look."""

import csv
import gzip
from pathlib import Path

import evaluate_filters
import pytest

from builders.leaks import Parrot, check_nothing_leaked, parrots  # noqa: F401 - a fixture
from builders.training_data import sentences
from feedmill.training.datasets.known import KNOWN


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
        with gzip.open(folder / known.file, "wt", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [*rows[0]])
            writer.writeheader()
            writer.writerows(rows)
    return folder


def test_without_a_look_models_are_measured_that_learned_nothing_of_a_row(
    data_folder: Path,
    tmp_path: Path,
    parrots: list[Parrot],  # noqa: F811 - the fixture
) -> None:
    evaluate_filters.main(["--data", str(data_folder), "--docs", str(tmp_path), "--jobs", "1"])
    page = (tmp_path / "filters.md").read_text("utf-8")
    assert "without a look at the test rows" in page
    assert "| youtube | folds |" in page
    assert "| youtube | stored |" not in page
    assert not (tmp_path / "looks.jsonl").exists()
    check_nothing_leaked(parrots)


@pytest.mark.usefixtures("parrots")
def test_a_look_measures_the_shipped_filters_beside_one_that_flags_nothing_and_is_logged(
    data_folder: Path, tmp_path: Path
) -> None:
    words = ["--data", str(data_folder), "--docs", str(tmp_path), "--look", "a test"]
    evaluate_filters.main(words)
    page = (tmp_path / "filters.md").read_text("utf-8")
    for text in ("| youtube | stored |", "| sms | left out |", "## Ordinary posts"):
        assert text in page
    assert page.count("What it cannot do:") == 3
    assert "better than nothing from" in page
    assert '"a test"' in (tmp_path / "looks.jsonl").read_text("utf-8")
    drawn = {path.name for path in (tmp_path / "filters").glob("*.svg")}
    assert drawn == {
        *("spam-youtube.svg", "spam-sms.svg", "nsfw-reddit_over18.svg"),
        *("misinformation-covid.svg", "misinformation-fakenewsnet.svg"),
    }
    assert all(f"(filters/{name})" in page for name in drawn)
