"""What users do wrong, and what works instead: the table behind `tests/cli/mistakes`.

Each mistake is a command that fails, and the commands to which its text leads.
"""

import errno
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import msgspec

from feedmill.filters.spec import STORE
from feedmill.models.artifact import (
    card_file,
    pack_artifact,
    read_card,
    sha256_of,
    unpack_artifact,
)
from feedmill.simulation.sample_files import sample_files

POST = {"post_id": "p1", "author_id": "ann", "created_at_ms": 1_795_541_438_542, "text": "Hello"}
# Nothing listens on port 1, so the connection is refused at once.
NO_KAFKA, NO_REDIS = "127.0.0.1:1", "redis://127.0.0.1:1/0"


class Mistake(NamedTuple):
    """What somebody did, the command that fails, and what works instead.

    Attributes
    ----------
    what, line
        In words, and as it was typed.
    instead
        The way out: commands that succeed one after the other.
    variables
        Of the environment of the command that fails.
    writes_fail
        The number of the error of every write meanwhile: a full disk, a read-only folder.
    """

    what: str
    line: str
    instead: tuple[str, ...]
    variables: Mapping[str, str] = {}
    writes_fail: int = 0


SCORE = ("score spam sample/posts.jsonl",)
GOOD = "sample/labelled.csv,text=body,label=kind,positive=junk,group=author"
TRAIN = (f"train spam --data {GOOD} --no-snapshot --out made --day 2026-01-01",)
LIST = "--filter spam --name bad --verdict hide --source me --date 2026-01-01 --out made"


def _again(store: str) -> tuple[str, str]:
    """Train the model of a store again, and use it."""
    train = f"train spam --data {GOOD} --no-snapshot --day 2026-01-01 --out {store}"
    return train, f"score spam post.jsonl --model {store}"


NO_STORE = LIST.removesuffix(" --out made")


def _unwritable(folder: str, line: str, instead: tuple[str, ...]) -> tuple[Mistake, Mistake]:
    """What happens where a command writes, and cannot."""
    return (
        Mistake(folder, line, instead, {}, errno.EACCES),
        Mistake("a full disk", line, instead, {}, errno.ENOSPC),
    )


BUILD = (f"lists build sample/domains.txt {LIST} --licence mine --kind domains",)

FILES = (
    Mistake("a model misspelt", "score spma sample/posts.jsonl", SCORE),
    Mistake("a file misspelt", "score spam sample/post.jsonl", SCORE),
    Mistake("a folder instead of a file", "score spam sample", SCORE),
    Mistake("times in seconds", "score spam seconds.jsonl", ("score spam post.jsonl",)),
    Mistake("a field misspelt", "score spam misspelt.jsonl", ("score spam post.jsonl",)),
    Mistake("an array instead of lines", "score spam array.json", ("score spam post.jsonl",)),
    Mistake("CSV instead of JSON lines", "score spam sample/labelled.csv", SCORE),
    Mistake("a download that broke off", "score spam cut.jsonl.gz", ("score spam post.jsonl",)),
    Mistake("a file in UTF-16", "score spam utf16.jsonl", ("score spam post.jsonl",)),
    Mistake(
        "posts instead of engagements",
        "score engagement post.jsonl --engagements post.jsonl",
        ("score engagement post.jsonl --engagements likes.jsonl",),
    ),
    Mistake(
        "an option of another model",
        "score quality post.jsonl --explain",
        ("score spam post.jsonl --explain",),
    ),
    Mistake("a store that is a file", "score spam post.jsonl --model post.jsonl", SCORE),
    Mistake(
        "a sample of no posts",
        "labels sample spam post.jsonl --count 0",
        ("labels sample spam post.jsonl --count 1",),
    ),
    *_unwritable("a folder that one may not write to", "sample made", ("sample made",)),
)

