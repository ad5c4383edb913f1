"""Read any table of posts as `LabelledPosts`: CSV, TSV, JSON lines or Parquet.

A table is read whole or refused whole.  The error names the file and, for its first bad rows, the
line, the column, what was expected and what was found; it never shows a post's text.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from feedmill.events.errors import UsageError
from feedmill.events.limits import MAX_SAFE_INTEGER
from feedmill.training.datasets.labelled_posts import (
    EDITION,
    LabelledPosts,
    LabelledRow,
    labelled_posts,
    opening_words,
    unix_ms,
)

TEXT_COLUMNS = ("text", "message", "title", "body", "tweet", "content", "comment", "headline")
LABEL_COLUMNS = ("label", "class", "target", "is_spam", "spam", "category", "label_num")
_OPTIONS = (
    *("text", "label", "positive", "group", "time", "time_format", "author", "lang", "link"),
    *("community", "id", "name", "weight"),
)
_NEXT_OPTION = re.compile(r",(?=[a-z_]+=)")
_POSITIVE = frozenset({"1", "1.0", "true", "yes", "spam"})
_NEGATIVE = frozenset({"0", "0.0", "false", "no", "ham"})
_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
_BAD_ROWS_SHOWN = 5
_LARGEST_FIELD = 10_000_000
_SECONDS_BELOW = 100_000_000_000  # a Unix time below it counts seconds, else milliseconds

_TableRow = tuple[int, Mapping[str, Any]]


@dataclass(frozen=True)
class Table:
    """A file of posts, and which of its columns hold what.

    Most attributes are the names of columns; an empty one stands for none, or for the default.

    Attributes
    ----------
    text
        One column, or several joined by `+`, which become paragraphs.
    positive
        The values of the label column that violate; by default 1, true, yes and spam.
    time_format
        A `strptime` pattern for `time`.
    name
        What reports call the table; by default the file's name.
    weight
        How much it weighs beside the other tables of a training.
    family
        Tables of one family share their groups: equal ones get into the same split.  By default
        tables that are grouped by a column of the same name are one family.
    """

    path: Path
    text: str = ""
    label: str = ""
    positive: tuple[str, ...] = ()
    group: str = ""
    time: str = ""
    time_format: str = ""
    author: str = ""
    lang: str = ""
    link: str = ""
    community: str = ""
    id: str = ""
    name: str = ""
    weight: float = 1.0
    family: str = ""

    @property
    def source(self) -> str:
        """What reports call it."""
        return self.name or self.path.name.partition(".")[0]

    @property
    def split_rule(self) -> str:
        """How its rows are divided into train, validation and test, as a card states it."""
        by = self.group or "the text's first words"
        return f"{self._family}, by {by}, {EDITION}"

    @property
    def _family(self) -> str:
        return self.family or self.group.lower() or self.source

    def within(self, folder: Path) -> Table:
        """Return the same table in a folder."""
        return replace(self, path=folder / self.path)


def parse_table(given: str) -> Table:
    """Read ``PATH[,text=COLUMN][,label=COLUMN]…``; raises `UsageError`."""
    path, *options = _NEXT_OPTION.split(given)
    values: dict[str, Any] = {}
    for option in options:
        key, _, value = option.partition("=")
        if key not in _OPTIONS or not value or key in values:
            raise UsageError(
                f"`{given}`: expected PATH and each of {', '.join(_OPTIONS)} at most once, as "
                f"`key=value`, found `{option}`"
            )
        values[key] = value
    if "positive" in values:
        values["positive"] = tuple(values["positive"].split("|"))
    if "weight" in values:
        values["weight"] = _weight(given, values["weight"])
    if not path:
        raise UsageError(f"`{given}`: expected a file's path before the first comma")
    return Table(Path(path), **values)


def _weight(given: str, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    if not 0 < weight <= 1000:
        raise UsageError(
            f"`{given}`: weight: expected a number above 0, at most 1000, got `{text}`"
        )
    return weight


def read_table(table: Table, *, labelled: bool, rated: bool = False) -> LabelledPosts:
    """Read a table.

    Without `labelled` it needs no column of labels; its rows then count as fine.  Where it is
    `rated`, labels are numbers from 0 to 1.

    Raises `UsageError`: there is no such file or column, or there are rows that cannot be read.
    """
    reader = _RowReader(table, labelled, rated)
    records = list(table_rows(table.path))
    reader.choose_columns(list(dict.fromkeys(c for _, record in records[:1000] for c in record)))
    rows = [row for line, record in records if (row := reader.row(line, record))]
    reader.finish()
    posts = labelled_posts(table.source, table._family, rows)
    if not len(posts):
        raise UsageError(f"{table.path}: no row has a text in `{'+'.join(reader.texts)}`")
    return posts


@dataclass
class _RowReader:
    """Turns records into rows and collects what is wrong with them."""

    table: Table
    labelled: bool
    rated: bool
    texts: tuple[str, ...] = ()
    label: str = ""
    bad: list[str] = field(default_factory=list)
    count: int = 0

    def row(self, line: int, record: Mapping[str, Any]) -> LabelledRow | None:
        """Return the record as a row; None if it is bad."""
        before = self.count
        row = self._row(line, record)
        return row if self.count == before else None

    def finish(self) -> None:
        """Raise `UsageError` with the bad rows, if there were any."""
        path = self.table.path
        if self.count:
            more = f"; and {self.count - len(self.bad)} more" if self.count > len(self.bad) else ""
            raise UsageError(f"{path}: {'; '.join(self.bad)}{more}; nothing was read")

    def _row(self, line: int, record: Mapping[str, Any]) -> LabelledRow:
        table = self.table
        paragraphs = [self._text(line, column, record.get(column)) for column in self.texts]
        text = "\n".join(paragraphs)
        community = self._text(line, table.community, record.get(table.community)).lower()
        group = self._text(line, table.group, record.get(table.group))
        if table.group and table.group == table.community:
            group = community
        link = self._text(line, table.link, record.get(table.link)).strip()
        return LabelledRow(
            text,
            self._label(line, record.get(self.label)) if self.label else 0.0,
            group or opening_words(text),
            author=self._text(line, table.author, record.get(table.author)),
            created_at_ms=self._time(line, record.get(table.time)),
            # Reddit's `self.<subreddit>` is no link; a host alone is a link to the host.
            links=() if not link or link.startswith("self.") else (_with_scheme(link),),
            community=community,
            lang=self._text(line, table.lang, record.get(table.lang)).strip() or None,
            post_id=self._text(line, table.id, record.get(table.id)),
        )

    def choose_columns(self, columns: list[str]) -> None:
        """Choose the columns of text and label; raises `UsageError`."""
        table = self.table
        if not columns:
            raise UsageError(f"{table.path}: expected rows, found none")
        named = [table.group, table.time, table.author, table.lang, table.link]
        for column in (*named, table.community, table.id, table.label):
            if column and column not in columns:
                raise UsageError(_no_column(table, f"column `{column}`", columns))
        if table.text:
            texts = (table.text,) if table.text in columns else tuple(table.text.split("+"))
            if missing := [column for column in texts if column not in columns]:
                raise UsageError(_no_column(table, f"column `{missing[0]}`", columns))
            self.texts = texts
        else:
            self.texts = (_guess(table, "text", TEXT_COLUMNS, columns),)
        if table.label or self.labelled:
            self.label = table.label or _guess(table, "label", LABEL_COLUMNS, columns)

    def _wrong(self, line: int, column: str, expected: str, found: str) -> None:
        self.count += 1
        if len(self.bad) < _BAD_ROWS_SHOWN:
            self.bad.append(f"line {line}, column `{column}`: expected {expected}, found {found}")

    def _text(self, line: int, column: str, value: Any) -> str:
        if value is None or isinstance(value, str):
            return value or ""
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        self._wrong(line, column, "a text", type(value).__name__)
        return ""

    def _label(self, line: int, value: Any) -> float:
        text = "" if value is None else str(value).strip()
        if self.table.positive and text:
            return float(text in self.table.positive)
        if text.lower() in _POSITIVE:
            return 1.0
        if text.lower() in _NEGATIVE:
            return 0.0
        expected = "0 or 1, true or false, spam or ham (or give positive=VALUE)"
        if self.rated:
            expected = "a number from 0 to 1 (or give positive=VALUE)"
            with suppress(ValueError):
                if 0 <= float(text) <= 1:
                    return float(text)
        self._wrong(line, self.label, expected, f"`{text[:40]}`" if text else "nothing")
        return 0.0

    def _time(self, line: int, value: Any) -> int:
        text = "" if value is None else str(value).strip()
        if not text:
            return 0
        if isinstance(value, datetime):
            aware = value if value.tzinfo else value.replace(tzinfo=UTC)
            return max(0, round(aware.timestamp() * 1000))
        try:
            return _time_ms(text, self.table.time_format)
        except (ValueError, OverflowError):
            expected = self.table.time_format or "ISO 8601, or Unix seconds or milliseconds"
            self._wrong(line, self.table.time, expected, f"`{text[:40]}`")
            return 0


def _time_ms(text: str, pattern: str) -> int:
    if pattern or not re.fullmatch(r"-?\d+(\.\d+)?(e\+?\d+)?", text):
        return unix_ms(text, pattern)
    number = float(text)
    at_ms = round(number * 1000 if number < _SECONDS_BELOW else number)
    if not 0 <= at_ms <= MAX_SAFE_INTEGER:
        raise ValueError
    return at_ms


def _with_scheme(link: str) -> str:
    return link if "/" in link else f"https://{link}/"


def _guess(table: Table, what: str, known: tuple[str, ...], columns: list[str]) -> str:
    candidates = [column for column in columns if column.lower() in known]
    if len(candidates) == 1:
        return candidates[0]
    which = f"one of {', '.join(f'`{column}`' for column in candidates)}" if candidates else "none"
    wanted = f"a column of {what}s ({which} could be it), to be named as `{what}=COLUMN`"
    raise UsageError(_no_column(table, wanted, columns))


def _no_column(table: Table, wanted: str, columns: list[str]) -> str:
    shown = ", ".join(f"`{column[:30]}`" for column in columns[:30])
    return f"{table.path}: expected {wanted}; its columns are {shown}"


def table_rows(path: Path) -> Iterator[_TableRow]:
    """Read a file's rows, each with its line, in Parquet its row; raises `UsageError`."""
    name = path.name.lower()
    ending = Path(name.removesuffix(".gz")).suffix
    try:
        if name.endswith(".parquet"):
            yield from _parquet(path)
        elif ending in _ENDINGS:
            opener = gzip.open if name.endswith(".gz") else open
            with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
                yield from _lines(path, file) if "j" in ending else _cells(path, file, ending)
        else:
            raise UsageError(
                f"{path}: expected {', '.join(_ENDINGS)} (each also .gz) or .parquet, "
                f"found `{ending or name}`"
            )
    except (OSError, EOFError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read {path}: {why}") from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path}: expected UTF-8, found byte {error.object[error.start]:#x}"
        ) from error


