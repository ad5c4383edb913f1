"""What reads bytes from outside, each as a function that fuzzers call.

A target returns whether the bytes were accepted, and raises only where the code is wrong: a refusal
is the reader's own error with a short reason.  Where there is a key, it is the first line.
"""

import io
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from builders.experiment_tables import experiment_of
from builders.lists import entries_of
from builders.records import StoredRecord
from feedmill.cli.post_lines import read_posts
from feedmill.events.decode import decode_instance, decode_label, decoder_of, encode
from feedmill.events.engagement import Engagement
from feedmill.events.errors import BadArtifact, BadEvent, BadSetting, FeedmillError, UsageError
from feedmill.events.experiment import WHOLE, decode_experiment
from feedmill.events.post import Deletion, Post
from feedmill.events.reader_bounds import ReaderBounds
from feedmill.events.reasons import DECODE_ERRORS, MAX_REASON_CHARACTERS
from feedmill.events.settings import Settings
from feedmill.events.signal import SignalNames
from feedmill.experiments.checks import ExperimentRecord, decode_record
from feedmill.experiments.page import page_of
from feedmill.experiments.report import report_of
from feedmill.experiments.table import read_table
from feedmill.features.post_batch import PostBatch
from feedmill.features.text.ngrams import BUCKETS, TextBatch
from feedmill.features.text.shape import SHAPE_COLUMNS
from feedmill.filters.list_store import pack_list, read_entries, read_list
from feedmill.filters.lists import KINDS, FilterRules, ListSet
from feedmill.models.artifact import (
    ModelCard,
    pack_artifact,
    read_artifact,
    read_card,
    save_artifact,
    sha256_of,
)
from feedmill.models.text_model import read_ngram_model, read_trees, tree_arrays
from feedmill.models.trees import Trees
from feedmill.rankers.engagement import HEADS, ExpectedClicks
from feedmill.readers.page import shown_in
from feedmill.readers.request import BadRequest, decode_request
from feedmill.streams.engagement.partition_state import PartitionState
from feedmill.streams.environment import read_environment
from feedmill.streams.kafka.offsets import CommitMark, decode_mark

Target = Callable[[bytes], bool]

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"
NAMES = SignalNames.parse("extreme:gate,novelty:objective")
FEATURES = ("one", "two")
# The trees of engagement read the lift and the shape.
_TREE_COLUMNS = 1 + len(SHAPE_COLUMNS)
# What a reason may have beside the text that was found.
_MAX_REASON = MAX_REASON_CHARACTERS + 200
# LightGBM's text of one tree with two leaves.
TREES = """tree
max_feature_idx=1

Tree=0
num_leaves=2
split_feature=0
threshold=0.5
decision_type=2
left_child=-1
right_child=-2
leaf_value=0.25 -0.25
"""
_BOUNDS = ReaderBounds({"quality": (0, 2)}, {"hide": (0, 16)}, (6, 168), (-8, 2))
_POST = Post("p", "ann", 1, "Buy n0w at shop.example, it is f r e e", links=("https://a.example",))


def accepted(read: Callable[..., Any], refusal: type[FeedmillError], *arguments: Any) -> bool:
    """Call a reader; False where it refuses with a reason that somebody can read."""
    try:
        read(*arguments)
    except refusal as error:
        reason = str(error)
        assert len(reason) > 10
        if refusal in (BadEvent, BadSetting):
            assert len(reason) <= _MAX_REASON
            reason.encode()  # it goes into a header of Kafka
        return False
    return True


def of_topic(topic: str) -> Target:
    """The decoder of a topic; what it accepts is the same event once it is encoded again."""
    decoder = decoder_of(topic, NAMES) if topic != "labels" else decode_label
    assert decoder is not None
    decode: Callable[[bytes | None, bytes | None], Any] = decoder

    def decode_twice(key: bytes, value: bytes) -> None:
        event = decode(key, value)
        content = event[1] if isinstance(event, tuple) else event
        if isinstance(content, msgspec.Struct) and not isinstance(content, Deletion):
            assert decode(key, encode(content)) == event

    def target(content: bytes) -> bool:
        key, _, value = content.partition(b"\n")
        return accepted(decode_twice, BadEvent, key, value)

    return target


