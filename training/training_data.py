"""What a filter is trained and evaluated on: files of posts, and where each came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from feedmill.events.errors import UsageError
from feedmill.filters.model import FilterSpec
from feedmill.models.artifact import DataUse, ModelCard, Snapshot, sha256_of_file
from feedmill.models.store_files import Store
from feedmill.training.datasets.known import KNOWN, ORDINARY, OVER18, SEMEVAL, KnownDataset
from feedmill.training.datasets.labelled_posts import SPLITS, LabelledPosts
from feedmill.training.datasets.snapshots import SnapshotSource, read_snapshot, save_snapshot
from feedmill.training.datasets.tables import parse_table, read_table
from feedmill.training.recipes import RECIPES, Recipe, WeightedDataset

_MIN_TRAINING_ROWS = 10  # of each class
MIN_VALIDATION_ROWS = 50  # fine rows of each ordinary source, to choose thresholds on


@dataclass(frozen=True)
class Dataset:
    """The posts of one file; `sha256` is the file's."""

    rows: LabelledPosts
    known: KnownDataset
    sha256: str = ""

    def use(self, rows: int, role: str) -> DataUse:
        """Return what a card states of it: so many rows were used, in this role."""
        known, rule = self.known, self.known.table.split_rule
        return DataUse(known.file, rows, known.licence, role, self.sha256, rule)

    def keep(self, store: Store) -> Snapshot:
        """Write the rows into a store; raises `OSError` or `UsageError`."""
        known, table = self.known, self.known.table
        source = SnapshotSource(
            known.file,
            self.sha256,
            known.licence,
            self.rows.source,
            table.family,
            table.group,
            table.weight,
            known.labelled,
        )
        return save_snapshot(store, self.rows, source)


@dataclass(frozen=True)
class TrainingData:
    """Everything that a filter is trained and evaluated on."""

    labelled: tuple[Dataset, ...]
    ordinary: tuple[Dataset, ...]

    @property
    def ordinary_posts(self) -> list[LabelledPosts]:
        """The ordinary posts, by source."""
        return [dataset.rows for dataset in self.ordinary]

    @property
    def test_rows(self) -> list[tuple[str, int]]:
        """How many rows of each source are test rows."""
        every = (*self.labelled, *self.ordinary)
        return [(d.rows.source, int((d.rows.splits == "test").sum())) for d in every]


def read_training_data(
    spec: FilterSpec, data: Sequence[str], ordinary: Sequence[str]
) -> TrainingData:
    """Read what ``--data`` and ``--ordinary`` name.

    Parameters
    ----------
    spec
        The filter.
    data, ordinary
        Files, as `parse_table` reads them, or folders.  A folder stands for the data sets of the
        filter's recipe in it (`data` alone), and for the sets of ordinary posts in it.

    Raises `UsageError`: a file is missing or cannot be read, or two have the same name.
    """
    labelled: list[Dataset] = []
    unlabelled: list[Dataset] = []
    for given in data:
        folder = Path(given)
        if folder.is_dir():
            labelled += [_known(use.known, folder) for use in recipe_of(spec).datasets]
            unlabelled += _ordinary_of(spec, folder)
        else:
            labelled.append(read_file(given, labelled=True))
    for given in ordinary:
        folder = Path(given)
        if folder.is_dir():
            unlabelled += _ordinary_of(spec, folder)
        else:
            unlabelled.append(read_file(given, labelled=False))
    _check_names([*labelled, *unlabelled])
    return TrainingData(tuple(labelled), tuple(unlabelled))


def _ordinary_of(spec: FilterSpec, folder: Path) -> list[Dataset]:
    """Return the ordinary posts of a folder: of a set that trains the filter as labelled, none."""
    own = [use.known for use in recipe_of(spec).datasets]
    known = [k for k in (*ORDINARY, SEMEVAL, OVER18) if k not in own]
    return [_known(k, folder) for k in known]


def _known(known: KnownDataset, folder: Path) -> Dataset:
    rows = known.load(folder)
    return Dataset(rows, known, sha256_of_file(folder / known.file))


