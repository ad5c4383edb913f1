import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from builders.golden import Golden
from builders.refusals import Refusals
from feedmill.events.errors import UsageError
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.datasets.tables import Table, parse_table, read_table

ROWS: list[dict[str, Any]] = [
    {
        "text": f"post number {word}",
        "label": index % 2,
        "who": f"author{index % 3}",
        "at": f"2024-01-0{index + 1}T00:00:00Z",
        "url": "example.org",
    }
    for index, word in enumerate(["one", "two", "three", "four"])
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return path
    text = io.StringIO(newline="")
    if name.endswith((".csv", ".tsv")):
        writer = csv.DictWriter(text, list(rows[0]), delimiter="\t" if "tsv" in name else ",")
        writer.writeheader()
        writer.writerows(rows)
    else:
        text.writelines(json.dumps(row) + "\n" for row in rows)
    content = text.getvalue().encode()
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path


def read(path: Path, options: str = "", *, labelled: bool = True) -> LabelledPosts:
    return read_table(parse_table(f"{path}{options}"), labelled=labelled)


def test_ratings_are_numbers_from_0_to_1(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    path.write_text("text,label\na good one,0.75\nanother,1\na bad one,no\n")
    rows = read_table(parse_table(str(path)), labelled=True, rated=True)
    assert rows.labels.tolist() == [0.75, 1, 0]
    path.write_text("text,label\na,2\nb,nan\nc,\nd,0.5\n")
    with pytest.raises(UsageError) as refused:
        read_table(parse_table(str(path)), labelled=True, rated=True)
    expected = "column `label`: expected a number from 0 to 1 (or give positive=VALUE), found"
    for line, found in ((2, "`2`"), (3, "`nan`"), (4, "nothing")):
        assert f"line {line}, {expected} {found}" in str(refused.value)


@pytest.mark.parametrize(
    "name",
    ["a.csv", "a.csv.gz", "a.tsv", "a.tsv.gz", "a.jsonl", "a.jsonl.gz", "a.ndjson", "a.parquet"],
)
def test_every_form_gives_the_same_posts(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, ROWS)
    rows = read(path, ",author=who,time=at,link=url,group=who,name=set")
    assert rows.texts == [row["text"] for row in ROWS]
    assert rows.labels.tolist() == [0, 1, 0, 1]
    assert rows.groups == [f"who|author{i}" for i in (0, 1, 2, 0)]
    post = rows.posts[1]
    assert (post.post_id, post.author_id) == ("set-2", "author1")
    assert post.created_at_ms == 1_704_153_600_000
    assert post.links == ("https://example.org/",)


def test_a_specification_names_columns() -> None:
    table = parse_table("a,b.csv,text=title+body,positive=bad|worse,weight=0.5,time_format=%d, %m")
    assert table == Table(
        Path("a,b.csv"),
        text="title+body",
        positive=("bad", "worse"),
        weight=0.5,
        time_format="%d, %m",
    )
    assert table.source == "a,b"


def test_columns_are_guessed_only_where_there_is_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [{"Message": "hello there", "is_spam": "ham", "n": 1}])
    assert read(path).texts == ["hello there"]
    two = write(tmp_path / "b.csv", [{"title": "a b", "body": "c d", "label": 1}])
    with pytest.raises(
        UsageError, match=r"one of `title`, `body`.*its columns are `title`, `body`"
    ):
        read(two)
    assert read(two, ",text=title+body").texts == ["a b\nc d"]
    none = write(tmp_path / "c.csv", [{"text": "a", "n": 1}])
    with pytest.raises(UsageError, match=r"`label=COLUMN`; its columns are `text`, `n`"):
        read(none)
    assert read(none, labelled=False).labels.tolist() == [0.0]
    with pytest.raises(UsageError, match="column `user`"):
        read(none, ",group=user", labelled=False)


def test_labels_are_read_by_their_usual_words_or_by_those_given(tmp_path: Path) -> None:
    labels = ["spam", "ham", "True", "false", "1", "0", "1.0"]
    rows = [{"text": f"t{chr(97 + i)}", "label": label} for i, label in enumerate(labels)]
    path = write(tmp_path / "a.csv", rows)
    assert read(path).labels.tolist() == [1, 0, 1, 0, 1, 0, 1]
    path = write(tmp_path / "b.jsonl", [{"text": "a", "class": 2}, {"text": "b", "class": 0}])
    assert read(path, ",positive=1|2").labels.tolist() == [1, 0]


def test_bad_rows_are_named_by_line_and_nothing_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('text,label,at\n"two\nlines",1,\nx,maybe,\ny,,\nz,1,noon\nsecret,0,0\n')
    with pytest.raises(UsageError) as caught:
        read(path, ",time=at")
    message = str(caught.value)
    assert "line 4, column `label`: expected 0 or 1" in message
    assert "found `maybe`; line 5" in message
    assert "found nothing" in message
    assert "line 6, column `at`: expected ISO 8601" in message
    assert message.endswith("; nothing was read")
    assert "secret" not in message
    rows = [{"text": f"t{i}", "label": "?"} for i in range(9)]
    with pytest.raises(UsageError, match="and 4 more"):
        read(write(tmp_path / "b.csv", rows))


SPECIFICATIONS = (
    *("a.csv,colour=red", "a.csv,text=", "a.csv,text=a,text=b", ",text=a"),
    *("a.csv,weight=0", "a.csv,weight=much"),
)
FILES = (
    ("a.csv", b""),
    ("a.csv", b"text,label\nx\n"),
    ("a.csv", b"text,text\nx,y\n"),
    ("a.csv", b"text,label\n\xff,1\n"),
    ("a.csv", b"text,label\n ,1\n"),
    ("a.csv.gz", b"no gzip"),
    ("a.jsonl", b'{"text": "a", "label": 1}\nx\n'),
    ("a.jsonl", b"[1]\n"),
    ("a.jsonl", b'{"text": [1], "label": 1}\n'),
    ("a.parquet", b"no parquet"),
    ("a.xls", b""),
)


def test_what_cannot_be_read_is_refused(tmp_path: Path, golden: Golden) -> None:
    refusals = Refusals(UsageError)
    for given in SPECIFICATIONS:
        refusals.add(given, parse_table, given)
    for name, content in FILES:
        (tmp_path / name).write_bytes(content)
        refusals.add(f"{name}: {content.decode(errors='replace')!a}", read, tmp_path / name)
    golden.check("refused_tables.txt", refusals.text().replace(str(tmp_path), "<folder>"))


@pytest.mark.parametrize(
    ("time", "at_ms"),
    [("1700000000", 1_700_000_000_000), ("1700000000123", 1_700_000_000_123), ("", 0)],
)
def test_unix_times_are_seconds_or_milliseconds(tmp_path: Path, time: str, at_ms: int) -> None:
    path = write(tmp_path / "a.csv", [{"text": "a", "label": 1, "at": time}])
    assert read(path, ",time=at").posts[0].created_at_ms == at_ms


def test_tables_grouped_by_one_column_are_split_alike(tmp_path: Path) -> None:
    rows = [{"text": f"t{chr(97 + i)}", "label": i % 2, "user": f"u{i}"} for i in range(26)]
    one = read(write(tmp_path / "a.csv", rows), ",group=user")
    two = read(write(tmp_path / "b.csv", rows[::-1]), ",group=user")
    assert dict(zip(one.groups, one.splits, strict=True)) == dict(
        zip(two.groups, two.splits, strict=True)
    )