TRAINING = (
    Mistake("no data", "train spam", TRAIN),
    Mistake("a data file misspelt", "train spam --data sample/labeled.csv", TRAIN),
    Mistake("no column of labels", "train spam --data sample/labelled.csv", TRAIN),
    Mistake(
        "a column misspelt",
        "train spam --data sample/labelled.csv,text=boddy,label=kind,positive=junk",
        TRAIN,
    ),
    Mistake(
        "labels that are words",
        "train spam --data sample/labelled.csv,text=body,label=kind",
        TRAIN,
    ),
    Mistake(
        "a label that no row has",
        "train spam --data sample/labelled.csv,text=body,label=kind,positive=jumk",
        TRAIN,
    ),
    Mistake("an option misspelt", "train spam --data sample/labelled.csv,lable=kind", TRAIN),
    Mistake("a spreadsheet", "train spam --data sheet.xlsx", TRAIN),
    Mistake("a header without rows", "train spam --data header.csv", TRAIN),
    Mistake("a bad row", "train spam --data badrow.csv", TRAIN),
    Mistake("too few rows", "train spam --data few.csv", TRAIN),
    Mistake(
        "too few ordinary posts",
        f"train spam --data {GOOD} --ordinary few.csv,text=text",
        (f"train spam --data {GOOD} --ordinary sample/ordinary.jsonl,group=author --out made",),
    ),
    Mistake("a store that is a file", f"train spam --data {GOOD} --out post.jsonl", TRAIN),
    Mistake("a base that is not there", f"train spam --data {GOOD} --base nowhere", TRAIN),
    Mistake("a time without labels", f"train spam --data {GOOD} --since 2026-01-01", TRAIN),
    Mistake("a time to come", "train spam --from-labels --since 2100-01-01", TRAIN),
    Mistake("a file twice", f"train spam --data {GOOD} --data {GOOD}", TRAIN),
    Mistake("posts for a ranker", "train engagement --data sample/labelled.csv", TRAIN),
    *_unwritable(
        "a store that one may not write to",
        f"train spam --data {GOOD} --no-snapshot --out made",
        TRAIN,
    ),
    Mistake("no model to evaluate", "evaluate", (f"evaluate spam --data {GOOD} --looks looks",)),
    Mistake(
        "no label to evaluate by",
        "evaluate spam --data sample/ordinary.jsonl",
        (f"evaluate spam --data {GOOD} --looks looks",),
    ),
)

STORES = (
    Mistake("an altered model", "score spam post.jsonl --model altered", _again("altered")),
    Mistake("a model that is gone", "score spam post.jsonl --model gone", _again("gone")),
    Mistake("a card that is none", "score spam post.jsonl --model no-card", SCORE),
    Mistake("a store of an old feedmill", "score spam post.jsonl --model old", _again("old")),
    Mistake("too few digits", "score spam post.jsonl --version 7082", SCORE),
    Mistake("a version that is not there", "score spam post.jsonl --version ffffff", SCORE),
    Mistake("a password in an address", "score spam --model s3://me:secret@bucket/x", SCORE),
    Mistake(
        "a wrong line in a list",
        f"lists build bad-domains.txt {LIST} --licence mine --kind domains",
        BUILD,
    ),
    Mistake(
        "an empty list", f"lists build empty.jsonl {LIST} --licence mine --kind domains", BUILD
    ),
    Mistake(
        "a photo for a list", f"lists build photo.jpg {LIST} --licence mine --kind domains", BUILD
    ),
    Mistake(
        "domains for hashes",
        f"lists build sample/domains.txt {LIST} --licence mine --kind media",
        BUILD,
    ),
    Mistake(
        "a list in no store",
        f"lists build sample/domains.txt {NO_STORE} --licence mine --kind domains",
        BUILD,
    ),
    Mistake(
        "a list that the store lacks",
        "lists release spam worse",
        (
            f"lists build sample/domains.txt {LIST.replace('bad', 'worse')} --licence mine --kind"
            " domains",
        ),
        {"FEEDMILL_MODELS": "made"},
    ),
    Mistake(
        "a kind that no list has",
        f"lists build empty.jsonl {LIST} --licence mine --kind hosts",
        BUILD,
    ),
    Mistake(
        "a list without a licence", f"lists build sample/domains.txt {LIST} --kind domains", BUILD
    ),
)

ENVIRONMENT = (
    Mistake("Kafka without a port", "score spam post.jsonl", SCORE, {"FEEDMILL_KAFKA": "kafka"}),
    Mistake("Redis without a scheme", "score spam post.jsonl", SCORE, {"FEEDMILL_REDIS": "r:6379"}),
    Mistake("no address at all", "score spam post.jsonl", SCORE, {"FEEDMILL_KAFKA": ""}),
    Mistake("a port by its name", "score spam post.jsonl", SCORE, {"FEEDMILL_PORT": "http"}),
    Mistake("a wrong kind of signal", "score spam post.jsonl", SCORE, {"FEEDMILL_SIGNALS": "a:b"}),
    Mistake("a percentage", "score spam post.jsonl", SCORE, {"FEEDMILL_FLAGGED_CAP": "10"}),
    Mistake("a prefix that no topic has", "score spam post.jsonl", SCORE,
            {"FEEDMILL_TOPIC_PREFIX": "a/b"}),
    Mistake("a curve of words", "score spam post.jsonl", SCORE, {"FEEDMILL_EXAMINATION": "1;2"}),
    Mistake("a rate that is none", "score spam post.jsonl", SCORE,
            {"FEEDMILL_RESCORE_RATE": "fast"}),
)  # fmt: skip

