"""What the memory of posts costs, beside an exact one of Python dicts and sets on the same posts.

    OMP_NUM_THREADS=1 python benchmarks/bench_history.py [--posts 20000] [--rounds 3]

A second table has what it adds to the spam model by the size of a batch, its texts hashed for
itself or the model's hashes read.

The posts are generated (seeded): ordinary ones of 25 words, and campaigns of one text with one to
three changes a copy, by as many authors.  Before anything is timed, the planted copies have to be
found, and ordinary posts must not be copies of each other.  One thread, processor time, least of
some rounds over a memory that is in use.
"""

from __future__ import annotations

import argparse
import random
import time
import tracemalloc
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence

from machine import describe

from feedmill.events.post import Post
from feedmill.features.history.near_duplicates import is_long_enough
from feedmill.features.history.post_history import WINDOW_MS, CopyCounts, PostHistory, PostRecord
from feedmill.features.post_batch import PostBatch
from feedmill.features.text.ngrams import TextBatch
from feedmill.filters.registry import load
from feedmill.models.text_model import TextModel

SYLLABLES = [consonant + vowel for consonant in "bcdfghjklmnprstvwxz" for vowel in "aeiou"]
BATCH = 256
CAMPAIGNS, COPIES = 20, 50
POSTS_A_SECOND = 200
ALIKE = 0.5
# The exact one takes a millisecond a post, and longer the more there are.
EXACT = 4000
FLOOD = "one and the same text again and again from all of us today"


def generated(posts: int, seed: int = 1) -> list[PostRecord]:
    """Ordinary posts, and `CAMPAIGNS` of `COPIES` copies each, spread over them."""
    drawn = random.Random(seed)
    names = ["".join(drawn.choices(SYLLABLES, k=drawn.randrange(1, 5))) for _ in range(4000)]
    origins = [drawn.choices(names, k=20) for _ in range(CAMPAIGNS)]
    planted = {
        drawn.randrange(posts): (which, copy)
        for which in range(CAMPAIGNS)
        for copy in range(COPIES)
    }
    found = []
    for i in range(posts):
        at_ms = i * 1000 // POSTS_A_SECOND
        if i in planted:
            which, copy = planted[i]
            text = _changed(origins[which], names, drawn)
            found.append(PostRecord(at_ms, f"c{which}-{copy}", f"b{which}-{copy}", text))
        else:
            text = " ".join(drawn.choices(names, k=25))
            found.append(PostRecord(at_ms, f"p{i}", f"a{i % 5000}", text))
    return found


def _changed(words: Sequence[str], names: Sequence[str], drawn: random.Random) -> str:
    words = list(words)
    for _ in range(drawn.randrange(1, 4)):
        at = drawn.randrange(len(words))
        words[at] = drawn.choice((drawn.choice(names), words[at].upper(), words[at] + "!", "17"))
    return " ".join(words)


class ExactHistory:
    """The same question answered with sets of 5-grams: every post that shares rare ones, compared.

    Candidates come from an index of each text's `_KEYS` least 5-grams, so that it does not
    compare all with all; similarity is exact.
    """

    _KEYS = 12

    def __init__(self) -> None:
        self._texts: dict[int, tuple[str, set[str]]] = {}
        self._index: defaultdict[str, deque[int]] = defaultdict(deque)
        self._window: deque[tuple[int, int, list[str]]] = deque()
        self._next = 0

    def fold(self, versions: Sequence[PostRecord]) -> list[CopyCounts]:
        """As `PostHistory.fold`, for posts that are neither edited nor deleted."""
        return [self._take(version) for version in versions]

    def _take(self, version: PostRecord) -> CopyCounts:
        self._forget(version.at_ms - WINDOW_MS)
        text = version.text or ""
        if not is_long_enough(text):
            return CopyCounts()
        low = f" {text.lower()} "
        grams = {low[i : i + 5] for i in range(len(low) - 4)}
        keys = sorted(grams, key=hash)[: self._KEYS]
        near = {entry for key in keys for entry in self._index[key]}
        copies = [e for e in near if _jaccard(grams, self._texts[e][1]) >= ALIKE]
        authors = {self._texts[e][0] for e in copies} | {version.author_id}
        entry, self._next = self._next, self._next + 1
        self._texts[entry] = (version.author_id, grams)
        for key in keys:
            self._index[key].append(entry)
        self._window.append((version.at_ms, entry, keys))
        return CopyCounts(len(copies), len(authors))

    def _forget(self, at_ms: int) -> None:
        while self._window and self._window[0][0] <= at_ms:
            _, entry, keys = self._window.popleft()
            del self._texts[entry]
            for key in keys:
                self._index[key].remove(entry)
                if not self._index[key]:
                    del self._index[key]


def _jaccard(one: set[str], other: set[str]) -> float:
    both = len(one & other)
    return both / (len(one) + len(other) - both)


def batches(versions: Sequence[PostRecord]) -> Iterator[Sequence[PostRecord]]:
    for start in range(0, len(versions), BATCH):
        yield versions[start : start + BATCH]


