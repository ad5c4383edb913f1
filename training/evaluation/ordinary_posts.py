"""What filters hide and demote of ordinary posts, by source and length, and of which groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, compress
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from feedmill.events.gates import DEMOTE_AT, HIDE_AT
from feedmill.events.limits import MAX_TEXT_CHARACTERS
from feedmill.events.post import Post
from feedmill.features.hosts import host_of
from feedmill.features.post_batch import PostBatch
from feedmill.models.text_model import TextModel
from feedmill.training.arrays import Mask, Values
from feedmill.training.datasets.labelled_posts import LabelledPosts, concatenate
from feedmill.training.datasets.synthetic_posts import long_posts_of_each_group
from feedmill.training.evaluation.filter_metrics import LENGTHS, length_band
from feedmill.training.evaluation.intervals import Bootstrap, Figure, wilson

ALL = "all"
# A source of a length with fewer rows proves little.
MIN_CELL_ROWS = 300
# Of a page, community or host with so many posts no more may be hidden, by the lower end of its
# interval.
MIN_GROUP_ROWS, _MAX_HIDDEN_OF_GROUP = 100, 0.05
_BATCH = 256


class Cell(msgspec.Struct, frozen=True):
    """The ordinary posts of one source and length; `demoted` are not hidden."""

    source: str
    length: str
    rows: int
    groups: int
    hidden: Figure
    demoted: Figure


class HiddenGroup(msgspec.Struct, frozen=True):
    """A page, community or host of which more is hidden than may be, by the binomial interval."""

    kind: str
    name: str
    rows: int
    hidden: Figure


class OrdinaryReport(msgspec.Struct, frozen=True):
    """What filters do to ordinary posts.

    Attributes
    ----------
    split
        Which rows these are.
    cells
        By source and length, then pooled: `ALL` stands for every source or length.
    judged_groups
        How many pages, communities and hosts have posts enough to be judged.
    hidden_groups
        Those of which too much is hidden.
    """

    split: str
    cells: list[Cell]
    judged_groups: int
    hidden_groups: list[HiddenGroup]


def evaluate_ordinary(
    models: Sequence[TextModel], sources: Sequence[LabelledPosts], split: str
) -> OrdinaryReport:
    """Report what models, together, do to the fine posts of each source.

    Longer posts than people wrote are made of the posts of one group.
    """
    table = [_Scored.of(models, source.where(source.labels == 0)) for source in sources]
    judged, too_hidden = _hidden_groups(
        [post for scored in table for post in scored.written],
        np.concatenate([scored.hidden[: len(scored.written)] for scored in table]),
    )
    return OrdinaryReport(split, _cells(table), judged, too_hidden)


def highest_scores(models: Sequence[TextModel], posts: Sequence[Post]) -> Values:
    """Return the highest score that any model gives to each post: (posts,)."""
    parts = [np.zeros(0)]
    for begin in range(0, len(posts), _BATCH):
        batch = PostBatch(posts[begin : begin + _BATCH])
        parts.append(np.max([model.score_batch(batch) for model in models], axis=0))
    return np.concatenate(parts)


class _Scored(NamedTuple):
    """The posts of a source, then those made of them: length band, group and verdict of each."""

    source: str
    written: list[Post]
    lengths: npt.NDArray[np.str_]
    groups: npt.NDArray[np.str_]
    hidden: Mask
    demoted: Mask

    @classmethod
    def of(cls, models: Sequence[TextModel], rows: LabelledPosts) -> _Scored:
        both = concatenate([rows, long_posts_of_each_group(rows)])
        lengths = np.array([length_band(len(post.text)) for post in both.posts])
        highest = highest_scores(models, both.posts)
        hidden = highest >= HIDE_AT
        demoted = (highest >= DEMOTE_AT) & ~hidden
        return cls(rows.source, rows.posts, lengths, np.array(both.groups), hidden, demoted)


def _cells(table: Sequence[_Scored]) -> list[Cell]:
    bands = [length_band(most) for most in (*LENGTHS, MAX_TEXT_CHARACTERS)]
    cells = [
        *(_cell(part.source, band, [part]) for part in table for band in bands),
        *(_cell(ALL, band, table) for band in bands),
        *(_cell(part.source, ALL, [part]) for part in table),
    ]
    return [cell for cell in cells if cell.rows]


def _cell(source: str, band: str, table: Sequence[_Scored]) -> Cell:
    insides = [(part.lengths == band) | (band == ALL) for part in table]
    parts = list(zip(table, insides, strict=True))
    groups = np.concatenate([part.groups[inside] for part, inside in parts])
    hidden = np.concatenate([part.hidden[inside] for part, inside in parts])
    demoted = np.concatenate([part.demoted[inside] for part, inside in parts])
    bootstrap, every = Bootstrap(groups.tolist()), np.ones(len(groups), np.bool_)
    figures = bootstrap.fraction(hidden, every), bootstrap.fraction(demoted, every)
    return Cell(source, band, len(groups), bootstrap.groups, *figures)


_KINDS: tuple[tuple[str, Callable[[Post], Iterable[str]]], ...] = (
    ("community", lambda post: post.communities or ()),
    ("page or author", lambda post: (post.author_id,)),
    ("host", lambda post: filter(None, map(host_of, post.links or ()))),
)


def _hidden_groups(posts: Sequence[Post], hidden: Mask) -> tuple[int, list[HiddenGroup]]:
    """Count the groups with posts enough, and return those of which too much is hidden."""
    judged, found = 0, []
    for kind, names in _KINDS:
        names_of = [set(names(post)) for post in posts]
        rows = Counter(chain.from_iterable(names_of))
        hits = Counter(chain.from_iterable(compress(names_of, hidden)))
        for name, count in sorted(rows.items()):
            if count < MIN_GROUP_ROWS:
                continue
            judged += 1
            figure = wilson(hits[name], count)
            if figure.low > _MAX_HIDDEN_OF_GROUP:
                found.append(HiddenGroup(kind, name, count, figure))
    return judged, found