LOCAL = (
    Mistake("servers that do not run", "local status", ()),
    Mistake("a folder that is a file", "local up --folder post.jsonl", ()),
    Mistake("a port in use", "local up --folder made --redis-port {taken}", ()),
    Mistake("a port that there is not", "local up --kafka-port 70000", ()),
    Mistake("servers in a folder that one may not write to", "local up --folder made", (), {},
            errno.EACCES),
)  # fmt: skip

GET = ("config get weights",)
SERVERS = (
    Mistake("Kafka away", f"config get --kafka {NO_KAFKA}", GET),
    Mistake("Redis away", f"feed global --redis {NO_REDIS}", ("feed global",)),
    Mistake("a user that Redis does not know", "feed global --redis {login}", ("feed global",)),
    Mistake("a database that Redis has not", "feed global --redis {beyond}", ("feed global",)),
    Mistake("an address without a port", "config get --kafka broker", GET),
    Mistake("a prefix with a blank", "config get --prefix 'a b'", GET),
    Mistake("topics that nobody made", "config get --prefix {prefix}other.",
            ("topics create --prefix {prefix}other. --partitions 1",
             "config get --prefix {prefix}other.")),
    Mistake("other partitions than before", "topics create --partitions 3",
            ("topics create --partitions 2",)),
    Mistake("a weight misspelt", "config set weights alpah=0.2 beta=0.8",
            ("config set weights alpha=0.2 beta=0.8 --timeout 0",)),
    Mistake("a weight that is a word", "config set weights alpha=much beta=0.8",
            ("config set weights alpha=0.3 beta=0.8 --timeout 0",)),
    Mistake("a weight below zero", "config set weights alpha=-0.5 beta=0.8",
            ("config set weights alpha=0.5 beta=0.8 --timeout 0",)),
    Mistake("a weight that is no number", "config set weights alpha=nan beta=0.8",
            ("config set weights alpha=0.2 beta=0.8 --timeout 0",)),
    Mistake("weights that are all zero", "config set weights alpha=0 beta=0",
            ("config set weights alpha=0 beta=1 --timeout 0",)),
    Mistake("a half-life of nothing", "config set weights half_life_hours=0",
            ("config set weights half_life_hours=12 --timeout 0",)),
    Mistake("a threshold that is a word", "config set gates spam.hide_at=high",
            ("config set gates spam.hide_at=0.8 --timeout 0",)),
    Mistake("a wrong type in JSON", "config set gates '{{\"spam\": {{\"hide_at\": \"high\"}}}}'",
            ("config set gates '{{\"spam\": {{\"hide_at\": 0.8}}}}' --timeout 0",)),
    Mistake("a number for a gate", "config set gates spam=0.8",
            ("config set gates spam.hide_at=0.8 --timeout 0",)),
    Mistake("a file's name for its content", "config set gates gates.json",
            ("config set gates '{{\"spam\": {{\"hide_at\": 0.8}}}}' --timeout 0",)),
    Mistake("JSON that breaks off", "config set rules/spam '{{\"a\": {{\"phrases\": [\"x\"]'",
            ("config set rules/spam 'a.phrases=[\"x\"]' a.verdict=hide --timeout 0",)),
    Mistake("a rule without a verdict", "config set rules/spam 'b.phrases=[\"x\"]'",
            ("config set rules/spam 'b.phrases=[\"x\"]' b.verdict=demote --timeout 0",)),
    Mistake("rules of no filter", "config set rules/spma 'a.phrases=[\"x\"]' a.verdict=hide",
            ("config get rules/spam",)),
    Mistake("the history of no setting", "config history weigths", ("config history weights",)),
    Mistake("a percentage for a threshold", "config set gates spam.hide_at=80",
            ("config set gates spam.hide_at=0.8 --timeout 0",)),
    Mistake("a gate misspelt", "config set gates spma.hide_at=0.8",
            ("config set gates spam.hide_at=0.85 --timeout 0",)),
    Mistake("a feed of no posts", "config set feeds/mine '{{\"size\": 0}}'",
            ("config set feeds/mine '{{\"size\": 10}}' --timeout 0",)),
    Mistake("a setting that is none", "config set weight alpha=1", GET),
    Mistake("nothing to go back to", "config rollback feeds/yours",
            ("config history feeds/yours",)),
    Mistake("a pattern that is none", "config set rules/spam 'a.patterns=[\"(\"]' a.verdict=hide",
            ("config set rules/spam 'a.patterns=[\"[(]\"]' a.verdict=hide --timeout 0",)),
    Mistake("an override of nobody", "override hide author:", ("override list",)),
    Mistake("overrides of a post without its kind", "override list p1",
            ("override list post:p1",)),
    Mistake("an end that is a day", "override demote author:ann --expires 2020-01-01",
            ("override demote author:ann --expires 30d --timeout 0",)),
    Mistake("a post without its kind", "override hide p1",
            ("override hide post:p1 --timeout 0",)),
    Mistake("a duration without a unit", "override demote author:ann --expires 7",
            ("override demote author:ann --expires 7d --timeout 0",)),
    Mistake("a gate that is none", "override allow post:p1 --gate quality",
            ("override allow post:p1 --gate spam --timeout 0",)),
    Mistake("a feed misspelt", "feed globla", ("feed global",)),
    Mistake("a feed misspelt, to explain", "explain p1 --feed globla", ("explain p1",)),
    Mistake("a post that nobody sent", "explain p9", ("explain p1",)),
    Mistake("a version that no store has", "models release spam ffffff", ("models list spam",)),
    Mistake("nothing was released", "models rollback spam", ("models list spam",)),
    Mistake("a letter that is not there", "dead-letters show 17", ("dead-letters list",)),
    Mistake("a topic misspelt", "dead-letters list --topic post",
            ("dead-letters list --topic posts",)),
    Mistake("labels that nobody gave", "train spam --from-labels",
            ("labels sample spam post.jsonl --count 1",)),
    Mistake("a group that no worker has", "groups describe wroker", ("groups list",)),
    Mistake("a file of bad lines", "replay misspelt.jsonl --strict", ("replay post.jsonl",)),
    Mistake("times in seconds, sent", "replay seconds.jsonl --strict", ("replay post.jsonl",)),
)  # fmt: skip