def read_file(given: str, *, labelled: bool, rated: bool = False) -> Dataset:
    """Read one file, as `parse_table` and `read_table` have it, or a snapshot.

    Raises `UsageError`.
    """
    table = parse_table(given)
    if str(table.path) == given and (kept := read_snapshot(table.path)):
        rows, source = kept
        known_as = KnownDataset(source.table, source.licence, source.labelled)
        return Dataset(rows, known_as, source.sha256)
    known = KNOWN.get(table.path.name)
    if known is not None and str(table.path) == given:
        # Its columns are known; it is called by its file, as any other that somebody names.
        named = replace(known, table=replace(known.table, name=table.source))
        return _known(named, table.path.parent)
    rows = read_table(table, labelled=labelled, rated=rated)
    digest = sha256_of_file(table.path)
    # A card states what a file is called, not where it lies.
    own = KnownDataset(replace(table, path=Path(table.path.name)), "not stated", labelled)
    return Dataset(rows, own, digest)


def unused_rows(data: TrainingData, card: ModelCard) -> list[str]:
    """Say where ordinary posts lack, or which of their sets have more rows to train on."""
    notes = []
    if not data.ordinary:
        notes.append(
            "without --ordinary the thresholds fit the fine posts of the labelled files: the filter"
            " may demote and hide many of the posts of an ordinary day"
        )
    of_ordinary = card.data[len(data.labelled) :]
    for dataset, use in zip(data.ordinary, of_ordinary, strict=False):
        rows = dataset.rows.where(dataset.rows.labels == 0)
        train, validation, test = (int((rows.splits == split).sum()) for split in SPLITS)
        if use.rows < train:
            notes.append(
                f"{rows.source}: of {len(dataset.rows):,} ordinary rows {use.rows:,} train, drawn"
                f" from {train:,}, because no set gives more; {validation:,} choose the thresholds,"
                f" {test:,} only test"
            )
    return notes


def _check_names(datasets: Sequence[Dataset]) -> None:
    names = [dataset.rows.source for dataset in datasets]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two files are called `{name}`; tell them apart with name=NAME")


def recipe_of(spec: FilterSpec) -> Recipe:
    """Return a filter's recipe; raises `UsageError` where there is none of that name."""
    if spec.recipe not in RECIPES:
        raise UsageError(
            f"filter `{spec.name}`: no recipe `{spec.recipe}` in training/recipes.py; there are: "
            + ", ".join(RECIPES)
        )
    return RECIPES[spec.recipe]


def recipe_for(spec: FilterSpec, labelled: Sequence[Dataset]) -> Recipe:
    """Return a filter's recipe with these data sets in place of its own.

    A data set of the recipe keeps its weight, another has its table's.  Raises `UsageError`.
    """
    recipe = recipe_of(spec)
    weights = {use.file: use.weight for use in recipe.datasets}
    datasets = tuple(
        WeightedDataset(d.known, weights.get(d.known.file, d.known.table.weight)) for d in labelled
    )
    return replace(recipe, datasets=datasets)


def check_enough(labelled: Sequence[LabelledPosts], ordinary: Sequence[LabelledPosts]) -> None:
    """Check that there is enough to train on, and to choose thresholds on.

    Raises `UsageError`: with the number of rows that was expected, and the number that there is.
    """
    for label, what in ((1.0, "violate"), (0.0, "are fine")):
        count = sum(int((rows.labels == label).sum()) for rows in labelled)
        if count < _MIN_TRAINING_ROWS:
            raise UsageError(
                f"expected at least {_MIN_TRAINING_ROWS} labelled posts to train on that {what}, "
                f"found {count}; rows of the test split do not count: give more, or check label= "
                "and positive="
            )
    for source in ordinary:
        rows = int(((source.splits == "validation") & (source.labels == 0)).sum())
        if rows < MIN_VALIDATION_ROWS:
            raise UsageError(
                f"ordinary posts `{source.source}`: expected at least {MIN_VALIDATION_ROWS} rows "
                f"to choose thresholds on, found {rows} in {len(set(source.groups))} groups; give "
                "more, or group them by something finer"
            )
