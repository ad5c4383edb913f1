"""What a filter is trained, tuned and judged on: files of posts, and where each came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from feedmill.events.errors import UsageError
from feedmill.models.artifact import DataUse, sha256_of_file
from feedmill.training.datasets.known import KNOWN, LIAR, ORDINARY, KnownDataset
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.datasets.tables import parse_table, read_table
from feedmill.training.recipes import RECIPES, STATEMENTS, Recipe, WeightedDataset

_FEWEST = 10  # rows of each class to learn from
_FEWEST_TO_TUNE = 50


@dataclass(frozen=True)
class Dataset:
    """The posts of one file."""

    rows: LabelledPosts
    known: KnownDataset
    sha256: str = ""

    def use(self, rows: int, role: str) -> DataUse:
        """Return what a card says of it."""
        known = self.known
        return DataUse(known.file, rows, known.licence, role, self.sha256, known.table.split)


@dataclass(frozen=True)
class TrainingData:
    """Everything a filter is trained, tuned and judged on."""

    labelled: tuple[Dataset, ...]
    ordinary: tuple[Dataset, ...]

    @property
    def clean(self) -> list[LabelledPosts]:
        """The ordinary posts."""
        return [sample.rows for sample in self.ordinary]


def read_training_data(name: str, data: Sequence[str], ordinary: Sequence[str]) -> TrainingData:
    """Read what ``--data`` and ``--ordinary`` name: files as `parse_table` has them, or folders.

    A folder stands for the sets of the filter's recipe in it, and for the ordinary posts in it.
    Raises `UsageError`.
    """
    labelled: list[Dataset] = []
    clean: list[Dataset] = []
    for given in data:
        folder = Path(given)
        if folder.is_dir():
            labelled += [_known(source.known, folder) for source in RECIPES[name].sources]
            clean += [_known(known, folder) for known in ORDINARY]
        else:
            labelled.append(_file(given, labelled=True))
    for given in ordinary:
        folder = Path(given)
        if folder.is_dir():
            clean += [_known(known, folder) for known in ORDINARY]
        else:
            clean.append(_file(given, labelled=False))
    _check_names([*labelled, *clean])
    return TrainingData(tuple(labelled), tuple(clean))


def _known(known: KnownDataset, folder: Path) -> Dataset:
    rows = known.load(folder)
    return Dataset(rows, known, sha256_of_file(folder / known.file))


def _file(given: str, *, labelled: bool) -> Dataset:
    table = parse_table(given)
    known = KNOWN.get(table.path.name)
    if known is not None and str(table.path) == given:
        return _known(known, table.path.parent)
    rows = read_table(table, labelled=labelled)
    digest = sha256_of_file(table.path)
    # A card says what a file is called, not where it lies.
    own = KnownDataset(replace(table, path=Path(table.path.name)), "not stated", labelled)
    return Dataset(rows, own, digest)


def _check_names(samples: Sequence[Dataset]) -> None:
    names = [sample.rows.source for sample in samples]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two files are called `{name}`; tell them apart with name=NAME")


def recipe_for(name: str, labelled: Sequence[Dataset]) -> Recipe:
    """Return the filter's recipe with these sets in place of its own, each by its weight."""
    if [sample.known.file for sample in labelled] == [LIAR.file]:
        return STATEMENTS
    own = {source.file: source.weight for source in RECIPES[name].sources}
    sources = tuple(
        WeightedDataset(s.known, own.get(s.known.file, s.known.table.weight)) for s in labelled
    )
    return replace(RECIPES[name], sources=sources)


def check_enough(labelled: Sequence[LabelledPosts], clean: Sequence[LabelledPosts]) -> None:
    """Raise `UsageError` unless there is enough to learn from and to choose thresholds on."""
    for label, what in ((1.0, "violate"), (0.0, "are fine")):
        count = sum(int((c.labels == label).sum()) for c in labelled)
        if count < _FEWEST:
            raise UsageError(
                f"expected at least {_FEWEST} labelled posts to learn from that {what}, found "
                f"{count}; rows set apart to judge do not count"
            )
    for source in clean:
        rows = int(((source.parts == "tune") & (source.labels == 0)).sum())
        if rows < _FEWEST_TO_TUNE:
            raise UsageError(
                f"ordinary posts `{source.source}`: expected at least {_FEWEST_TO_TUNE} rows to "
                f"choose thresholds on, found {rows} in {len(set(source.groups))} groups; give "
                "more, or group them by something finer"
            )