def instances(content: bytes) -> bool:
    return accepted(decode_instance, BadEvent, content)


def config(content: bytes) -> bool:
    """A record of `config`; what is accepted serves every feed, and its rules match posts."""
    key, _, value = content.partition(b"\n")

    def fold() -> None:
        settings = Settings(NAMES).fold(key, value, 0)
        for feed in ("global", "community:c"):
            assert settings.weights_of(feed).as_dict()
            assert set(settings.gates_of(feed)) == set(NAMES.gates)
            assert settings.feed_of(feed) is not None
        for name in NAMES.filters:
            rules = FilterRules(name)
            rules.set_settings(settings)
            rules.verdicts([_POST], [1])

    return accepted(fold, BadSetting)


def experiments(content: bytes) -> bool:
    """The setting of an experiment, and beside it a record of what is known of one."""
    accepted(lambda: decode_record(content, "record.json"), UsageError)

    def decode() -> None:
        experiment = decode_experiment(msgspec.json.decode(content), NAMES)
        assert sum(experiment.shares.values()) == WHOLE
        assert experiment.treatments

    try:
        return accepted(decode, BadSetting)
    except DECODE_ERRORS:
        return False


def experiment_table(content: bytes) -> bool:
    """A table of an experiment's users as CSV."""
    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        file.write(content)
        file.flush()

        def analyse() -> None:
            table = read_table(Path(file.name), experiment_of())
            report = report_of("drawn", table, experiment_of(), ExperimentRecord())
            assert page_of(report)

        try:
            analyse()
        except UsageError as error:
            assert len(str(error)) <= _MAX_REASON
            return False
        return True


def post_lines(content: bytes) -> bool:
    """A file of posts for `feedmill score`, plain or gzip; False where any line is refused."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        try:
            return all(isinstance(post, Post) for _, post in read_posts(file.name))
        except UsageError:
            return False


def environment(content: bytes) -> bool:
    """Variables of the environment, a line each."""
    lines = content.decode("utf-8", "surrogateescape").replace("\0", "").splitlines()
    pairs = (line.partition("=") for line in lines)
    variables = {name: value for name, equals, value in pairs if equals}
    return accepted(read_environment, UsageError, variables)


def counters(content: bytes) -> bool:
    """A record of `counters`; what is accepted is counted on and put away."""
    key, _, value = content.partition(b"\n")
    state = PartitionState()
    if state.restore([StoredRecord(key=key, value=value)]):
        return False
    for post_id in ("p1", key.decode("utf-8", "replace")):
        event = Engagement(post_id, "u", "click", 1)
        state.count([(StoredRecord(offset=2**40, timestamp=2), event)])
    state.pack()
    return True


def commit_mark(content: bytes) -> bool:
    """The text that stands beside a committed offset."""
    return decode_mark(content.decode("utf-8", "replace")) != CommitMark()


def artifact(content: bytes) -> bool:
    """The bytes of an artifact beside a card that has their sha256."""
    card = ModelCard("toy", sha256_of(content), "2026-01-01", "", 2, [], {}, [], "")
    with tempfile.TemporaryDirectory() as folder:
        save_artifact(Path(folder), card, content)
        return accepted(_load, BadArtifact, Path(folder))


def artifact_member(content: bytes) -> bool:
    """One member of an artifact whose other members are right: its name, then its bytes."""
    return artifact(_with_member(toy_artifact(), content))


def list_member(content: bytes) -> bool:
    """One member of a list's artifact whose other members are right: its name, then its bytes."""
    # The members of a list of phrases are those of every other kind, and its own.
    right = pack_list("spam", "bad", "phrases", "hide", entries_of("phrases", ("a", "b c", "$")))
    packed = _with_member(right, content)
    with tempfile.TemporaryDirectory() as folder:
        sha256 = sha256_of(packed)
        (Path(folder) / f"{sha256}.npz").write_bytes(packed)

        def load() -> None:
            found = ListSet([read_list(Path(folder), "spam", "bad", sha256)])
            assert len(found.verdicts([_POST])) == 1

        return accepted(load, BadArtifact)


