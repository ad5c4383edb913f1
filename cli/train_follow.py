"""`feedmill train --follow`: trains challengers as labels or impressions come; releases the better.

A process of its own, until it is ended; it serves nothing, keeps no offsets and no file.  All it
leaves are artifacts in the store and records of `models`: a candidate that promotes of a filter, a
release of engagement.  Each round computes everything again from the topics.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from kafka.errors import KafkaError

from feedmill.cli.awaited_change import ChangeOptions
from feedmill.cli.models.releases import send_record
from feedmill.cli.output import Answer, print_answer, warn
from feedmill.cli.train_from_topics import read_impressions
from feedmill.cli.train_options import SHIPPED, TrainOptions
from feedmill.events.errors import FeedmillError, UsageError
from feedmill.events.release import CANDIDATE, TriedVersion
from feedmill.filters.registry import FILTERS
from feedmill.models.artifact import ModelCard, find_card, read_artifact
from feedmill.models.store_files import Store, parse_store
from feedmill.models.text_model import FEATURES
from feedmill.operations.releases import (
    FILTER_MS,
    RANKER_MS,
    candidate_of,
    read_history,
    sha256_in_force,
    tried_release,
)
from feedmill.operations.setting_changes import read_settings_log
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.rankers.impressions import Impressions
from feedmill.rankers.quality import RANKER as QUALITY_RANKER
from feedmill.rankers.quality import QualityModel
from feedmill.rankers.registry import ENGAGEMENT_RANKER
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import TopicReader, open_topic
from feedmill.streams.releases.loading import (
    load_model,
    shipped_sha256,
    shipped_store,
    store_of,
)
from feedmill.streams.releases.release_log import FROZEN, RELEASED, ReleaseFold
from feedmill.streams.settings.clock import now_ms
from feedmill.training.continual.challenger import ChallengeResult, challenge
from feedmill.training.continual.filter_contest import (
    MIN_REFERENCE,
    FilterContest,
    OrdinaryPosts,
    majorities,
)
from feedmill.training.continual.impression_contest import ImpressionContest, without_floods
from feedmill.training.continual.label_bets import (
    LabelContest,
    challenge_by_raters,
    labels_of_posts,
)
from feedmill.training.continual.rated_posts import LabelOf, audited_posts
from feedmill.training.continual.rating_contest import RatingContest
from feedmill.training.datasets.snapshots import read_impressions as read_snapshot
from feedmill.training.fitting.engagement import FittedEngagement
from feedmill.training.label_join import (
    LabelRecord,
    LabelWindow,
    majority,
    mean_label,
    topic_dataset,
)
from feedmill.training.recipes import ENGAGEMENT
from feedmill.training.trainers import engagement as engagement_trainer
from feedmill.training.trainers.filters import FittedChallenger, TrainingRun, save_challenger
from feedmill.training.trainers.quality import MovedModel
from feedmill.training.trainers.quality import save_challenger as save_moved
from feedmill.training.training_data import Dataset, TrainingData, read_training_data, recipe_of

# What a round did, by name; `reason` says why nothing was released, or "released".
Figures = dict[str, Any]

_ENGAGEMENT = ENGAGEMENT_RANKER.name
_MIN_IMPRESSIONS = 3_000
_DAY_MS = 86_400_000
_LABELS_EVERY_MS = 300_000
# The topics are counted again in each round, and reactions are known a day later.
_IMPRESSIONS_EVERY_MS = 3_600_000
# The trial's limit, and some seconds for the instances.
_ANSWERS_S = 90.0
_BY = "train --follow"
# On so many of the window's last posts a challenger's limits are measured.
_COMPARED_POSTS = 5_000


class _Follower(NamedTuple):
    """How a model follows the topic `labels`.

    Attributes
    ----------
    model
        Its name.
    contest
        Makes the contest of what `LabelContest` is made of; `champion` is the model in force.
    save
        Stores a challenger that won: of the contest, what was fitted, the figures of the test and
        the champion's sha256.
    label_of
        Makes one label of those of one post.
    """

    model: str
    contest: Callable[..., LabelContest[Any]]
    save: Callable[[LabelContest[Any], Any, Mapping[str, float], str], ModelCard]
    label_of: LabelOf


def follow(environment: Environment, given: TrainOptions, *, as_json: bool) -> None:
    """Train and release challengers until Ctrl-C.

    Raises `UsageError` where options do not go together, FEEDMILL_MODELS is not set, or too few
    ordinary posts or impressions are older than the window.
    """
    try:
        if given.model == _ENGAGEMENT:
            _follow_engagement(environment, given, as_json=as_json)
        if given.wait_ms is not None:
            raise UsageError(f"--wait goes with {_ENGAGEMENT}: {given.model} follows labels")
        if given.model == QUALITY_RANKER.name:
            follower = _quality_follower(environment, given)
        else:
            follower = _filter_follower(environment, given)
        _follow_labels(environment, given, follower, as_json=as_json)
    except KeyboardInterrupt:
        warn("ended: what was released stays, and nothing else was changed")


def _filter_follower(environment: Environment, given: TrainOptions) -> _Follower:
    spec = FILTERS[given.model]
    if given.data or given.from_labels or len(given.ordinary) != 1:
        raise UsageError(
            "--follow trains a filter on the topic `labels`: give one --ordinary FILE, no --data"
        )
    base = None if given.base in (None, SHIPPED) else parse_store(str(given.base))
    warn(f"reading the ordinary posts of {given.ordinary[0]}")
    (ordinary,) = read_training_data(spec, (), given.ordinary).ordinary
    store = _store_of_workers(environment)
    older = _older_posts(ordinary, _window_begins_ms(given))
    warn(f"{len(older.reference):,} ordinary posts are the reference")

    def contest(**of_labels: Any) -> FilterContest:
        gate = read_settings_log(environment).settings.gates_of("")[spec.name]
        return FilterContest(
            base=spec.load(base), recipe=recipe_of(spec), ordinary=older, gate=gate, **of_labels
        )

    def save(
        made: LabelContest[Any], fitted: Any, figures: Mapping[str, float], _: str
    ) -> ModelCard:
        # Without installing it: a rollback goes to what was there.
        labelled = topic_dataset("labels", majorities(made.counted))
        data = TrainingData((labelled,), (ordinary,))
        challenger = FittedChallenger(fitted, figures)
        return save_challenger(spec, base, data, challenger, store, _run(given))

    return _Follower(spec.name, contest, save, majority)


def _quality_follower(environment: Environment, given: TrainOptions) -> _Follower:
    if given.data or given.from_labels or given.ordinary or given.base:
        raise UsageError(
            f"--follow moves the {given.model} in force by the topic `labels`: give no --data, no"
            " --ordinary and no --base"
        )
    name, store = given.model, _store_of_workers(environment)

    def contest(champion: Any, **of_labels: Any) -> RatingContest:
        if not isinstance(champion, QualityModel):
            raise UsageError(f"no challenger can be fitted beside a {type(champion).__name__}")
        return RatingContest(champion=champion, **of_labels)

    def save(
        made: LabelContest[Any], fitted: Any, figures: Mapping[str, float], sha256: str
    ) -> ModelCard:
        card = find_card(store, name, sha256, shipped_store(name))
        artifact = read_artifact(store_of(name, store, sha256), name, FEATURES, sha256)
        labels = topic_dataset("labels", labels_of_posts(made.counted))
        moved = MovedModel(card, artifact, fitted, dict(figures))
        return save_moved(moved, labels, store, _run(given))

    return _Follower(name, contest, save, mean_label)


def _run(given: TrainOptions) -> TrainingRun:
    return TrainingRun(given.trained_on, given.command, keeps_rows=given.keeps_rows)


def _follow_labels(
    environment: Environment, given: TrainOptions, follower: _Follower, *, as_json: bool
) -> NoReturn:
    every_ms = given.every_ms or _LABELS_EVERY_MS
    warn(
        f"{given.model} follows `labels`: a round each {every_ms / 60_000:g} minutes, each with a"
        " line here; Ctrl-C ends it"
    )
    with _open_window(environment, given.model, given) as window:
        _repeat(
            given.model,
            every_ms,
            lambda: _label_round(environment, follower, window.read(), _window_begins_ms(given)),
            as_json=as_json,
        )


def _label_round(
    environment: Environment, follower: _Follower, window: LabelWindow, since_ms: int
) -> Figures:
    """Let challengers bet on the labels since then, and have the workers try the one that won."""
    model = follower.model
    history = _history_of(environment, model)
    audit = audited_posts(window.judged(now_ms()), follower.label_of)
    records = window.records(since_ms)
    left_out = window.left_out
    tried = history.candidate(model)
    if tried is not None:
        reason = f"{tried.record.version} is tried: `feedmill models health` has the figures"
        return {"labels": len(records), "left_out": left_out, "reason": reason}
    if reason := _waits_after(history, model, records):
        return {"labels": len(records), "left_out": left_out, "reason": reason}
    sha256 = sha256_in_force(history, model)
    champion = load_model(model, environment.models, sha256)
    from_ms = max(since_ms, _changed_ms(history, model))
    made = follower.contest(champion=champion, records=records, from_ms=from_ms, audit=audit)
    made, found, outvoted = challenge_by_raters(made)
    figures: Figures = {**made.counts, **found.e_values, "left_out": left_out}
    figures["champion"] = sha256[:12]
    if outvoted:
        figures["without_rater"] = outvoted
    if found.fitted is None or found.reason:
        return {**figures, "reason": found.reason}
    limits = made.limits(found.fitted, window.recent_posts(_COMPARED_POSTS))
    measured = {"audited": float(len(audit)), **found.e_values}
    card = follower.save(made, found.fitted, measured, sha256)
    reason = _tried(environment, card, sha256[:12], found, limits, outvoted)
    return {**figures, **limits, "challenger": card.version, "reason": reason}


def _waits_after(history: ReleaseFold, model: str, records: Sequence[LabelRecord]) -> str:
    """Say how many new labels the next challenger waits for, after one went back; "" for none."""
    last = history.last_candidate(model)
    if last is None:
        return ""
    begun_ms = next((row.at_ms for row in history.rows(model) if row.offset == last.offset), 0)
    before = sum(record.at_ms < begun_ms for record in records)
    new, needed = len(records) - before, math.ceil(before / 2)
    if new >= needed:
        return ""
    return f"{last.record.version} went back, and {new} labels are new, expected {needed}"


def _changed_ms(history: ReleaseFold, model: str) -> int:
    """Return since when the version in force runs, Unix milliseconds; 0: since ever."""
    shipped = shipped_sha256(model)[:12]
    since_ms, before = 0, shipped
    for row in history.rows(model):
        version = row.version or shipped
        if row.what in (RELEASED, FROZEN) and version != before:
            since_ms, before = row.at_ms, version
    return since_ms


def _window_begins_ms(given: TrainOptions) -> int:
    """Return when the window begins: midnight UTC, so that rounds of a day look at one test."""
    at_ms = now_ms()
    return at_ms - at_ms % _DAY_MS - given.followed_ms


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
def _open_window(environment: Environment, name: str, given: TrainOptions) -> Iterator[_Window]:
    with ExitStack() as stack:
        labels = stack.enter_context(open_topic(environment, "labels"))
        posts = stack.enter_context(open_topic(environment, "posts"))
        for reader in (labels, posts):
            reader.seek_to_time(_window_begins_ms(given))
        yield _Window(LabelWindow(name, given.followed_ms + _DAY_MS), labels, posts)


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
    store, before_ms = _store_of_workers(environment), _window_begins_ms(given)
    reference = read_snapshot(Path(given.ordinary[0]))
    reference = reference.where(reference.at_ms < before_ms)
    if len(reference) < _MIN_IMPRESSIONS:
        raise UsageError(
            f"--follow needs {_MIN_IMPRESSIONS:,} impressions that are older than the window, found"
            f" {len(reference):,}; name an earlier or a larger snapshot with --ordinary"
        )
    every_ms = given.every_ms or _IMPRESSIONS_EVERY_MS
    warn(
        f"{_ENGAGEMENT} follows `posts` and `engagements`: a round each {every_ms / 60_000:g}"
        f" minutes, each with a line here; {len(reference):,} impressions are the reference; Ctrl-C"
        " ends it"
    )
    _repeat(
        _ENGAGEMENT,
        every_ms,
        lambda: _engagement_round(environment, store, given, reference),
        as_json=as_json,
    )


def _engagement_round(
    environment: Environment, store: Store, given: TrainOptions, reference: Impressions
) -> Figures:
    """Count the topics of the window again, and release the challenger that won."""
    history = _history_of(environment, _ENGAGEMENT)
    champion = ENGAGEMENT_RANKER.load(store, sha256_in_force(history, _ENGAGEMENT))
    if not isinstance(champion, ExpectedClicks):
        raise UsageError(f"no challenger can be fitted beside a {type(champion).__name__}")
    since_ms = _window_begins_ms(given)
    counted = read_impressions(environment, given.reaction_ms, since_ms)
    from_ms = max(since_ms, _changed_ms(history, _ENGAGEMENT))
    contest = ImpressionContest(
        champion, ENGAGEMENT, reference, given.reaction_ms, counted.rows, from_ms
    )
    found = challenge(contest)

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

    figures: Figures = {**contest.counts, **found.e_values, "left_out": counted.left_out}
    figures["champion"] = champion.version
    if found.fitted is None or found.reason:
        return {**figures, "reason": found.reason}
    card = save(found.fitted, found.e_values)
    reason = _tried(environment, card, champion.version, found, None)
    return {**figures, "challenger": card.version, "reason": reason}


def _store_of_workers(environment: Environment) -> Store:
    """Return the store that the workers read, too; a folder is made if need be, as by `--out`."""
    if environment.models is None:
        raise UsageError("--follow needs FEEDMILL_MODELS, the store that the workers read, too")
    if isinstance(environment.models, Path):
        environment.models.mkdir(parents=True, exist_ok=True)
    return environment.models


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


def _history_of(environment: Environment, model: str) -> ReleaseFold:
    """Return what was released; `UsageError` where somebody froze the model."""
    history = read_history(environment)
    history.check_not_frozen(model)
    return history


def _tried(
    environment: Environment,
    card: ModelCard,
    champion: str,
    found: ChallengeResult[Any],
    limits: Mapping[str, float] | None,
    outvoted: str = "",
) -> str:
    """Have the workers try a version within its limits, or release it, unless somebody froze it.

    Returns what came of it.  Where it fails, the version is in the store: `feedmill models release`
    can still do it.
    """
    note = f"better than {champion}: e-value {found.better:.0f} of {found.bets} bets"
    if outvoted:
        note += f"; without the labels of {outvoted}, with which ordinary posts are harmed"
    change = ChangeOptions(_BY, note, _ANSWERS_S, as_json=False, tell=warn)
    try:
        _history_of(environment, card.name)
        wanted: TriedVersion = tried_release(environment, card, _BY, note)
        key, done = card.name, f"{card.name}: {wanted.version} released"
        if limits is not None:
            until_ms = now_ms() + (FILTER_MS if card.name in FILTERS else RANKER_MS)
            wanted = candidate_of(wanted, promotes=True, until_ms=until_ms, **limits)
            key, done = CANDIDATE + key, f"{key}: {wanted.version} is tried beside {champion}"
        send_record(environment, change, key, card.name, wanted, done)
    except (FeedmillError, KafkaError) as error:
        return f"not released: {error}"
    return "released" if limits is None else "tried"


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
