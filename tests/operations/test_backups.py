"""What people decided and trained comes back under an empty prefix, whole or not at all."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME

from builders.golden import Golden
from builders.kafka_log import KafkaLog
from feedmill.deploy.local import StackAddress
from feedmill.events.decode import encode
from feedmill.events.errors import UsageError
from feedmill.events.label import Label
from feedmill.events.override import Override
from feedmill.events.partition import partition_of
from feedmill.events.release import Candidate, ModelRelease
from feedmill.events.signal import SignalNames
from feedmill.filters.registry import FILTERS
from feedmill.operations import backups
from feedmill.operations.backups import make_backup, restore_backup
from feedmill.operations.changes import Change, MadeBy, write_change
from feedmill.streams.kafka.topic_reader import TopicRecord, read_all
from feedmill.streams.kafka.topic_table import KEPT
from feedmill.streams.releases.release_log import ReleaseFold
from feedmill.streams.settings.config_log import fold_log

pytestmark = pytest.mark.stack
ANN = MadeBy("ann", "ann", "host", "restore", "why")
NOW_MS = 1_790_000_000_000
POSTS = [f"p{n}" for n in range(20)]
WEIGHTS = b'{"value": {"quality": %s, "engagement": 0.5}, "if_offset": %d}'


class Kept(NamedTuple):
    """An installation with its store, and a backup of it, of which tests alter backups."""

    log: KafkaLog
    store: Path
    folder: Path


@pytest.fixture(scope="module")
def kept(stack: StackAddress, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    folder = tmp_path_factory.mktemp("backup")
    log = KafkaLog.created(stack.kafka, f"backup-{os.getpid()}.", 2)
    decide(log)
    store = folder / "store"
    (store / "snapshots").mkdir(parents=True)
    (store / "spam.json").write_bytes(b"{}")
    (store / "spam.npz.1.part").write_bytes(b"half")
    (store / "snapshots" / "rows.parquet").write_bytes(b"rows")
    manifest, files = make_backup(log.environment, store, folder / "kept", NOW_MS)
    assert files == 2
    assert manifest.records["config"] == manifest.records["labels"] == 4
    return Kept(log, store, folder / "kept")


@pytest.fixture(scope="module")
def empty(stack: StackAddress) -> KafkaLog:
    """An installation into which nothing may be written."""
    return KafkaLog.created(stack.kafka, f"empty-{os.getpid()}.", 3)


@pytest.fixture
def new(stack: StackAddress, prefix: str) -> KafkaLog:
    return KafkaLog.created(stack.kafka, prefix, 5)


def decide(log: KafkaLog) -> None:
    """What people do in a year, each change in a transaction of its own."""

    def change(topic: str, key: str, value: bytes | None, *, is_keyed: bool = False) -> int:
        made = Change(topic, key, value, None, is_keyed=is_keyed)
        return write_change(log.environment, ANN, made).offset

    first = change("config", "weights", WEIGHTS % (b"0.1", -1))
    change("config", "rules/spam", b'{"value": {}}')
    change("config", "weights", WEIGHTS % (b"0.2", first))
    # Somebody lost a race: no worker applies it, before and after.
    change("config", "weights", WEIGHTS % (b"0.9", first))
    version = ModelRelease(sha256="a" * 64, answers=(0.5,), by="ann")
    change("models", "spam", encode(version))
    tried = Candidate(sha256="b" * 64, answers=(0.5,), by="ann", partitions=1)
    begun = change("models", "candidate/spam", encode(tried))
    change(
        "models",
        "spam",
        encode(ModelRelease(sha256="b" * 64, answers=(0.5,), by="ann", candidate=begun)),
    )
    override = Override("hide", "ann", "why", NOW_MS)
    change("overrides", "post:p1|*", encode(override))
    change("overrides", "post:p2|*", encode(replace_offset(override, 7)))
    change("overrides", "post:p3|*", encode(replace_offset(override, 8)))
    change("overrides", "post:p3|*", None)
    for post_id in POSTS[:4]:
        label = encode(Label(post_id, "spam", 1.0, "ann", NOW_MS))
        change("labels", post_id, label, is_keyed=True)


def replace_offset(override: Override, offset: int) -> Override:
    return Override(
        override.verdict, override.by, override.reason, override.at_ms, post_offset=offset
    )


def read(log: KafkaLog, topic: str) -> list[tuple[bytes | None, bytes | None, int]]:
    """The records of a topic by their stamps."""
    found = read_all(log.environment, topic)
    return sorted(
        ((one.key, one.value, one.at_ms) for one in found),
        key=lambda one: (one[2], one[0]),
    )


def settings_of(log: KafkaLog) -> tuple[object, ...]:
    folded = fold_log(read_all(log.environment, "config"), SignalNames()).settings
    return folded.weights, folded.rules


def releases_of(log: KafkaLog) -> tuple[object, ...]:
    fold = ReleaseFold([*FILTERS], kept=None)
    for record in read_all(log.environment, "models"):
        fold.apply(record)
    return [release and release.sha256 for _, release in fold.latest("spam")], fold.refused_count


def test_all_comes_back_with_its_stamps_under_other_offsets_and_partitions(
    kept: Kept, new: KafkaLog, tmp_path: Path
) -> None:
    old = kept.log
    there = tmp_path / "there"
    restored = restore_backup(new.environment, there, kept.folder, ANN)
    assert restored.versions == ("post:p2|*",)
    assert settings_of(new) == settings_of(old)
    assert settings_of(new)[0]
    assert releases_of(new) == releases_of(old) == (["b" * 64, "a" * 64], 0)
    for topic in ("overrides", "labels"):
        assert read(new, topic) == read(old, topic)
    labels = new.read("labels")
    assert all(partition_of(one.key(), 5) == one.partition() for one in labels)
    assert set(read(old, "audit")) < set(read(new, "audit"))
    names = [path.relative_to(there).as_posix() for path in there.rglob("*") if path.is_file()]
    assert sorted(names) == ["snapshots/rows.parquet", "spam.json"]

    moved = restored.offsets["config"]
    assert [*moved] == [one.offset for one in read_all(old.environment, "config")]
    assert [*moved.values()] == [one.offset for one in read_all(new.environment, "config")]
    # What is written next has the broker's stamp.
    new.produce("config", [(b"x", b"x")])
    assert new.read("config")[-1].timestamp()[0] == TIMESTAMP_LOG_APPEND_TIME


def test_an_interrupted_restore_leaves_nothing_and_is_run_again(
    kept: Kept, new: KafkaLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = backups._records_of

    def killed(path: Path) -> Iterator[TopicRecord]:
        if path.name == "labels.jsonl":
            raise KeyboardInterrupt
        yield from original(path)

    monkeypatch.setattr(backups, "_records_of", killed)
    with pytest.raises(KeyboardInterrupt):
        restore_backup(new.environment, tmp_path / "there", kept.folder, ANN)
    assert new.read("config") == new.read("models") == []
    monkeypatch.setattr(backups, "_records_of", original)
    restore_backup(new.environment, tmp_path / "there", kept.folder, ANN)
    assert settings_of(new) == settings_of(kept.log)
    assert len(new.read("labels")) == 4


# --- what is refused ------------------------------------------------------------------------------


def altered(name: str) -> Callable[[Path], None]:
    def alter(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return alter


def signed(folder: Path, lines: dict[str, str]) -> None:
    """Replace parts of the sums by others."""
    path = folder / "SHA256SUMS"
    text = path.read_text()
    for before, after in lines.items():
        assert before in text
        text = text.replace(before, after)
    path.write_text(text)


def of_another_build(folder: Path) -> None:
    path = folder / "manifest.json"
    before = path.read_bytes()
    after = before.replace(backups.BUILD.encode(), b"9.9.9")
    path.write_bytes(after)
    signed(folder, {hashlib.sha256(before).hexdigest(): hashlib.sha256(after).hexdigest()})


def linked(folder: Path) -> None:
    path = folder / "store" / "spam.json"
    path.unlink()
    path.symlink_to("/etc/hostname")


MISTAKES: dict[str, Callable[[Path], object]] = {
    "a byte of the manifest": altered("manifest.json"),
    "a byte of a topic": altered("topics/labels.jsonl"),
    "a byte of the store": altered("store/spam.json"),
    "a byte of the sums": lambda folder: signed(folder, {"  manifest": "  Manifest"}),
    "half written": lambda folder: (folder / "SHA256SUMS").unlink(),
    "a topic is gone": lambda folder: (folder / "topics" / "config.jsonl").unlink(),
    "a topic is left out": lambda folder: signed(folder, {"topics/config.jsonl": "topics/x"}),
    "a file outside": lambda folder: signed(folder, {"store/spam.json": "store/../../x"}),
    "a link": linked,
    "another build": of_another_build,
}


def test_a_wrong_backup_is_refused_by_name_and_nothing_is_written(
    kept: Kept, empty: KafkaLog, tmp_path: Path, golden: Golden
) -> None:
    said = []
    for number, (mistake, alter) in enumerate(MISTAKES.items()):
        folder = tmp_path / str(number)
        shutil.copytree(kept.folder, folder)
        alter(folder)
        with pytest.raises(UsageError) as refusal:
            restore_backup(empty.environment, tmp_path / "there", folder, ANN)
        text = str(refusal.value).replace(str(folder), "<folder>")
        said.append(f"{mistake}: {text.replace(backups.BUILD, '<this version>')}\n")
    golden.check("backup_refusals.txt", "".join(said))
    assert not any(empty.read(topic) for topic in KEPT)
    assert not (tmp_path / "there").exists()


def test_a_used_prefix_and_a_missing_one_are_refused(kept: Kept, tmp_path: Path) -> None:
    before = kept.log.read("config"), kept.log.read("audit")
    with pytest.raises(UsageError, match=r"has records: .*Nothing was written"):
        restore_backup(kept.log.environment, tmp_path / "there", kept.folder, ANN)
    assert len(kept.log.read("config")) == len(before[0])
    assert len(kept.log.read("audit")) == len(before[1])
    nowhere = replace(kept.log.environment, topic_prefix="nowhere.")
    with pytest.raises(UsageError, match="feedmill topics create"):
        restore_backup(nowhere, tmp_path / "there", kept.folder, ANN)
    assert not (tmp_path / "there").exists()


def test_another_file_of_a_store_or_a_folder_is_never_replaced(
    kept: Kept, empty: KafkaLog, tmp_path: Path
) -> None:
    (tmp_path / "spam.json").write_bytes(b'{"other": 1}')
    with pytest.raises(UsageError, match=r"spam.json is another file than the backup's"):
        restore_backup(empty.environment, tmp_path, kept.folder, ANN)
    with pytest.raises(UsageError, match="set FEEDMILL_MODELS"):
        restore_backup(empty.environment, None, kept.folder, ANN)
    with pytest.raises(UsageError, match="expected a new or empty folder"):
        make_backup(empty.environment, None, tmp_path, NOW_MS)
    assert (tmp_path / "spam.json").read_bytes() == b'{"other": 1}'
    assert empty.read("config") == empty.read("audit") == []
