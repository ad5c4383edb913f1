"""Files to try training, scoring and lists with: **all simulated**, from the demo's phrases.

What is measured on them tells nothing about people.  The same seed gives the same bytes.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from feedmill.simulation.post_writer import BAD, COMMUNITIES, PostWriter
from feedmill.simulation.sample_experiment import sample_experiment

# What the raters of the sample call junk.  The shipped filter does not know clickbait as spam.
_JUNK: Final = ("spam", "clickbait")
_LABELLED = 1_200
# Two thirds of the authors are enough for `train --follow`.
_ORDINARY = 6_000
_POSTS = 200
_AUTHORS = 120
# Raters err: a model that is always right on the sample would be none of people's posts.
_WRONG_LABELS = 0.03
_FIRST: Final = datetime(2026, 1, 1, tzinfo=UTC)
_BETWEEN: Final = timedelta(minutes=7)


@dataclass(frozen=True)
class _Written:
    """A post of the sample, and whether its author writes junk."""

    author: str
    at: datetime
    text: str
    community: str
    is_junk: bool


def sample_files(seed: int) -> Mapping[str, bytes]:
    """Return the files by name.

    `labelled.csv` has posts with the labels `junk` and `fine`, `ordinary.jsonl` posts without a
    label, `posts.jsonl` posts as the topic has them, and `domains.txt` the hosts of spam; `tune…`
    are of a finished experiment.
    """
    random = np.random.default_rng(seed)
    posts = _posts(random)
    labelled = [posts(is_junk=i % 3 == 0) for i in range(_LABELLED)]
    wrong = random.random(_LABELLED) < _WRONG_LABELS
    ordinary = [posts(is_junk=False) for _ in range(_ORDINARY)]
    mixed = [posts(is_junk=bool(random.random() < 0.15)) for _ in range(_POSTS)]
    return {
        "labelled.csv": _labelled(labelled, wrong.tolist()),
        "ordinary.jsonl": _lines(
            {"text": p.text, "author": p.author, "time": p.at.isoformat()} for p in ordinary
        ),
        "posts.jsonl": _lines(_event(number, post) for number, post in enumerate(mixed, 1)),
        "domains.txt": "".join(f"{host}\n" for host in _hosts()).encode(),
        **sample_experiment(np.random.default_rng(seed)),
    }


def _posts(random: np.random.Generator) -> Callable[..., _Written]:
    """Return what writes the next post; an author writes junk, or never does."""
    writer, written = PostWriter(random), 0

    def next_post(*, is_junk: bool) -> _Written:
        nonlocal written
        written += 1
        community = COMMUNITIES[int(random.integers(len(COMMUNITIES)))]
        if is_junk:
            text, _ = writer.bad(_JUNK[int(random.integers(len(_JUNK)))], community)
        else:
            text = writer.ordinary(community, "en", float(random.random()))
        author = f"{'seller' if is_junk else 'member'}-{random.integers(_AUTHORS)}"
        return _Written(author, _FIRST + written * _BETWEEN, text, community, is_junk)

    return next_post


def _labelled(posts: Sequence[_Written], wrong: Sequence[bool]) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["body", "kind", "author", "time"])
    for post, is_wrong in zip(posts, wrong, strict=True):
        kind = "junk" if post.is_junk != is_wrong else "fine"
        writer.writerow([post.text, kind, post.author, post.at.isoformat()])
    return file.getvalue().encode()


def _event(number: int, post: _Written) -> dict[str, object]:
    return {
        "post_id": f"sample-{number}",
        "author_id": post.author,
        "created_at_ms": round(post.at.timestamp() * 1000),
        "text": post.text,
        "communities": [post.community],
    }


def _lines(rows: Iterable[Mapping[str, object]]) -> bytes:
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()


def _hosts() -> list[str]:
    """The hosts of the links of spam; one with a number in it stands for no host."""
    hosts = {link.split("/")[2] for link in BAD["spam"]["link"]}
    return sorted(host for host in hosts if "{" not in host)
