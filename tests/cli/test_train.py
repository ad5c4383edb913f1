"""`feedmill train` and `feedmill evaluate` on files, as a stranger would call them."""

import csv
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from builders.training_data import sentences
from feedmill.cli.main import main
from feedmill.training.fitting import filters as fitting


def run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("FEEDMILL_MODELS", raising=False)
    monkeypatch.chdir(tmp_path)
    bad, good = sentences(150, 1, "BUY pills NOW!!!"), sentences(150, 2)
    with Path("mail.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["body", "kind", "who"])
        writer.writerows([text, "junk", f"u{i % 40}"] for i, text in enumerate(bad))
        writer.writerows([text, "fine", f"u{i % 40}"] for i, text in enumerate(good))
    other = [
        *zip(sentences(80, 5, "BUY now!!"), "1" * 80, strict=True),
        *zip(sentences(80, 6), "0" * 80, strict=True),
        # Of another length: a slice of all rows is not shown.
        *((f"{text} {text} {text}", "0") for text in sentences(30, 7)),
    ]
    Path("other.tsv").write_text("text\tlabel\n" + "".join(f"{t}\t{y}\n" for t, y in other))
    Path("plain.jsonl").write_text(
        "".join(
            json.dumps({"text": t, "user": f"p{i % 60}"}) + "\n"
            for i, t in enumerate(sentences(400, 3, "today"))
        )
    )
    return tmp_path


MAIL = "mail.csv,text=body,label=kind,positive=junk,group=who"
PLAIN = "plain.jsonl,group=user"


def test_a_filter_is_trained_on_strange_files_and_evaluated_on_others(files: Path) -> None:
    trained = run("train", "spam", "--data", MAIL, "--ordinary", PLAIN, "--day", "2026-01-01")
    assert trained.exit_code == 0, trained.output
    card = json.loads((files / "models" / "spam.json").read_text())
    assert card["command"] == f"feedmill train spam --data {MAIL} --ordinary {PLAIN}"
    assert trained.output.startswith(f"spam@{card['sha256'][:12]}")
    assert "without --ordinary" not in trained.output
    alone = run("train", "spam", "--data", MAIL, "--out", "alone")
    assert alone.stderr.startswith(
        "without --ordinary the thresholds fit the fine posts of the labelled files: the filter may"
        " demote and hide many"
    )
    assert [use["file"] for use in card["data"]] == ["mail.csv", "plain.jsonl"]
    again = run("train", "spam", "--data", MAIL, "--ordinary", PLAIN, "--out", "b", "--json")
    assert json.loads(again.output)["sha256"] == card["sha256"]

    words = ["evaluate", "spam", "--model", "models", "--data", MAIL, "--data", "other.tsv"]
    before = json.loads(run(*words, "--json").output)
    assert [dataset["name"] for dataset in before["filters"][0]["sets"]] == ["other"]
    assert before["filters"][0]["not_looked_at"] == ["mail"]
    assert not Path("looks.jsonl").exists()

    against = run(*words, "--against", "models", "--json")
    (comparison,) = json.loads(against.output)["filters"][0]["comparisons"]
    assert comparison["auc"] == [0, 0, 0]

    looking = ["--ordinary", PLAIN, "--out", "report", "--json", "--look", "to release"]
    evaluated = run(*words, *looking)
    assert evaluated.exit_code == 0, evaluated.output
    assert evaluated.stderr == "look 1 at the test rows, logged in looks.jsonl\n"
    assert json.loads(Path("looks.jsonl").read_text())["why"] == "to release"
    report = json.loads(evaluated.stdout)
    (of_spam,) = report["filters"]
    assert of_spam["card"]["sha256"] == card["sha256"]
    notes = {dataset["name"]: dataset["note"] for dataset in of_spam["sets"]}
    assert notes["mail"] == "the test split of a file that it was trained on"
    assert notes["other"] == "a file it never saw"
    assert of_spam["sets"][0]["measures"]["auc"][0] > 0.95
    assert {cell["source"] for cell in report["together"]["cells"]} == {"plain", "all"}
    assert {path.name for path in (files / "report").iterdir()} == {
        *("evaluation.json", "evaluation.md", "spam-mail-stored.svg", "spam-other-stored.svg")
    }
    assert json.loads((files / "report" / "evaluation.json").read_text()) == report
    page = (files / "report" / "evaluation.md").read_text()
    assert "No community, page, author or host is known that has" in page
    assert "these have more hidden" not in page


def test_the_shipped_filter_is_fitted_to_labels_of_ones_own(files: Path) -> None:
    words = ("train", "spam", "--base", "shipped", "--data", MAIL, "--ordinary", PLAIN)
    done = run(*words, "--day", "2026-01-01")
    assert done.exit_code == 0, done.output
    card = json.loads((files / "models" / "spam.json").read_text())
    assert card["command"] == (
        f"feedmill train spam --base shipped --data {MAIL} --ordinary {PLAIN}"
    )
    assert card["recipe"] == "local"


def test_folds_and_sets_left_out_are_reported_as_markdown(files: Path) -> None:
    done = run(
        *("evaluate", "spam", "--data", MAIL, "--data", "other.tsv", "--ordinary", PLAIN),
        *("--folds", "2", "--leave-one-out", "--jobs", "1", "--out", "report"),
    )
    assert done.exit_code == 0, done.output
    assert "## spam: trained here" in done.output
    assert "### Other models: grouped cross-validation of the recipe" in done.output
    assert "### Other models: each set by a model that learned from the other sets" in done.output
    assert "- mail: 2 folds by group; learned from its other folds and other" in done.output
    assert "| other | length: to 100 |" in done.output
    assert "pills" not in done.output
    assert done.output == (files / "report" / "evaluation.md").read_text()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("train spam --data nowhere.csv", "cannot read nowhere.csv"),
        ("train spam --data mail.csv", "expected a column of labels"),
        ("train spam --data other.tsv --since 2026-01-01", "--since needs --from-labels"),
        ("train engagement --data other.tsv", "engagement learns from the data sets of one"),
        ("train spam --base shipped", "--base needs labels of your own"),
        ("train spam --base shipped --data other.tsv", "at least 200 ordinary posts"),
        ("train spam --base nowhere --data other.tsv", "no card at nowhere/spam.json"),
        ("train quality --data . --from-labels", "quality learns from its own data sets alone"),
        ("evaluate spam --data other.tsv --alone", "--alone needs --folds"),
        ("evaluate spam --data other.tsv --leave-one-out", "takes two or more"),
        ("evaluate spam --data other.tsv --model empty", "no card at empty/spam.json"),
        ("evaluate spam --data . --model empty", "cannot read spam_youtube.csv.gz"),
    ],
)
@pytest.mark.usefixtures("files")
def test_what_cannot_be_done_is_refused_in_one_line(words: str, reason: str) -> None:
    done = run(*words.split())
    assert done.exit_code == 1
    assert reason in done.output
    assert done.output.count("\n") == 1


def test_training_says_which_ordinary_rows_it_does_not_use(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("train", "spam", "--data", MAIL, "--ordinary", PLAIN, "--out", "a")
    assert run(*words).stderr == ""
    monkeypatch.setattr(fitting, "_ORDINARY_ROWS", 100)
    # A store that is not there is made, as by --out.
    monkeypatch.setenv("FEEDMILL_MODELS", "new/store")
    done = run(*words[:-2])
    assert done.exit_code == 0, done.output
    assert (files / "new" / "store" / "spam.json").exists()
    (line,) = done.stderr.splitlines()
    assert re.fullmatch(
        r"plain: of 400 ordinary rows 100 train, drawn from \d+, because no set gives more;"
        r" \d+ choose the thresholds, \d+ only test",
        line,
    )
