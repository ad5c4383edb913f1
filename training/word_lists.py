"""Make the word lists that ship: ``python -m feedmill.training.word_lists``.

Common words are counted in the titles of `engagement_reddit_top` (PDDL 1.0); their list holds
CRC-32 alone, most common first.  Profane words come from `lists_profanity` (CC BY 4.0, MIT), as
64-bit hashes, and so do domains with their credibility from `lists_domain_quality` (free to reuse).
"""

from __future__ import annotations

import argparse
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from feedmill.features.domain_quality import domain_key
from feedmill.features.hosts import host_of, is_platform
from feedmill.features.text.lexicon import spam_terms
from feedmill.features.text.ngrams import TextBatch
from feedmill.features.text.profanity import SOURCES
from feedmill.training.datasets.labelled_posts import read_csv_rows

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
_WORDS = 20_000
_MIN_COMMUNITIES = 3
# A compound of a rank above `_RARE`, made of words of ranks below `_COMMON`, is read as two words.
_RARE, _COMMON = 3_000, 1_000


def common_words(rows: Iterable[tuple[str, str]]) -> npt.NDArray[np.uint32]:
    """Return the CRC-32 of the commonest words of (text, community) rows, most common first."""
    counts: Counter[str] = Counter()
    communities: dict[str, set[str]] = {}
    for text, community in rows:
        for word in _WORD.findall(text.lower()):
            counts[word] += 1
            communities.setdefault(word, set()).add(community)
    single = {"a", "i", "u"}
    kept = [
        word
        for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        if len(communities[word]) >= _MIN_COMMUNITIES and (len(word) > 1 or word in single)
    ]
    rank = {word: position for position, word in enumerate(kept[:_WORDS])}
    return np.array(
        [zlib.crc32(word.encode()) for word in rank if not _is_compound(word, rank)],
        dtype=np.uint32,
    )


def _is_compound(word: str, rank: Mapping[str, int]) -> bool:
    """Return whether a word is a rare one made of two common ones (`checkout`).

    A term of the spam lexicon is none (`playlist`).
    """
    return (
        rank[word] > _RARE
        and word not in spam_terms()
        and any(
            rank.get(word[:cut], _RARE) < _COMMON and rank.get(word[cut:], _RARE) < _COMMON
            for cut in range(3, len(word) - 2)
        )
    )


def profane_words(
    rows: Iterable[tuple[str, str]],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8]]:
    """Return hashes of the single words of (term, source) rows, and the bits of their sources.

    Terms with a digit are left out: all digits are alike, so that such a term would be many.
    """
    bits: dict[int, int] = {}
    for term, source in rows:
        if any(map(str.isdigit, term)):
            continue
        words = TextBatch([term]).chunks[0].words
        if words.ends[0] - words.starts[0] == 1:
            key = int(words.hashes[0, words.starts[0]])
            bits[key] = bits.get(key, 0) | 1 << SOURCES.index(source)
    keys = sorted(bits)
    flags = np.array([bits[key] for key in keys], dtype=np.uint8)
    return np.array(keys, dtype=np.uint64), flags


def domain_quality(
    rows: Iterable[tuple[str, float]],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float32]]:
    """Return the hashes of the domains of (domain, score) rows, ascending, and their scores.

    Platforms are left out: what is posted there says nothing of who posts it.
    """
    scores = {
        domain_key(host): score
        for domain, score in rows
        if (host := host_of(domain)) and not is_platform(host)
    }
    keys = sorted(scores)
    return np.array(keys, dtype=np.uint64), np.array([scores[k] for k in keys], dtype=np.float32)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the lists."""
    parser = argparse.ArgumentParser(description="Make the word lists.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "features")
    options = parser.parse_args(arguments)
    text_lists = options.out / "text" / "lists"
    rows = read_csv_rows(options.data, "engagement_reddit_top")
    words = common_words((row["title"], row["subreddit"]) for row in rows)
    np.save(text_lists / "words.npy", words, allow_pickle=False)
    terms = read_csv_rows(options.data, "lists_profanity")
    keys, bits = profane_words((r["term"], r["source"]) for r in terms if r["lang"] == "en")
    np.savez(text_lists / "profanity.npz", keys=keys, bits=bits, allow_pickle=False)
    domains = read_csv_rows(options.data, "lists_domain_quality")
    keys, scores = domain_quality((row["domain"], float(row["pc1"])) for row in domains)
    path = options.out / "lists" / "domain_quality.npz"
    np.savez_compressed(path, keys=keys, scores=scores, allow_pickle=False)


if __name__ == "__main__":
    main()