def _cells(path: Path, file: Any, ending: str) -> Iterator[_TableRow]:
    csv.field_size_limit(_LARGEST_FIELD)
    reader = csv.reader(file, delimiter="\t" if ending == ".tsv" else ",")
    line = 1
    try:
        header = next(reader, [])
        if len(set(header)) < len(header):
            raise UsageError(f"{path}: line 1: expected columns of different names")
        line = reader.line_num + 1
        for cells in reader:
            if cells and len(cells) != len(header):
                raise UsageError(
                    f"{path}: line {line}: expected {len(header)} fields, found {len(cells)}"
                )
            if cells:
                yield line, dict(zip(header, cells, strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        raise UsageError(f"{path}: line {line}: {error}") from error


def _lines(path: Path, file: Any) -> Iterator[_TableRow]:
    for line, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            record = json.loads(text)
        except ValueError as error:
            raise UsageError(f"{path}: line {line}: expected JSON, one object a line") from error
        if not isinstance(record, dict):
            kind = type(record).__name__
            raise UsageError(f"{path}: line {line}: expected a JSON object, found {kind}")
        yield line, record


def _parquet(path: Path) -> Iterator[_TableRow]:
    try:
        from pyarrow import ArrowException, parquet  # noqa: PLC0415 the `train` extra
    except ImportError as error:
        raise UsageError(f"{path}: Parquet needs pyarrow: pip install 'feedmill[train]'") from error
    try:
        with parquet.ParquetFile(path) as file:
            row = 0
            for batch in file.iter_batches(10_000):
                for record in batch.to_pylist():
                    row += 1
                    yield row, record
    except ArrowException as error:
        raise UsageError(f"{path}: expected Parquet ({error})") from error