def list_lines(content: bytes) -> bool:
    """A file of entries, behind a line with their kind."""
    kind, _, lines = content.partition(b"\n")
    known = next((one for one in KINDS if one.encode() == kind), "domains")
    with tempfile.NamedTemporaryFile() as file:
        file.write(lines)
        file.flush()
        return accepted(read_entries, UsageError, Path(file.name), known)


def _with_member(whole: bytes, content: bytes) -> bytes:
    """Return an artifact with another member: its name, a line break, its bytes."""
    name, _, member = content.partition(b"\n")
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        right = {one: archive.read(one) for one in archive.namelist()}
    with zipfile.ZipFile(packed, "w") as archive:
        for one, raw in {**right, f"{name[:40].decode('ascii', 'replace')}.npy": member}.items():
            archive.writestr(zipfile.ZipInfo(one), raw)
    return packed.getvalue()


def trees(content: bytes) -> bool:
    """LightGBM's text; what is accepted scores rows."""

    def score() -> None:
        parsed = Trees.parse(content.decode("utf-8", "replace"))
        if parsed.feature_count <= 8:
            assert parsed.raw_scores(np.zeros((3, parsed.feature_count))).shape == (3,)

    return accepted(score, BadArtifact)


def card(content: bytes) -> bool:
    """The text of a model card; no artifact is beside it."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "toy.json").write_bytes(content)
        assert not accepted(read_artifact, BadArtifact, Path(folder), "toy", FEATURES)
        return accepted(read_card, BadArtifact, Path(folder), "toy")


def _load(store: Path) -> None:
    """Read every kind of part that models have, and score by it."""
    stored = read_artifact(store, "toy", FEATURES)
    posts = [Post("p", "a", 1, "a text")]
    assert read_ngram_model(stored, "click").score(TextBatch(["a text"])).shape == (1,)
    assert np.isfinite(ExpectedClicks.of(stored).prior_batch(PostBatch(posts))).all()
    forest = read_trees(stored, "trees", _TREE_COLUMNS)
    assert np.isfinite(forest.raw_scores(np.zeros((2, _TREE_COLUMNS)))).all()


@cache
def toy_artifact() -> bytes:
    """A small artifact with every kind of part."""
    arrays = {
        "curve_raw": np.array([0.0, 1.0]),
        "curve_log_odds": np.array([-1.0, 1.0]),
        **tree_arrays(TREES.replace("idx=1", f"idx={_TREE_COLUMNS - 1}")),
    }
    for kind in HEADS:
        arrays[f"table_{kind}"] = np.zeros(BUCKETS, np.int16)
        arrays[f"linear_{kind}"] = np.array([1.0, 0.0, 1.0])
        arrays[f"shape_{kind}"] = np.zeros(len(SHAPE_COLUMNS))
    weights = dict.fromkeys(HEADS, 0.1)
    metadata = {"name": "toy", "base": 0.1, "prior_weight": 2.0, "head_weights": weights}
    return pack_artifact(metadata, FEATURES, arrays)


def kept_inputs(target: str) -> dict[str, bytes]:
    """The kept corpus of a target by the names of its files; `good…` is accepted, `bad…` is not."""
    kept = {path.name: path.read_bytes() for path in sorted((CORPUS / target).iterdir())}
    # An artifact that this build accepts has this build's versions in it, so it is made here.
    return {"good-made": toy_artifact(), **kept} if target == "artifact" else kept


_TOPICS = ("posts", "engagements", "exposures", "overrides", "labels")


def page_request(content: bytes) -> bool:
    """The body of a request to a reader; of what is accepted the weights and the cursor, too."""

    def read() -> None:
        request = decode_request(content, _BOUNDS)
        request.weights_in(Settings(NAMES).weights_of("global"), NAMES)
        shown_in("global", request.cursor)

    return accepted(read, BadRequest)


TARGETS: Mapping[str, Target] = {
    **{topic: of_topic(topic) for topic in _TOPICS},
    "signals": of_topic("signals.spam"),
    "instances": instances,
    "counters": counters,
    "commit_mark": commit_mark,
    "config": config,
    "experiments": experiments,
    "experiment_table": experiment_table,
    "post_lines": post_lines,
    "page_request": page_request,
    "environment": environment,
    "artifact": artifact,
    "artifact_member": artifact_member,
    "list_member": list_member,
    "list_lines": list_lines,
    "trees": trees,
    "card": card,
}