def fold(history: PostHistory | ExactHistory, versions: Sequence[PostRecord]) -> list[CopyCounts]:
    return [past for batch in batches(versions) for past in history.fold(batch)]


def check(versions: Sequence[PostRecord], history: PostHistory | ExactHistory, name: str) -> None:
    """Planted copies are found from the tenth on, ordinary posts are none."""
    copies: defaultdict[str, int] = defaultdict(int)
    late = found = false = ordinary = 0
    for version, past in zip(versions, fold(history, versions), strict=True):
        which = version.post_id.partition("-")[0]
        if version.post_id[0] == "c":
            copies[which] += 1
            if copies[which] >= 10:
                late += 1
                found += past.copies >= 8
        else:
            ordinary += 1
            false += past.copies > 0
    print(f"{name}: of {late} copies from the tenth on {found} have 8 or more before them;")
    print(f"    of {ordinary} ordinary posts {false} have any")
    assert found >= 0.98 * late
    assert false <= 0.001 * ordinary


def microseconds(run: Callable[[], object], count: int, rounds: int) -> float:
    """The least processor time of some rounds, per post."""
    least = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        run()
        least = min(least, time.process_time() - start)
    return least / count * 1e6


def folding(
    history: PostHistory | ExactHistory, versions: Sequence[PostRecord], rounds: int
) -> float:
    """Microseconds a post of folding them once each hour."""
    hours = [
        [v._replace(at_ms=v.at_ms + hour * 3_600_000) for v in versions]
        for hour in range(rounds + 1)
    ]
    fold(history, hours.pop(0))
    return microseconds(lambda: fold(history, hours.pop(0)), len(versions), rounds)


def score_with_history(
    model: TextModel, history: PostHistory, versions: Sequence[PostRecord], size: int, kind: str
) -> float:
    """Microseconds a post of the model, alone or with the memory, in batches of a size."""
    posts = [Post(v.post_id, v.author_id, 1, v.text or "") for v in versions]
    start = time.process_time()
    for at in range(0, len(posts), size):
        read, part = PostBatch(posts[at : at + size]), versions[at : at + size]
        if kind == "twice":
            history.fold(part)
        elif kind == "once":
            history.fold(part, range(len(part)), read)
        model.score_batch(read)
    return (time.process_time() - start) / len(posts) * 1e6


def print_judging(versions: Sequence[PostRecord], rounds: int) -> None:
    """The second table: kinds in turn, the least of some rounds of each, ordinary posts."""
    model, history, hour = load("spam"), PostHistory(), 0
    fold(history, versions)
    print("\n| batch of | spam model | with history, hashing twice | hashing once |")
    print("|--:|--:|--:|--:|")
    for size, count in ((1, 2000), (16, 8000), (256, 16_000)):
        least = dict.fromkeys(("alone", "twice", "once"), float("inf"))
        for kind in [*least] * (rounds + 1):
            hour += 1
            later = [v._replace(at_ms=v.at_ms + hour * 3_600_000) for v in versions[:count]]
            least[kind] = min(least[kind], score_with_history(model, history, later, size, kind))
        print(f"| {size} | " + " | ".join(f"{cost:.1f}" for cost in least.values()) + " |")


def megabytes(
    history: Callable[[], PostHistory | ExactHistory], versions: Sequence[PostRecord]
) -> float:
    tracemalloc.start()
    kept = history()
    fold(kept, versions)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--posts", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    versions = generated(arguments.posts)
    count = len(versions)
    check(versions[:EXACT], ExactHistory(), "exact sets")
    check(versions, PostHistory(), "feedmill")
    texts = [[v.text or "" for v in batch] for batch in batches(versions)]
    hashing = microseconds(lambda: [TextBatch(part) for part in texts], count, arguments.rounds)
    ours = folding(PostHistory(), versions, arguments.rounds)
    ordinary = [v for v in versions if v.post_id[0] == "p"]
    plain = folding(PostHistory(), ordinary, arguments.rounds)
    exact = folding(ExactHistory(), versions[:EXACT], 1)
    flood = [
        PostRecord(
            v.at_ms,
            v.post_id,
            v.author_id,
            FLOOD,
        )
        for v in versions[:2000]
    ]
    flooded = folding(PostHistory(), flood, arguments.rounds)
    print(f"\n{describe()}, {count} posts, batches of {BATCH}")
    print("| | µs a post | MB |")
    print("|---|--:|--:|")
    size, exact_size = megabytes(PostHistory, versions), megabytes(ExactHistory, versions[:EXACT])
    print(f"| hashing alone (TextBatch) | {hashing:.1f} | |")
    print(f"| history of ordinary posts, hashing included | {plain:.1f} | {size:.0f} |")
    print(f"| … on top of hashing | {plain - hashing:.1f} | |")
    print(f"| history with the campaigns, hashing included | {ours:.1f} | |")
    print(f"| history, every post a copy | {flooded:.1f} | |")
    print(f"| exact sets of 5-grams, {EXACT} posts | {exact:.1f} | {exact_size:.0f} |")
    print_judging(ordinary, arguments.rounds)


if __name__ == "__main__":
    main()
