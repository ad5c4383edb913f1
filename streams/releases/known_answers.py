"""What a model says of a few posts, which never change since releases hold what was said of them.

A worker asks each model when it is loaded and once a minute; it stops one that answers otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import cache

import numpy as np

from feedmill.events.engagement import ENGAGEMENT_KINDS
from feedmill.events.errors import BadArtifact
from feedmill.events.post import Post
from feedmill.features.counters import Counters, update
from feedmill.features.post_batch import PostBatch
from feedmill.features.text.interleaved_weights import InterleavedWeights
from feedmill.models.text_model import Scores, TextModel
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.streams.worker.step import HoldsModel

log = logging.getLogger(__name__)

AnyModel = TextModel | ExpectedClicks
Answers = tuple[float, ...]
Holders = Callable[[], Iterable[HoldsModel]]

# The same artifact differs by rounding from one machine to another, and no more.
TOLERANCE = 1e-6
# How often a worker asks a model; it asks one model at a time, so that no cycle takes long.
_ASK_EVERY_S, _ONE_EVERY_S = 60.0, 1.0

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


def answers_of(model: AnyModel, interleaved: InterleavedWeights | None = None) -> Answers:
    """Return what a model says of the sample posts; an engagement model, also of sample counts.

    Raise BadArtifact if the model raises, or says something that is not in [0, 1].
    """
    label, posts = f"model `{model.name}@{model.version}`", PostBatch(SAMPLE_POSTS)
    posts.interleaved = interleaved
    try:
        values = values_by_text(model, posts)
        if not hasattr(model, "score_batch"):
            counters = [_sample_counters(n) for n in range(len(values))]
            values = np.concatenate((values, model.score_many(values, counters)))
    except Exception as error:
        said = f"it fails on sample posts ({type(error).__name__}: {error})"
        raise BadArtifact(f"{label}: {said}; retrain") from error
    wrong = values[~((values >= 0) & (values <= 1))]
    if len(wrong):
        said = f"it says {wrong[0]!r} of a sample post, expected a number in [0, 1]"
        raise BadArtifact(f"{label}: {said}; retrain")
    return tuple(values.tolist())


def check_answers(model: AnyModel, expected: Sequence[float]) -> None:
    """Raise BadArtifact if a model says something else than expected, or fails in `answers_of`."""
    answers, label = answers_of(model), f"model `{model.name}@{model.version}`"
    if len(answers) != len(expected):
        raise BadArtifact(
            f"{label}: the release has {len(expected)} known answers, this build gives"
            f" {len(answers)}; release it again with this build"
        )
    at = _first_other(answers, expected)
    if at is not None:
        raise BadArtifact(
            f"{label}: it says {answers[at]:.9g} of sample {at}, where it was released it said"
            f" {expected[at]:.9g}; release it again with this build, or retrain"
        )


def values_by_text(model: AnyModel, posts: PostBatch) -> Scores:
    """Return what a model says of posts by their text: (posts,) float64; engagement its priors."""
    of_batch = model.score_batch if hasattr(model, "score_batch") else model.prior_batch
    return np.asarray(of_batch(posts), dtype=np.float64)


def _first_other(answers: Sequence[float], expected: Sequence[float]) -> int | None:
    pairs = enumerate(zip(answers, expected, strict=True))
    return next((at for at, (answer, known) in pairs if not abs(answer - known) <= TOLERANCE), None)


@cache
def _sample_counters(number: int) -> Counters:
    """Return counts that differ from post to post: the first has none."""
    counters = Counters()
    for step in range(number * 5):
        kind = ENGAGEMENT_KINDS[0 if step % 3 else step % len(ENGAGEMENT_KINDS)]
        update(counters, kind, _CREATED_MS + step * 60_000)
    return counters


class KnownAnswers:
    """Asks what judges by a model, and stops it if its answers have changed.

    `interleaved` are the weights by which the loop reads its batches.
    """

    def __init__(self, holders: Holders, interleaved: InterleavedWeights) -> None:
        self._holders, self._interleaved = holders, interleaved
        self._due_by_id: dict[int, float] = {}
        # The first answers of each version, kept also where the version is loaded again.
        self._first: dict[tuple[str, str], Answers] = {}
        self._ask_at = 0.0

    def ask(self, now_s: float) -> None:
        """Ask one model that is new or was last asked a minute ago; called in every cycle."""
        if now_s < self._ask_at:
            return
        self._ask_at = now_s + _ONE_EVERY_S
        holders = {id(holder.model): holder for holder in self._holders()}
        self._due_by_id = {key: self._due_by_id.get(key, 0.0) for key in holders}
        key = next((key for key, due in self._due_by_id.items() if due <= now_s), None)
        if key is not None:
            self._due_by_id[key] = now_s + _ASK_EVERY_S
            self._compare(holders[key])

    def _compare(self, holder: HoldsModel) -> None:
        model = holder.model
        try:
            answers = answers_of(model, self._interleaved.kept())
            first = self._first.setdefault((model.name, model.version), answers)
            at = _first_other(answers, first)
        except Exception:  # noqa: BLE001 - the signals have the error, too
            return
        if at is not None:
            reason = f"known answer {at} is {answers[at]:.9g}, it was {first[at]:.9g}"
            log.error("model %s@%s is stopped: %s", model.name, model.version, reason)
            holder.stop_model(f"altered in memory: {reason}")
