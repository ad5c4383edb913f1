"""What hostile texts cost beside ordinary ones of the same length, through all that reads a text.

    OMP_NUM_THREADS=1 python benchmarks/bench_hostile_texts.py [--length 20000] [--rounds 7]

The texts are drawn (seeded), each kind of `tests/builders/hostile_texts.py`.  Timed are the
features, all shipped models, the sources of the hide-rate guard and near copies; then rules and
lists of one filter, of each kind of entry.  Before anything is timed the undone disguises are
compared with those of a slow reader.  One thread; processor time per post, and its ratio to that
of an ordinary one in the same round.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench_lists import entries
from bench_rules import KINDS, rules
from machine import describe

from feedmill.events.post import Post
from feedmill.events.rules import decode_rules
from feedmill.features.history.post_history import PostHistory, PostRecord
from feedmill.features.post_batch import PostBatch
from feedmill.features.text.normalise import deobfuscate, normalise_characters
from feedmill.filters.hide_rate_guard import sources_of_all
from feedmill.filters.lists import ListKind, ListSet
from feedmill.filters.registry import FILTERS
from feedmill.filters.registry import load as load_filter
from feedmill.filters.rules import RuleSet
from feedmill.rankers.registry import RANKERS
from feedmill.rankers.registry import load as load_ranker

# The tests draw the same texts.
sys.path.append(str(Path(__file__).parents[1] / "tests"))
from builders.hostile_texts import hostile_texts, ordinary_text
from builders.lists import post_list
from builders.slow_deobfuscation import slowly_deobfuscated

ORDINARY = "ordinary"
LIST_KINDS: tuple[ListKind, ...] = ("domains", "phrases", "authors")


class Reader:
    """All that reads the text of a post."""

    def __init__(self) -> None:
        filters = [load_filter(name) for name in FILTERS]
        rankers = [load_ranker(name) for name in RANKERS]
        self._runs: list[Callable[[PostBatch], object]] = [model.score_batch for model in filters]
        for ranker in rankers:
            run = ranker.score_batch if hasattr(ranker, "score_batch") else ranker.prior_batch
            self._runs.append(run)
        self._rules = RuleSet(decode_rules(rules(60, [*KINDS])))
        self._lists = ListSet([post_list(kind, entries(kind, 500), kind) for kind in LIST_KINDS])
        self._history = PostHistory()
        self._number = 0

    def read(self, text: str) -> tuple[float, float]:
        """Return the seconds that a post takes, without and with rules and lists."""
        # With another sign at its end no text is one that was read before.
        self._number += 1
        post = Post(f"p{self._number}", "a", 1, text[:-1] + chr(ord("A") + self._number % 26))
        batch = PostBatch([post])
        start = time.process_time()
        for run in self._runs:
            run(batch)
        sources_of_all(batch)
        version = PostRecord(self._number, post.post_id, post.author_id, post.text)
        self._history.fold([version], [0], batch)
        middle = time.process_time()
        self._rules.verdicts([post], [1])
        self._lists.verdicts([post])
        end = time.process_time()
        return middle - start, end - start


def check() -> None:
    """Raise unless disguises are undone as by the slow reader."""
    for kind, text in hostile_texts(500).items():
        clean = normalise_characters(text)
        assert deobfuscate(clean) == slowly_deobfuscated(clean), kind


def least(reader: Reader, texts: Sequence[str]) -> tuple[float, float]:
    """Return the least milliseconds of some texts, without and with rules and lists."""
    times = [reader.read(text) for text in texts]
    return 1e3 * min(first for first, _ in times), 1e3 * min(both for _, both in times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--length", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    check()
    print(describe())
    print(f"texts of {options.length:,} characters, milliseconds of processor time a post\n")
    head = f"| {'kind':24} | models | ratio | and rules, lists | ratio |"
    print(f"{head}\n|{'-' * 26}|-------:|------:|-----------------:|------:|")
    reader = Reader()
    ordinary = [ordinary_text(options.length, seed) for seed in range(options.rounds)]
    of_seeds = [hostile_texts(options.length, seed) for seed in range(options.rounds)]
    least(reader, ordinary)
    worst = [0.0, 0.0]
    for kind in [ORDINARY, *of_seeds[0]]:
        texts = ordinary if kind == ORDINARY else [some[kind] for some in of_seeds]
        # In turns with ordinary ones, as the machine may be slower now.
        base, found = least(reader, ordinary), least(reader, texts)
        ratios = [one / other for one, other in zip(found, base, strict=True)]
        worst = [max(pair) for pair in zip(worst, ratios, strict=True)]
        print(
            f"| {kind:24} | {found[0]:6.2f} | {ratios[0]:5.1f} | {found[1]:16.2f} |"
            f" {ratios[1]:5.1f} |",
            flush=True,
        )
    print(f"\nthe worst: {worst[0]:.1f}, with rules and lists {worst[1]:.1f}")


if __name__ == "__main__":
    main()
