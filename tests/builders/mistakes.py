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

from feedmill.filters.model import STORE
from feedmill.models.artifact import card_file, pack_artifact, read_card, sha256_of, unpack_artifact
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


def _score(what: str, words: str, instead: str = "spam post.jsonl") -> Mistake:
    return Mistake(what, f"score {words}", (f"score {instead}",))


def _train(what: str, words: str) -> Mistake:
    return Mistake(what, f"train spam {words}".strip(), TRAIN)


def _build(what: str, words: str) -> Mistake:
    return Mistake(what, f"lists build {words}", BUILD)


def _set(what: str, words: str, instead: str) -> Mistake:
    return Mistake(what, f"config set {words}", (f"config set {instead} --timeout 0",))


def _override(what: str, words: str, instead: str) -> Mistake:
    return Mistake(what, f"override {words}", (f"override {instead} --timeout 0",))


SAMPLE = "spam sample/posts.jsonl"
FILES = (
    _score("a model misspelt", "spma sample/posts.jsonl", SAMPLE),
    _score("a file misspelt", "spam sample/post.jsonl", SAMPLE),
    _score("a folder instead of a file", "spam sample", SAMPLE),
    _score("times in seconds", "spam seconds.jsonl"),
    _score("a field misspelt", "spam misspelt.jsonl"),
    _score("an array instead of lines", "spam array.json"),
    _score("CSV instead of JSON lines", "spam sample/labelled.csv", SAMPLE),
    _score("a download that broke off", "spam cut.jsonl.gz"),
    _score("a file in UTF-16", "spam utf16.jsonl"),
    _score(
        "posts instead of engagements",
        *(f"engagement post.jsonl --engagements {name}.jsonl" for name in ("post", "likes")),
    ),
    _score(
        "an option of another model", "quality post.jsonl --explain", "spam post.jsonl --explain"
    ),
    _score("a store that is a file", "spam post.jsonl --model post.jsonl", SAMPLE),
    Mistake(
        "a sample of no posts",
        "labels sample spam post.jsonl --count 0",
        ("labels sample spam post.jsonl --count 1",),
    ),
    *_unwritable("a folder that one may not write to", "sample made", ("sample made",)),
)

EVALUATE = (f"evaluate spam --data {GOOD} --looks looks",)
TRAINING = (
    _train("no data", ""),
    _train("a data file misspelt", "--data sample/labeled.csv"),
    _train("no column of labels", "--data sample/labelled.csv"),
    _train("a column misspelt", "--data sample/labelled.csv,text=boddy,label=kind,positive=junk"),
    _train("labels that are words", "--data sample/labelled.csv,text=body,label=kind"),
    _train(
        "a label that no row has", "--data sample/labelled.csv,text=body,label=kind,positive=jumk"
    ),
    _train("an option misspelt", "--data sample/labelled.csv,lable=kind"),
    _train("a spreadsheet", "--data sheet.xlsx"),
    _train("a header without rows", "--data header.csv"),
    _train("a bad row", "--data badrow.csv"),
    _train("too few rows", "--data few.csv"),
    Mistake(
        "too few ordinary posts",
        f"train spam --data {GOOD} --ordinary few.csv,text=text",
        (f"train spam --data {GOOD} --ordinary sample/ordinary.jsonl,group=author --out made",),
    ),
    _train("a store that is a file", f"--data {GOOD} --out post.jsonl"),
    _train("a base that is not there", f"--data {GOOD} --base nowhere"),
    _train("a time without labels", f"--data {GOOD} --since 2026-01-01"),
    _train("a time to come", "--from-labels --since 2100-01-01"),
    _train("a file twice", f"--data {GOOD} --data {GOOD}"),
    Mistake("posts for a ranker", "train engagement --data sample/labelled.csv", TRAIN),
    *_unwritable(
        "a store that one may not write to",
        f"train spam --data {GOOD} --no-snapshot --out made",
        TRAIN,
    ),
    Mistake("no model to evaluate", "evaluate", EVALUATE),
    Mistake("no label to evaluate by", "evaluate spam --data sample/ordinary.jsonl", EVALUATE),
)

