"""The records of the recorded flow: seeded, in rounds that each try another part of the engine."""

from random import Random
from typing import Any

from builders.golden_invalid import add_invalid
from builders.golden_log import Log, Round
from builders.golden_texts import EDGES, KINDS, changed, disguised, drawn

Json = dict[str, Any]

START_MS = 1_717_200_000_000
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
COMMUNITIES = ("python", "garden", "news", "music")
KINDS_OF_ENGAGEMENT = ("impression", "click", "like", "reply", "share", "dwell", "hide", "report")
HASH = "ab" * 32
ODD_IDS = (
    "é" * 100,
    "at://did:plc:x/app.bsky/3k",
    'a"b',
    "a\\b",
    "日本",
    "\U0001f600",
    "p-10",
    "p-9",
)


class Records:
    """Draws records and keeps in mind which posts there are."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.log = Log(START_MS)
        self.offsets: dict[str, int] = {}
        self.said: dict[str, Json] = {}

    def post(self, post_id: str, text: str, **more: Any) -> int:
        value = {
            "post_id": post_id,
            "author_id": f"author-{self.random.randrange(40)}",
            "created_at_ms": self.log.at_ms - self.random.choice((0, 0, 900, 5000, -70_000)),
            "text": text,
            **more,
        }
        self.said[post_id] = value
        self.offsets[post_id] = self.log.say("posts", post_id, value)
        return self.offsets[post_id]

    def any(self, post_id: str, **more: Any) -> int:
        """A post of any kind."""
        return self.post(post_id, drawn(self.random.choice(list(KINDS)), self.random), **more)

    def place(self) -> Json:
        """Where a post may belong: communities, a language, a thread, an age."""
        random, found = self.random, dict[str, Any]()
        if random.random() < 0.6:
            found["communities"] = random.choices(COMMUNITIES, k=random.choice((1, 1, 2, 3)))
        if random.random() < 0.7:
            found["lang"] = random.choice(("en", "en", "de", "pt-BR"))
        if random.random() < 0.15:
            found["in_reply_to"] = random.choice(("o-1", "nowhere"))
        if random.random() < 0.2:
            found["created_at_ms"] = self.log.at_ms - random.randrange(1, 150) * HOUR_MS
        return found

    def engagements(self, count: int, post_ids: list[str]) -> None:
        random = self.random
        for _ in range(count):
            post_id = random.choice(post_ids)
            said: Json = {
                "post_id": post_id,
                "user_id": f"user-{random.randrange(60)}",
                "kind": random.choice((*KINDS_OF_ENGAGEMENT, "impression", "impression", "click")),
                "at_ms": self.log.at_ms - random.choice((0, 10, 4000, HOUR_MS, 9 * HOUR_MS, -5000)),
            }
            if random.random() < 0.6:
                said["event_id"] = f"event-{random.randrange(25)}"
            if said["kind"] == "dwell":
                said["dwell_ms"] = random.choice((0, 0.5, 1200.5, 86_400_000))
            if random.random() < 0.3:
                said |= {"feed": "global", "feed_version": 3, "position": random.randrange(50)}
            self.log.say("engagements", post_id, said)


def generated() -> list[Round]:
    """All rounds, the same on every machine."""
    records = Records(20_240_601)
    for add in (_varied, _campaigns, _changes, _invalid, _loud, _rules, _settings, _hours, _week):
        add(records)
    return records.log.rounds


def _varied(records: Records) -> None:
    """Posts of every kind, under settings that declare two more signals."""
    log, random = records.log, records.random
    log.begin("varied", START_MS)
    patch = {"extreme": {"on_failure": "open", "grace_s": 20}}
    log.say("config", "gates", {"value": patch, "by": "mo", "note": "first"})
    weights = {"quality": 0.5, "engagement": 0.5, "novelty": 0.1}
    log.say("config", "weights", {"value": weights, "if_offset": -1})
    for i in range(72):
        kind = list(KINDS)[i % len(KINDS)]
        text = drawn(kind, random)
        text = disguised(text, random) if i % 4 == 3 else text
        records.post(f"{kind[0]}-{i}", text, **records.place())
    for i, text in enumerate(EDGES):
        records.post(f"edge-{i}", text)
    for post_id in ODD_IDS:
        records.post(post_id, drawn("ordinary", random), author_id=post_id, tenant="t.1")
    _with_extras(records)


def _with_extras(records: Records) -> None:
    text = "A picture from the harbour this morning"
    records.post("links", text, links=["https://a.example/x", "http://[::1]:8/", "no link", ""])
    hosts = ["https://hot-cams-1.example/nude/18", "https://www.a.example/covid-hoax-exposed?q=1"]
    records.post(
        "hosts", text, links=hosts, media=[{"url": "https://nudes.example/x.png", "kind": "i"}]
    )
    records.post("media", text, media=[{"url": "u", "kind": "image", "sha256": HASH.upper()}])
    for i, label in enumerate(("porn", "NSFW", "Graphic-Media", "satire", "!warn")):
        records.post(f"label-{i}", text, self_labels=[label, "other"])
    records.post("fails", "RAISES-IN-THE-MODEL on this very post", communities=["news"])


def _campaigns(records: Records) -> None:
    """Near copies by many and by one; engagements, some of them repeated or of unknown posts."""
    log, random = records.log, records.random
    log.begin("campaigns", START_MS + MINUTE_MS)
    one = (
        "Everybody is talking about the new garden market behind the old mill, come and see it on "
        "Sunday, bring your friends and look at the wonderful flowers"
    )
    other = (
        "I have said it before and say it again, the council should repair the river bridge soon"
    )
    for i in range(16):
        records.post(f"copy-{i}", changed(one, random), author_id=f"copier-{i}", lang="en")
        if i % 3 == 0:
            records.post(f"between-{i}", drawn("ordinary", random))
        if i < 11:
            records.post(f"flood-{i}", changed(other, random), author_id="flooder")
    records.post("copy-2", changed(one, random), author_id="copier-2")
    log.say("posts", "copy-3", None)
    # Not beside the one that raises: a batch that raised is scored another way.
    records.post("not-a-number", "RETURNS-NAN from the model for this post", lang="en")
    records.post("copy-last", one, author_id="copier-last")
    judged = [post_id for post_id in records.offsets if not post_id.startswith("copy")]
    records.engagements(420, [*judged, "never-seen"])


def _changes(records: Records) -> None:
    """Edits, deletions, posts that come back, overrides, and the two declared signals."""
    log, random = records.log, records.random
    log.begin("changes", START_MS + 3 * MINUTE_MS)
    known = [post_id for post_id in records.offsets if post_id[1:2] == "-"]
    for post_id in known[5:40:5]:
        records.post(post_id, drawn("spam", random), lang="en")
    for i, post_id in enumerate(known[2:40:6]):
        deleted = {"post_id": post_id, "deleted": True}
        said = (None, deleted, {**records.said[post_id], "deleted": True})[i % 3]
        log.say("posts", post_id, said)
    records.post(known[2], "It is there again, and says something else", communities=["news"])
    log.say("posts", known[8], None)
    records.post(known[8], "Twice within one batch", lang="de")
    _overrides(records, known)
    for i, post_id in enumerate(known):
        told = {"post_id": post_id, "post_offset": records.offsets[post_id], "model": "mine"}
        told |= {"version": "1", "at_ms": log.at_ms}
        value = random.choice((0.0, 0.3, 0.7, 0.95, None))
        error = {"error": "out of memory"} if value is None else {}
        log.say("signals.extreme", post_id, {**told, "value": value, **error})
        log.say("signals.novelty", post_id, {**told, "value": random.choice((-2.0, 0.1, 5, 1e30))})
        if i % 9 == 4:
            early = {**told, "post_offset": records.offsets[post_id] + 500, "value": 0.5}
            log.say("signals.extreme", post_id, early)
            log.say("signals.novelty", post_id, {**told, "post_offset": 0, "value": 9})
    log.say("signals.extreme", known[0], None)
    records.engagements(200, list(records.offsets))


def _overrides(records: Records, known: list[str]) -> None:
    log, until_ms = records.log, START_MS + 50 * MINUTE_MS
    subjects = [f"post:{post_id}" for post_id in known[10:34]]
    subjects += [f"author:{records.said[post_id]['author_id']}" for post_id in known[34:40]]
    for i, subject in enumerate(subjects):
        said: Json = {
            "verdict": ("allow", "demote", "hide")[i % 3],
            "by": ("mo", "jo")[i % 2],
            "reason": ("", "seen by two")[i // 2 % 2],
            "at_ms": log.at_ms,
        }
        if i % 4 == 1:
            said["expires_at_ms"] = until_ms
        if i % 6 == 0 and subject.startswith("post:"):
            said["post_offset"] = records.offsets[subject[5:]] + (i % 12 == 6)
        log.say("overrides", f"{subject}|{('*', 'spam', 'nsfw', 'extreme')[i % 4]}", said)
        if i % 5 == 0:
            log.say("overrides", f"{subject}|misinformation", {**said, "verdict": "hide"})
    log.say(
        "overrides", "post:not-yet|*", {"verdict": "hide", "by": "mo", "reason": "", "at_ms": 1}
    )


def _invalid(records: Records) -> None:
    """What breaks the contract, amid some that does not."""
    log = records.log
    log.begin("invalid", START_MS + 4 * MINUTE_MS)
    records.post("not-yet", drawn("ordinary", records.random))
    add_invalid(log)
    records.post("fine", drawn("ordinary", records.random))
    records.engagements(20, ["fine", "not-yet"])
    label = {"post_id": "fine", "target": "spam", "value": 0.5, "source": "rater", "at_ms": 5}
    log.say("labels", "fine", {**label, "note": "unsure"})
    log.say(
        "instances",
        "spam/1",
        {
            **{"stage": "spam", "instance": "1", "host": "h", "pid": 7, "build": "b", "lag": 0},
            **{"config_offset": 3, "models": {"spam": "v"}, "ready": True, "at_ms": 5},
            "refused": [{"key": "weights", "offset": 3, "reason": "why"}],
        },
    )


def _loud(records: Records) -> None:
    """So many flagged posts of one community and host that the cap holds; another stays calm."""
    log, random = records.log, records.random
    for part in range(2):
        log.begin(f"loud {part}", START_MS + (5 + part) * MINUTE_MS)
        for i in range(300):
            text = drawn("spam" if i % 3 == 0 else "ordinary", random)
            more = {"communities": ["loud"], "author_id": f"loud-{part}-{i}"}
            records.post(f"loud-{part}-{i}", text, **more)
        for i in range(20):
            text = drawn("spam" if i % 10 == 0 else "ordinary", random)
            records.post(f"calm-{part}-{i}", text, communities=["calm"], author_id=f"calm-{i}")


def _rules(records: Records) -> None:
    """Rules of every kind of entry and verdict; what was judged before is judged again."""
    log, random = records.log, records.random
    log.begin("rules", START_MS + 12 * MINUTE_MS)
    spam = {
        "cash": {"verdict": "hide", "phrases": ["cash prize", "無料の現金", "$ 500"]},
        "hosts": {"verdict": "demote", "domains": ["free-gifts.example", "münchen.example"]},
        "codes": {"verdict": "hide", "patterns": ["(?i)\\bpills?\\b.*%", "T&C"]},
        "friends": {"verdict": "allow", "authors": ["author-3", "loud-1-0"], "note": "known"},
        "soon-over": {
            "verdict": "hide",
            "phrases": ["harbour"],
            "expires_at_ms": log.at_ms + 3000,
        },
    }
    nsfw = {"said": {"verdict": "demote", "self_labels": ["Satire"], "media_sha256": [HASH]}}
    log.say("config", "rules/spam", {"value": spam})
    log.say("config", "rules/nsfw", {"value": nsfw})
    log.say(
        "config", "rules/misinformation", {"value": {"5g": {"verdict": "hide", "phrases": ["5G"]}}}
    )
    texts = (
        "You get a CASH, prize!",
        "c4sh pr1ze for you",
        "\uff43\uff41\uff53\uff48 \uff50\uff52\uff49\uff5a\uff45",
        "win $ 500 today",
        "see https://sub.free-gifts.example/x",
        "http://xn--mnchen-3ya.example/",
        "cheap PILL at 5 %",
        "At the harbour",
        "5G makes ill",
    )
    for i, text in enumerate(texts):
        records.post(f"ruled-{i}", text, author_id="ruler")
        records.post(f"friend-{i}", text, author_id="author-3")
    for i in range(90):  # until one of the rules is over
        records.post(
            f"after-{i}", drawn(random.choice(list(KINDS)), random), author_id=f"after-{i}"
        )
    records.post("harbour", "At the harbour once more", self_labels=["satire"])


def _settings(records: Records) -> None:
    """Settings of feeds, weights and gates; late and repeated engagements."""
    log = records.log
    log.begin("settings", START_MS + 20 * MINUTE_MS)
    of_python = {"quality": 1, "engagement": 0.2, "scale": {"engagement": 30}, "max_per_author": 1}
    plain = {"quality": 1, "engagement": 0, "half_life_hours": None, "max_per_author": None}
    of_news = {"nsfw": {"shadow": True}, "spam": {"hide_at": 0.3}}
    match = {"communities": ["garden", "music"], "langs": ["en"]}
    authors = {"match": {"authors": ["author-1", "author-2", "author-3"]}, "include_replies": True}
    log.say_all(
        "config",
        [
            ("weights/community:python", {"value": of_python}),
            ("weights/mine", {"value": plain}),
            ("gates/mine", {"value": {"spam": {"hide_at": None, "demote_factor": 0.125}}}),
            ("gates/community:news", {"value": of_news}),
            ("feeds/mine", {"value": {"match": match, "size": 12}}),
            ("feeds/people", {"value": {**authors, "window_hours": 30}}),
            ("feeds/lang:*", {"value": {"size": 20, "max_feeds": 2}}),
        ],
    )
    for i in range(30):
        records.any(f"later-{i}", **records.place())
    records.engagements(250, list(records.offsets)[:160])


def _hours(records: Records) -> None:
    """After an hour and after thirty: overrides run out or are withdrawn, settings go."""
    log = records.log
    log.begin("an hour", START_MS + HOUR_MS)
    gates = {
        "spam": {"hide_at": 0.8, "demote_at": 0.2},
        "nsfw": {"enabled": False},
        "misinformation": {"hide_at": None, "on_failure": "open", "grace_s": 0},
        "extreme": {"on_failure": "closed", "shadow": True},
    }
    log.say("config", "gates", {"value": gates})
    log.say("config", "rules/spam", None)
    log.say("config", "feeds/mine", None)
    for key in ("post:e-10|*", "author:author-1|*", f"post:{ODD_IDS[0]}|spam"):
        log.say("overrides", key, None)
    for i in range(25):
        records.any(f"hour-{i}", **records.place())
    log.begin("thirty hours", START_MS + 30 * HOUR_MS)
    log.say("config", "weights", {"value": {"quality": 0.2, "engagement": 0.8}})
    gates = {"extreme": {"on_failure": "open", "grace_s": 0}, "nsfw": {"demote_at": None}}
    log.say("config", "gates", {"value": gates})
    log.say("config", "gates/community:news", None)
    for i in range(25):
        records.any(f"day-{i}", **records.place())
    records.engagements(250, list(records.offsets))


def _week(records: Records) -> None:
    """What is left once most posts are older than any window."""
    log = records.log
    log.begin("a week", START_MS + 170 * HOUR_MS)
    for i in range(10):
        records.any(f"week-{i}", **records.place())
    records.engagements(60, list(records.offsets)[-60:])
