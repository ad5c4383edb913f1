"""What lists of a million entries cost a post, beside none; what they take to build and to load.

    python benchmarks/bench_lists.py [--entries 1000000] [--phrases 100000] [--rounds 5]

The posts are those of `bench_rules.py`; none is hit.  A phrase is 1 to 7 words that posts
have, then one that none has.  Before anything is timed a list is shown to
hit what it is about.  One thread; processor time per post, by the number of posts in a cycle.  The
peer is a `set` of the same entries in Python.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench_rules import best, posts
from machine import describe

from feedmill.events.post import Post
from feedmill.features.hosts import domains_of_post
from feedmill.filters.filter_rules import RulesAndLists
from feedmill.filters.list_file import read_entries
from feedmill.filters.list_store import ListCard, pack_list, read_list, save_list
from feedmill.filters.lists import KINDS, ListKind, ListSet, PostList
from feedmill.filters.rules import RuleSet
from feedmill.models.artifact import sha256_of

CYCLES = (1, 50, 256, 500)


def entries(kind: ListKind, count: int) -> list[str]:
    """Entries of a kind that no post of the benchmark has."""
    drawn = random.Random(kind)
    if kind == "phrases":
        words = " ".join(one.text for one in posts(200)).lower().replace(".", "").split()
        # Each has a word that is in no post, often as its last one.
        return [
            " ".join([*drawn.choices(words, k=drawn.randint(1, 7)), f"zz{number}"])
            for number in range(count)
        ]
    if kind == "media":
        return [f"{drawn.getrandbits(256):064x}" for _ in range(count)]
    end = ".example" if kind == "domains" else ""
    return [f"x{drawn.getrandbits(64):x}{end}" for _ in range(count)]


def memory_mib(one: PostList) -> float:
    """Return the memory of what a list is matched by."""
    keys = 0 if one.phrases is None else one.phrases.nbytes
    return (one.digests.nbytes + keys) / 2**20


def made(kind: ListKind, count: int, folder: Path) -> PostList:
    """Build a list, save it and load it again; print what that took."""
    path = folder / f"{kind}.txt"
    path.write_text("\n".join(entries(kind, count)))
    start = time.process_time()
    read = read_entries(path, kind)
    content = pack_list("spam", kind, kind, "hide", read)
    built = time.process_time() - start
    sha256 = sha256_of(content)
    card = ListCard(kind, "spam", kind, "hide", len(read.digests), sha256, "-", "-", "2026-01-01")
    save_list(folder, card, content)
    start = time.process_time()
    found = read_list(folder, "spam", kind, sha256)
    loaded = time.process_time() - start
    print(
        f"{kind:8} {len(found):,} entries: {memory_mib(found):.1f} MiB of memory,"
        f" {len(content) / 2**20:.1f} MiB in the store, built in {built:.2f} s, loaded in"
        f" {loaded:.2f} s"
    )
    return found


def us_a_post(lists: Sequence[PostList], given: Sequence[Post], cycle: int, rounds: int) -> float:
    """Return microseconds of processor a post, in cycles of so many posts."""
    rules = RulesAndLists(RuleSet({}), ListSet(lists))
    batches = [given[i : i + cycle] for i in range(0, len(given), cycle)]

    def run() -> None:
        for batch in batches:
            rules.verdicts(batch, [0] * len(batch))

    return best(run, rounds) / len(given) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--phrases", type=int, default=100_000)
    parser.add_argument("--posts", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(describe())
    some = posts(given.posts)
    with tempfile.TemporaryDirectory() as folder:
        sizes = {kind: given.phrases if kind == "phrases" else given.entries for kind in KINDS}
        lists = {kind: made(kind, size, Path(folder)) for kind, size in sizes.items()}
    host = entries("domains", 1)[0]
    hit = [Post("p", "a", 0, f"see www.{host}/x"), Post("p", "a", 0, f"see y{host}")]
    found = ListSet([lists["domains"]]).verdicts(hit)
    phrase = entries("phrases", 1)[0]
    said = [Post("p", "a", 0, f"Oh {phrase.upper()}!"), Post("p", "a", 0, f"oh {phrase[:-1]}")]
    found += ListSet([lists["phrases"]]).verdicts(said)
    if [match is not None for match in found] != [True, False, True, False]:
        sys.exit("a list does not find what it is about")
    cases: dict[str, list[PostList]] = {"none": [], **{kind: [one] for kind, one in lists.items()}}
    cases["all four"] = list(lists.values())
    print(f"{'µs a post':12}" + "".join(f"{cycle:>8}" for cycle in CYCLES) + "  posts in a cycle")
    for name, chosen in cases.items():
        figures = [us_a_post(chosen, some, cycle, given.rounds) for cycle in CYCLES]
        print(f"{name:12}" + "".join(f"{figure:8.2f}" for figure in figures))
    peer = set(entries("domains", given.entries))
    took = best(
        lambda: [any(d in peer for d in domains_of_post(one)) for one in some], given.rounds
    )
    print(f"{'set':12}{took / len(some) * 1e6:8.2f}  domains as a set in Python")


if __name__ == "__main__":
    main()