LICENSED = f"{LIST} --licence mine"
STORES = (
    Mistake("an altered model", "score spam post.jsonl --model altered", _again("altered")),
    Mistake("a model that is gone", "score spam post.jsonl --model gone", _again("gone")),
    _score("a card that is none", "spam post.jsonl --model no-card", SAMPLE),
    Mistake("a store of an old feedmill", "score spam post.jsonl --model old", _again("old")),
    _score("too few digits", "spam post.jsonl --version 7082", SAMPLE),
    _score("a version that is not there", "spam post.jsonl --version ffffff", SAMPLE),
    _score("a password in an address", "spam --model s3://me:secret@bucket/x", SAMPLE),
    _build("a wrong line in a list", f"bad-domains.txt {LICENSED} --kind domains"),
    _build("an empty list", f"empty.jsonl {LICENSED} --kind domains"),
    _build("a photo for a list", f"photo.jpg {LICENSED} --kind domains"),
    _build("domains for hashes", f"sample/domains.txt {LICENSED} --kind media"),
    _build("a list in no store", f"sample/domains.txt {NO_STORE} --licence mine --kind domains"),
    Mistake(
        "a list that the store lacks",
        "lists release spam worse",
        (f"lists build sample/domains.txt {LICENSED} --kind domains".replace("bad", "worse"),),
        {"FEEDMILL_MODELS": "made"},
    ),
    _build("a kind that no list has", f"empty.jsonl {LICENSED} --kind hosts"),
    _build("a list without a licence", f"sample/domains.txt {LIST} --kind domains"),
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
    _set("a weight misspelt", "weights alpah=0.2 beta=0.8", "weights alpha=0.2 beta=0.8"),
    _set("a weight that is a word", "weights alpha=much beta=0.8", "weights alpha=0.3 beta=0.8"),
    _set("a weight below zero", "weights alpha=-0.5 beta=0.8", "weights alpha=0.5 beta=0.8"),
    _set("a weight that is no number", "weights alpha=nan beta=0.8", "weights alpha=0.2 beta=0.8"),
    _set("weights that are all zero", "weights alpha=0 beta=0", "weights alpha=0 beta=1"),
    _set("a half-life of nothing", "weights half_life_hours=0", "weights half_life_hours=12"),
    _set("a threshold that is a word", "gates spam.hide_at=high", "gates spam.hide_at=0.8"),
    _set("a wrong type in JSON", "gates '{{\"spam\": {{\"hide_at\": \"high\"}}}}'",
         "gates '{{\"spam\": {{\"hide_at\": 0.8}}}}'"),
    _set("a number for a gate", "gates spam=0.8", "gates spam.hide_at=0.8"),
    _set("a file's name for its content", "gates gates.json",
         "gates '{{\"spam\": {{\"hide_at\": 0.8}}}}'"),
    _set("JSON that breaks off", "rules/spam '{{\"a\": {{\"phrases\": [\"x\"]'",
         "rules/spam 'a.phrases=[\"x\"]' a.verdict=hide"),
    _set("a rule without a verdict", "rules/spam 'b.phrases=[\"x\"]'",
         "rules/spam 'b.phrases=[\"x\"]' b.verdict=demote"),
    Mistake("rules of no filter", "config set rules/spma 'a.phrases=[\"x\"]' a.verdict=hide",
            ("config get rules/spam",)),
    Mistake("the history of no setting", "config history weigths", ("config history weights",)),
    _set("a percentage for a threshold", "gates spam.hide_at=80", "gates spam.hide_at=0.8"),
    _set("a gate misspelt", "gates spma.hide_at=0.8", "gates spam.hide_at=0.85"),
    _set("a feed of no posts", "feeds/mine '{{\"size\": 0}}'", "feeds/mine '{{\"size\": 10}}'"),
    Mistake("a setting that is none", "config set weight alpha=1", GET),
    Mistake("nothing to go back to", "config rollback feeds/yours",
            ("config history feeds/yours",)),
    _set("a pattern that is none", "rules/spam 'a.patterns=[\"(\"]' a.verdict=hide",
         "rules/spam 'a.patterns=[\"[(]\"]' a.verdict=hide"),
    Mistake("an override of nobody", "override hide author:", ("override list",)),
    Mistake("overrides of a post without its kind", "override list p1",
            ("override list post:p1",)),
    _override("an end that is a day", "demote author:ann --expires 2020-01-01",
              "demote author:ann --expires 30d"),
    _override("a post without its kind", "hide p1", "hide post:p1"),
    _override("a duration without a unit", "demote author:ann --expires 7",
              "demote author:ann --expires 7d"),
    Mistake("a feed misspelt", "posts --feed globl", ("posts --feed global",)),
    _override("a gate that is none", "allow post:p1 --gate quality", "allow post:p1 --gate spam"),
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
