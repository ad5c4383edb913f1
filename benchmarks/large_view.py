"""A combiner of ten million live posts, made in a minute: columns are filled, no records are read.

Each post has a community, a language, an author with three posts, and a signal of every model.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from feedmill.events.built_in import FURTHER_SIGNALS
from feedmill.events.decode import encode
from feedmill.events.post import Post
from feedmill.events.settings import Settings, SettingsDraft
from feedmill.events.signal import Signal, SignalNames
from feedmill.rankers.combiner import Combiner
from feedmill.rankers.combiner.feed_matcher import PostGroup
from feedmill.rankers.combiner.signal_columns import _CURRENT
from feedmill.streams.settings.clock import now_ms
from feedmill.tables.id_table import _HASH, BLOCK_BYTES, IdTable
from feedmill.tables.mapped_column import in_chunks

NAMES = SignalNames()
# The others are written only while a feed weighs them.
WRITTEN = tuple(name for name in NAMES.all if name not in FURTHER_SIGNALS)
NOW_MS = now_ms()  # Redis drops what is over by its own clock
COMMUNITIES, LANGS = 1_000, 10
VERSION = "56e6e21cd4ce"  # as long as those of shipped models
POSTS_OF_AUTHOR = 3
WINDOW_MS, NEWER_MS = 150 * 3_600_000, 90 * 3_600_000
# Of so many posts the ids are found, the first ones: no other is asked for, or expires so soon.
FOUND = 1_000_000
_AT_ONCE = 1 << 18


def post_id(number: int) -> str:
    """The id of a post: 20 bytes."""
    return f"post-{number:015d}"


def author_id(number: int) -> str:
    """The author of a post."""
    return f"user-{number // POSTS_OF_AUTHOR:015d}"


def group_of(number: int) -> PostGroup:
    """The group of a post: any community with any language."""
    return _group(int(_mixed(np.array([number]))[0]))


def group_of_feed(number: int) -> PostGroup:
    """The group of posts that one of many feeds takes."""
    return _group(number % (COMMUNITIES * LANGS))


def settings_of(feeds: int, settings: Settings | None = None) -> Settings:
    """So many feeds beside the others, each of a community and a language."""
    draft = SettingsDraft(settings or Settings(NAMES))
    for i in range(feeds):
        group = group_of_feed(i)
        match = {"communities": group.communities, "langs": [group.lang]}
        draft.fold(f"feeds/f{i}".encode(), encode({"value": {"size": 50, "match": match}}), i)
    return draft.settings()


def filled(posts: int, found: int = FOUND) -> tuple[Combiner, dict[str, npt.NDArray[np.float32]]]:
    """A combiner as at the end of a restore of so many posts, and the values of their signals.

    `work` makes its feeds.  But for the ids that are not `found`, the first ones are, it is what
    `update_post` and `update_signal` would have made.
    """
    combiner = Combiner(NAMES)
    combiner.is_restoring = True
    view, rng = combiner.view, np.random.default_rng(7)
    found = min(posts, found)
    _fill_ids(view.ids, "post-", posts, found)
    _fill_ids(view.authors, "user-", -(-posts // POSTS_OF_AUTHOR), found // POSTS_OF_AUTHOR)
    view._have_room()
    part = slice(0, posts)
    post = view.post
    post.offset[part] = np.arange(posts)
    post.created_ms[part] = NOW_MS - rng.integers(0, NEWER_MS, posts)
    post.created_ms[:found] = NOW_MS - rng.integers(0, WINDOW_MS, found)
    post.arrived_ms[part] = NOW_MS
    post.author[part] = np.arange(posts) // POSTS_OF_AUTHOR
    numbers = [view.groups.number(_group(number)) for number in range(COMMUNITIES * LANGS)]
    post.group[part] = np.array(numbers)[_mixed(np.arange(posts))]
    values = {}
    for name in WRITTEN:
        column = view.signals[name]
        values[name] = rng.beta(1, 30 if name in NAMES.gates else 12, posts).astype(np.float32)
        column.value.values[part] = values[name]
        column._state.values[part] = column._model_state((name, VERSION)) | _CURRENT
        column._at_ms.values[part] = NOW_MS
    combiner._ranked_group.grow(view.capacity)
    for first in range(0, posts, _AT_ONCE):
        rows = slice(first, first + _AT_ONCE)
        for decisions in combiner._policies.all_decisions():
            decisions.update(rows, NOW_MS)
        for scores in combiner._policies._scores.values():
            scores.update(rows)
    combiner.is_restoring = False
    return combiner, values


def records_of(
    number: int, created_ms: int, values: dict[str, npt.NDArray[np.float32]], at: int
) -> tuple[Post, dict[str, Signal]]:
    """The post and its signals, as records have them; their values are at a place of `values`."""
    post = Post(
        post_id(number),
        author_id(number),
        created_ms,
        "",
        lang=group_of(number).lang,
        communities=group_of(number).communities,
    )
    return post, {
        name: Signal(post.post_id, number, float(values[name][at]), name, VERSION, NOW_MS)
        for name in WRITTEN
    }


def check() -> None:
    """A view that was filled is that which the records make."""
    filled_one, values = filled(400)
    view, read = filled_one.view, Combiner(NAMES)
    for number in range(400):
        post, signals = records_of(number, int(view.post.created_ms[number]), values, number)
        read.view.update_post(post, number, NOW_MS)
        for name, signal in signals.items():
            read.view.update_signal(name, signal)
    for combiner in (filled_one, read):
        combiner.work(NOW_MS)
    assert view.ids.read_many(view.live_rows()) == read.view.ids.read_many(read.view.live_rows())
    assert view.author_of(399) == read.view.author_of(399)
    assert view.row_of(post_id(7)) == 7
    for name in filled_one.feeds:
        ours, theirs = (one.ranking(name).list for one in (filled_one, read))
        assert ours.rows.tolist() == theirs.rows.tolist(), name
        assert ours.scores.tolist() == theirs.scores.tolist(), name
    assert filled_one.feeds and set(filled_one.feeds) == set(read.feeds)
    rows = view.live_rows()
    for name, column in view.signals.items():
        for row in rows.tolist():
            assert column.get(row, row) == read.view.signals[name].get(row, row)


def _fill_ids(table: IdTable, prefix: str, count: int, found: int) -> None:
    """What adding so many ids would make of an empty table, the later ones not to be found."""
    width, arena = len(prefix) + 15, table._arena
    in_block = BLOCK_BYTES // width
    blocks = -(-count // in_block)
    arena._bytes.grow(blocks * BLOCK_BYTES)
    arena._start.grow(in_chunks(count))
    arena._size.grow(in_chunks(count))
    numbers = np.arange(blocks * in_block).reshape(blocks, in_block)
    by_block = arena._bytes.values.reshape(blocks, BLOCK_BYTES)
    for at, letter in enumerate(prefix):
        by_block[:, at : at + in_block * width : width][:, :in_block] = ord(letter)
    for at in range(len(prefix), width):
        digits = numbers // 10 ** (width - 1 - at) % 10 + ord("0")
        by_block[:, at : at + in_block * width : width][:, :in_block] = digits
    starts = numbers // in_block * BLOCK_BYTES + numbers % in_block * width
    arena._start.values[:count] = starts.ravel()[:count]
    arena._size.values[:count] = width
    in_last = count - (blocks - 1) * in_block
    arena._live = [*[in_block * width] * (blocks - 1), in_last * width]
    arena._block, arena._filled = blocks - 1, in_last * width
    arena._live_bytes = count * width
    table.bound, table._count = count, count
    for number in range(found):
        table._hash.insert(hash(f"{prefix}{number:015d}") & _HASH, number)


def _group(number: int) -> PostGroup:
    return PostGroup((f"c{number // LANGS}",), f"l{number % LANGS}", is_reply=False)


def _mixed(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Of each post the number of its group, spread out."""
    mixed: npt.NDArray[np.int64] = (numbers * 2_654_435_761 >> 7) % (COMMUNITIES * LANGS)
    return mixed
