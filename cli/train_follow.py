"""`feedmill train --follow`: trains challengers as labels or impressions come; releases the better.

A process of its own, until it is ended; it serves nothing and keeps no offsets.  All it leaves are
artifacts in the store, records of `models`, and the file that counts its starts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
from kafka.errors import KafkaError

from feedmill.cli.awaited_change import ChangeOptions
from feedmill.cli.models.releases import send_record
from feedmill.cli.output import Answer, print_answer, warn
from feedmill.cli.train_from_topics import read_impressions
from feedmill.cli.train_options import SHIPPED, TrainOptions
from feedmill.events.errors import FeedmillError, UsageError
from feedmill.filters.model import FilterSpec
from feedmill.filters.registry import FILTERS
from feedmill.models.artifact import ModelCard
from feedmill.models.store_files import Store, parse_store
from feedmill.operations.releases import read_history, sha256_in_force, tried_release
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.rankers.impressions import Impressions
from feedmill.rankers.registry import ENGAGEMENT_RANKER
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import TopicReader, open_topic
from feedmill.streams.settings.clock import now_ms
from feedmill.training.continual.challenger import Learner, Round, Starts
from feedmill.training.continual.impression_contest import ImpressionContest, without_floods
from feedmill.training.continual.label_contest import MIN_REFERENCE, LabelContest, OrdinaryPosts
from feedmill.training.continual.rated_posts import RatedPost, audited_posts, rated_posts
from feedmill.training.datasets.snapshots import read_impressions as read_snapshot
from feedmill.training.fitting.engagement import FittedEngagement
from feedmill.training.fitting.filters import FittedFilter
from feedmill.training.label_join import LabelWindow, topic_dataset
from feedmill.training.recipes import ENGAGEMENT
from feedmill.training.trainers import engagement as engagement_trainer
from feedmill.training.trainers.filters import FittedChallenger, TrainingRun, save_challenger
from feedmill.training.training_data import Dataset, TrainingData, read_training_data, recipe_of

# What a round did, by name; `reason` says why nothing was released, or "released".
Figures = dict[str, Any]
Fitted = TypeVar("Fitted")

_ENGAGEMENT = ENGAGEMENT_RANKER.name
_MIN_IMPRESSIONS = 3_000
_LABELS_EVERY_MS = 300_000
# The topics are counted again in each round, and reactions are known a day later.
_IMPRESSIONS_EVERY_MS = 3_600_000
# The trial's limit, and some seconds for the instances.
_ANSWERS_S = 90.0
_BY = "train --follow"


def follow(environment: Environment, given: TrainOptions, *, as_json: bool) -> None:
    """Train and release challengers until Ctrl-C.

    Raises `UsageError` where options do not go together, FEEDMILL_MODELS is not set, or too few
    ordinary posts or impressions are older than the window.
    """
    try:
        if given.model == _ENGAGEMENT:
            _follow_engagement(environment, given, as_json=as_json)
        _follow_labels(environment, given, as_json=as_json)
    except KeyboardInterrupt:
        warn("ended: what was released stays, and nothing else was changed")


def _follow_labels(environment: Environment, given: TrainOptions, *, as_json: bool) -> NoReturn:
    if given.wait_ms is not None:
        raise UsageError("--wait goes with engagement: a filter follows labels")
    spec = FILTERS.get(given.model)
    if spec is None or given.data or given.from_labels or len(given.ordinary) != 1:
        raise UsageError(
            "--follow trains a filter on the topic `labels`: give one --ordinary FILE, no --data"
        )
    base = None if given.base in (None, SHIPPED) else parse_store(str(given.base))
    warn(f"reading the ordinary posts of {given.ordinary[0]}")
    (ordinary,) = read_training_data(spec, (), given.ordinary).ordinary
    store = _store_of_workers(environment)
    older = _older_posts(ordinary, now_ms() - given.followed_ms)
    contest = partial(LabelContest, base=spec.load(base), recipe=recipe_of(spec), ordinary=older)
    every_ms = given.every_ms or _LABELS_EVERY_MS
    warn(
        f"{spec.name} follows `labels`: a round each {every_ms / 60_000:g} minutes, each with a"
        f" line here; {len(older.reference):,} ordinary posts are the reference; Ctrl-C ends it"
    )
    learner = Learner(_starts(store, given), frozenset[str]())

    def save(rows: Sequence[RatedPost], challenger: FittedChallenger) -> ModelCard:
        # Without installing it: a rollback goes to what was there.
        labelled = topic_dataset("labels", [(row.post, row.label) for row in rows])
        data = TrainingData((labelled,), (ordinary,))
        run = TrainingRun(given.trained_on, given.command, keeps_rows=given.keeps_rows)
        return save_challenger(spec, base, data, challenger, store, run)

    with _open_window(environment, spec.name, given.followed_ms) as window:
        _repeat(
            spec.name,
            every_ms,
            lambda: _label_round(environment, store, spec, learner, contest, save, window.read()),
            as_json=as_json,
        )


def _label_round(
    environment: Environment,
    store: Store,
    spec: FilterSpec,
    learner: Learner[frozenset[str]],
    contest: Callable[..., LabelContest],
    save: Callable[[Sequence[RatedPost], FittedChallenger], ModelCard],
    window: LabelWindow,
) -> Figures:
    """Let a challenger bet on what is new, and release it if it may."""
    champion = spec.load(store, _champion_of(environment, spec.name))
    judged = window.judged(now_ms())
    rows, audit = rated_posts(judged), audited_posts(judged)
    found = learner.round(
        lambda bet_on: contest(champion=champion, rows=rows, audit=audit, was_bet_on=bet_on),
        now_ms(),
    )

    def save_fitted(fitted: FittedFilter, e_values: dict[str, float]) -> ModelCard:
        return save(rows, FittedChallenger(fitted, {"audited": float(len(audit)), **e_values}))

    return _release_if_better(environment, found, champion.version, window.left_out, save_fitted)


class _Window:
    """The two topics, read on from where the last round ended."""

    def __init__(self, window: LabelWindow, labels: TopicReader, posts: TopicReader) -> None:
        self._window, self._labels, self._posts = window, labels, posts

    def read(self) -> LabelWindow:
        """Read to the ends, labels first: the post of a label is there before it."""
        for record in self._labels.read_to_end():
            self._window.add_label(record.key, record.value, record.at_ms)
        for record in self._posts.read_to_end():
            self._window.add_post(record.key, record.value, record.at_ms)
        return self._window


@contextmanager
def _open_window(environment: Environment, name: str, window_ms: int) -> Iterator[_Window]:
    with ExitStack() as stack:
        labels = stack.enter_context(open_topic(environment, "labels"))
        posts = stack.enter_context(open_topic(environment, "posts"))
        for reader in (labels, posts):
            reader.seek_to_time(now_ms() - window_ms)
        yield _Window(LabelWindow(name, window_ms), labels, posts)


def _older_posts(ordinary: Dataset, before_ms: int) -> OrdinaryPosts:
    """Return the ordinary posts that are older than the window, divided."""
    rows = ordinary.rows
    if not any(post.created_at_ms for post in rows.posts):
        warn(
            "--ordinary says no times, so all its posts count as older than the window: name their"
            " column with time=COLUMN, unless they are"
        )
    is_old = np.array([post.created_at_ms < before_ms for post in rows.posts], dtype=np.bool_)
    older = OrdinaryPosts.of(rows.where(is_old))
    if len(older.reference) < MIN_REFERENCE:
        raise UsageError(
            f"--follow needs {MIN_REFERENCE:,} ordinary posts that are older than the window, two"
            f" thirds of --ordinary, found {len(older.reference):,}; name a larger file"
        )
    return older


def _follow_engagement(environment: Environment, given: TrainOptions, *, as_json: bool) -> NoReturn:
    if given.data or given.from_labels or given.base or len(given.ordinary) != 1:
        raise UsageError(
            "--follow trains engagement on the topics `posts` and `engagements`: give one"
            " --ordinary SNAPSHOT of earlier impressions, no --base and no --data"
        )
    store, before_ms = _store_of_workers(environment), now_ms() - given.followed_ms
    reference = read_snapshot(Path(given.ordinary[0]))
    reference = reference.where(reference.at_ms < before_ms)
    if len(reference) < _MIN_IMPRESSIONS:
        raise UsageError(
            f"--follow needs {_MIN_IMPRESSIONS:,} impressions that are older than the window, found"
            f" {len(reference):,}; name an earlier or a larger snapshot with --ordinary"
        )
    learner = Learner(_starts(store, given), 0)
    every_ms = given.every_ms or _IMPRESSIONS_EVERY_MS
    warn(
        f"{_ENGAGEMENT} follows `posts` and `engagements`: a round each {every_ms / 60_000:g}"
        f" minutes, each with a line here; {len(reference):,} impressions are the reference; Ctrl-C"
        " ends it"
    )
    _repeat(
        _ENGAGEMENT,
        every_ms,
        lambda: _engagement_round(environment, store, given, learner, reference),
        as_json=as_json,
    )


def _engagement_round(
    environment: Environment,
    store: Store,
    given: TrainOptions,
    learner: Learner[int],
    reference: Impressions,
) -> Figures:
    """Count the topics of the window again, and do what a round for labels does."""
    champion = ENGAGEMENT_RANKER.load(store, _champion_of(environment, _ENGAGEMENT))
    if not isinstance(champion, ExpectedClicks):
        raise UsageError(f"no challenger can be fitted beside a {type(champion).__name__}")
    counted = read_impressions(environment, given.reaction_ms, now_ms() - given.followed_ms)
    contest = partial(
        ImpressionContest, champion, ENGAGEMENT, reference, given.reaction_ms, counted.rows
    )
    found = learner.round(contest, now_ms())

    def save(fitted: FittedEngagement, e_values: dict[str, float]) -> ModelCard:
        settings: dict[str, object] = {
            "wait_ms": given.reaction_ms,
            "window_ms": given.followed_ms,
            "user_window": environment.user_window,
            "burst_reactions": environment.burst_reactions,
            "examination": [*environment.examination],
        }
        own = engagement_trainer.OwnRun(
            store, given.trained_on, given.command, settings, given.keeps_rows
        )
        rows = without_floods(counted.rows)
        return engagement_trainer.save_challenger(rows, fitted, e_values, own)

    return _release_if_better(environment, found, champion.version, counted.left_out, save)


def _store_of_workers(environment: Environment) -> Store:
    """Return the store that the workers read, too; a folder is made if need be, as by `--out`."""
    if environment.models is None:
        raise UsageError("--follow needs FEEDMILL_MODELS, the store that the workers read, too")
    if isinstance(environment.models, Path):
        environment.models.mkdir(parents=True, exist_ok=True)
    return environment.models


def _starts(store: Store, given: TrainOptions) -> Starts:
    return Starts(store, f"{given.model}.starts", given.most_starts or 24)


def _repeat(
    model: str, every_ms: int, one_round: Callable[[], Figures], *, as_json: bool
) -> NoReturn:
    """Do rounds for ever, and print what came of each.

    What goes wrong with Kafka, the store or the release is the reason of a round and not the end:
    the next one may find Kafka again, the artifact, or the model unfrozen.
    """
    while True:
        due = time.monotonic() + every_ms / 1000
        try:
            figures = one_round()
        except (FeedmillError, KafkaError) as error:
            figures = {"reason": str(error)}
        _report(model, figures, as_json=as_json)
        time.sleep(max(0.0, due - time.monotonic()))


def _champion_of(environment: Environment, model: str) -> str:
    """Return the sha256 of the version in force; `UsageError` where somebody froze the model."""
    history = read_history(environment)
    history.check_not_frozen(model)
    return sha256_in_force(history, model)


def _release_if_better(
    environment: Environment,
    found: Round[Fitted],
    champion: str,
    left_out: Mapping[str, int],
    save: Callable[[Fitted, dict[str, float]], ModelCard],
) -> Figures:
    """Save and release the challenger of a round if it may be; return what came of the round.

    `champion` is the version that it was tried against; `save` takes its e-values for the card.
    """
    verdict = found.result
    e_values = {} if verdict is None else verdict.e_values
    figures: Figures = {**found.counts, **e_values, "left_out": left_out, "champion": champion}
    if verdict is None or verdict.fitted is None or found.reason:
        return {**figures, "reason": found.reason}
    card = save(verdict.fitted, e_values)
    reason = _released(environment, card, champion, verdict.better, verdict.bets)
    return {**figures, "challenger": card.version, "reason": reason}


def _released(
    environment: Environment, card: ModelCard, old_version: str, better: float, bets: int
) -> str:
    """Release a version unless somebody froze the model meanwhile; return what came of it.

    Where it fails, the version is in the store: `feedmill models release` can still do it.
    """
    note = f"better than {old_version}: e-value {better:.0f} of {bets} bets"
    change = ChangeOptions(_BY, note, _ANSWERS_S, as_json=False, tell=warn)
    try:
        read_history(environment).check_not_frozen(card.name)
        wanted = tried_release(environment, card, _BY, note)
        done = f"{card.name}: {wanted.version} released"
        send_record(environment, change, card.name, card.name, wanted, done)
    except (FeedmillError, KafkaError) as error:
        return f"not released: {error}"
    return "released"


def _report(model: str, figures: Figures, *, as_json: bool) -> None:
    """Print what came of a round, as one line."""
    at = datetime.now(UTC).strftime("%H:%M:%S")
    shown = ", ".join(f"{name} {_text(value)}" for name, value in figures.items() if value != {})
    content = {"model": model, "at_ms": now_ms(), **figures}
    print_answer(Answer(content, [f"{at} {model}: {shown}"]), as_json=as_json)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{count} {what}" for what, count in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
