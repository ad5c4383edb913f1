"""What a model says of a few posts of feedmill's own: two copies of one model agree on them.

Those of releases never change, since releases hold what was said of them; a worker has more posts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from feedmill.events.engagement import ENGAGEMENT_KINDS
from feedmill.events.errors import BadArtifact
from feedmill.events.post import Media, Post
from feedmill.features.counters import Counters, update
from feedmill.features.post_batch import PostBatch
from feedmill.models.text_model import Scores, TextModel
from feedmill.rankers.engagement import EngagementModel

AnyModel = TextModel | EngagementModel

# The same artifact differs by rounding from one machine to another, and no more.
TOLERANCE = 1e-6

_TEXTS = (
    "The ferry leaves at eight, bring a warm coat.",
    "WIN a FREE phone now!!! Call 0900 123456 or visit http://example.com/prize today",
    "You won't believe what this gardener found under the old apple tree",
    "Which bread flour do you use for a long, cold rise? Mine tears when I shape it.",
    "Ministers met on Tuesday to discuss the budget for schools and hospitals.",
    "great video, check out my channel and subscribe please",
    "Der Zug nach Bremen hat heute zwanzig Minuten Verspätung.",
    "",
    "Vaccines were tested in three trials with 40,000 people, the agency said. " * 8,
)
_CREATED_MS = 1_700_000_000_000
SAMPLE_POSTS = tuple(
    Post(f"sample-{n}", f"author-{n}", _CREATED_MS + n, text, lang="de" if n == 6 else "en")
    for n, text in enumerate(_TEXTS)
)
# With what those have none of: links, media, words in disguise, a text of several windows.
_MORE_TEXTS = (
    "Read this before they delete it",
    "F R E E m0n3y, cl1ck he re n\u043ew \U0001f911",
    "The council published its report on the harbour. " * 60,
)
WORKER_POSTS = SAMPLE_POSTS + tuple(
    Post(
        f"worker-{n}",
        f"author-{n}",
        _CREATED_MS,
        text,
        links=("https://news.example.com/health/doctors-hate-this-cure", "https://a.example.org"),
        media=(Media("https://a.example.org/x.png", "image"),),
    )
    for n, text in enumerate(_MORE_TEXTS)
)


def answers_of(model: AnyModel) -> tuple[float, ...]:
    """Return what a model says of the sample posts; an engagement model, also of sample counts.

    Raises
    ------
    BadArtifact
        The model raises, or says something that is not in [0, 1].
    """
    try:
        values = values_of(model, PostBatch(SAMPLE_POSTS))
    except Exception as error:
        raise BadArtifact(
            f"model `{model.name}@{model.version}`: it fails on sample posts"
            f" ({type(error).__name__}: {error}); retrain"
        ) from error
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(wrong):
        raise BadArtifact(
            f"model `{model.name}@{model.version}`: it says {values[wrong[0]]!r} of a sample post,"
            " expected a number in [0, 1]; retrain"
        )
    return tuple(values.tolist())


def check_answers(model: AnyModel, expected: Sequence[float]) -> None:
    """Check that a model says what it said where it was released.

    Raises
    ------
    BadArtifact
        It says something else, by more than `TOLERANCE`, or as `answers_of`.
    """
    answers = answers_of(model)
    label = f"model `{model.name}@{model.version}`"
    if len(answers) != len(expected):
        raise BadArtifact(
            f"{label}: the release has {len(expected)} known answers, this build gives"
            f" {len(answers)}; release it again with this build"
        )
    for post, answer, known in zip(range(len(answers)), answers, expected, strict=True):
        if not abs(answer - known) <= TOLERANCE:
            raise BadArtifact(
                f"{label}: it says {answer:.9g} of sample {post}, where it was released it said"
                f" {known:.9g}; release it again with this build, or retrain"
            )


def values_of(model: AnyModel, posts: PostBatch) -> Scores:
    """Return what a model says of posts; an engagement model, also of counts: (values,) float64.

    It makes the calls that a worker's step makes.
    """
    values = values_by_text(model, posts)
    if hasattr(model, "score_batch"):
        return values
    counters = [_sample_counters(n) for n in range(len(values))]
    return np.concatenate((values, model.score_many(values, counters)))


def values_by_text(model: AnyModel, posts: PostBatch) -> Scores:
    """Return what a model says of posts by their text: (posts,) float64; engagement its priors."""
    of_batch = model.score_batch if hasattr(model, "score_batch") else model.prior_batch
    return np.asarray(of_batch(posts), dtype=np.float64)


@cache
def _sample_counters(number: int) -> Counters:
    """Return counts that differ from post to post: the first has none."""
    counters = Counters()
    for step in range(number * 5):
        kind = ENGAGEMENT_KINDS[0 if step % 3 else step % len(ENGAGEMENT_KINDS)]
        update(counters, kind, 1_700_000_000_000 + step * 60_000)
    return counters