THEMES = {
    "files": FILES,
    "training": TRAINING,
    "stores": STORES,
    "environment": ENVIRONMENT,
    "local": LOCAL,
    "servers": SERVERS,
}


def make_folder(folder: Path) -> None:
    """Write what the commands read: the sample, and files with something wrong in each."""
    for name, content in sample_files(0).items():
        path = folder / "sample" / name
        path.parent.mkdir(exist_ok=True)
        # A fifth of the rows: the trainings that work take a moment.
        lines = content.splitlines(keepends=True)
        path.write_bytes(b"".join(lines[: max(300, len(lines) // 5)]))
    likes = {"post_id": "p1", "user_id": "bob", "kind": "like", "at_ms": POST["created_at_ms"]}
    line = json.dumps(POST)
    texts = {
        "post.jsonl": line,
        "likes.jsonl": json.dumps(likes),
        "seconds.jsonl": json.dumps({**POST, "created_at_ms": 1_795_541_438}),
        "misspelt.jsonl": line.replace("author_id", "autor_id"),
        "array.json": json.dumps([POST, POST]),
        "empty.jsonl": "",
        "header.csv": "text,label",
        "gates.json": '{"spam": {"hide_at": 0.8}}',
        "badrow.csv": "text,label\nhello,0\nbuy now,seven\n",
        "few.csv": "text,label\n" + "".join(f"word{'x' * i} here,{i % 2}\n" for i in range(12)),
        "bad-domains.txt": "good.example\nhttps://bad.example/path\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(f"{text}\n" if text else "")
    (folder / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0\n\xfe\n")
    (folder / "sheet.xlsx").write_bytes(b"PK\x03\x04")
    (folder / "utf16.jsonl").write_bytes(line.encode("utf-16"))
    (folder / "cut.jsonl.gz").write_bytes(gzip.compress(line.encode() * 100)[:-20])
    _make_stores(folder)


def _make_stores(folder: Path) -> None:
    card = read_card(STORE, "spam")
    artifact = f"{card.sha256}.npz"
    for name in ("altered", "gone", "no-card", "old"):
        (folder / name).mkdir()
        (folder / name / "spam.json").write_bytes((STORE / "spam.json").read_bytes())
    (folder / "altered" / artifact).write_bytes(b"x" + (STORE / artifact).read_bytes()[1:])
    (folder / "no-card" / "spam.json").write_text("{}")
    arrays, metadata = unpack_artifact((STORE / artifact).read_bytes(), "spam")
    with mock.patch("feedmill.models.artifact.FEATURISER_VERSION", 1):
        old = pack_artifact(metadata, metadata["features"], arrays)
    (folder / "old" / f"{sha256_of(old)}.npz").write_bytes(old)
    card = msgspec.structs.replace(card, sha256=sha256_of(old))
    (folder / "old" / "spam.json").write_bytes(card_file(card))
