"""A post is one moderator's for a minute, and is decided once."""

import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

from builders.events import override, post
from builders.running_console import NOWHERE, ConsoleOf
from feedmill.console import queue as queue_module
from feedmill.console.access import Access
from feedmill.console.feeds import Feeds
from feedmill.console.logs import Logs
from feedmill.console.queue import CLAIM_S, Queue, Shown, Wanted
from feedmill.console.routes import Conflict
from feedmill.console.texts import Place, Texts
from feedmill.console.view import Seen, View
from feedmill.console.view_messages import PileAsk, PostsResult, Reading, ViewPost
from feedmill.events.decode import encode
from feedmill.events.label import Label
from feedmill.events.override import OverrideKey
from feedmill.events.post import Post
from feedmill.events.signal import SignalNames
from feedmill.operations.changes import Change, MadeBy
from feedmill.operations.overrides import LastOverride, last_overrides
from feedmill.streams.kafka.topic_reader import SentRecord, TopicRecord
from feedmill.streams.tokens import TokenFile

LONG = "Make extra money from home, earn free cash every week, sign up now at my website today"


class World:
    """Kafka and the view in memory: posts, what was written, and the overrides in force."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.posts = [
            ViewPost(name, f"author-{name}", 1, 0, n, "show", {"spam": 0.5}, why="reported")
            for n, name in enumerate(texts)
        ]
        self.said = [post(name, text) for name, text in texts.items()]
        self.written: list[Change] = []
        self.by: list[str] = []
        self.edited: set[str] = set()
        self.reading: Reading | None = None
        self.while_writing: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self.now_s = 0.0

    # --- the parts of the console that the queue asks

    def ask(self, page: str, ask: PileAsk) -> Seen:
        if self.reading is not None:
            return Seen(reading=self.reading)
        return Seen(PostsResult(1, tuple(self.posts), len(self.posts)))

    def read(self, places: Collection[Place], wait_s: float = 0.3) -> dict[Place, Post | None]:
        return {place: self.said[place.offset] for place in places}

    def overrides(self) -> dict[OverrideKey, LastOverride]:
        records = [
            TopicRecord(n, 1, change.key.encode(), change.value)
            for n, change in enumerate(self.written)
            if change.topic == "overrides"
        ]
        return last_overrides(records, SignalNames())

    def check_version(self, post_id: str, offset: int) -> None:
        if post_id in self.edited:
            raise Conflict(f"post `{post_id}` was edited meanwhile")

    def write(self, _: object, made_by: MadeBy, changes: list[Change]) -> list[SentRecord]:
        self.while_writing()
        with self._lock:
            start = len(self.written)
            self.written += changes
            self.by += [made_by.by] * len(changes)
        return [SentRecord(start + n, 1) for n in range(len(changes))]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[Queue, World]]:
    def make(**texts: str) -> tuple[Queue, World]:
        world = World(texts)
        monkeypatch.setattr(queue_module, "write_changes", world.write)
        parts: dict[type[Any], Any] = dict.fromkeys((View, Texts, Logs, Feeds), world)
        console = ConsoleOf(NOWHERE, Access(TokenFile(tmp_path / "none")), parts)
        return Queue(console, lambda: world.now_s), world

    return make


def made_by(name: str) -> MadeBy:
    return MadeBy(name, "root", "box", "console", "why")


def hidden(shown: Shown, **more: Any) -> Wanted:
    return Wanted(override("hide", by="x"), {shown.post.post_id: shown.post.offset}, **more)


def shown_to(queue: Queue, name: str) -> Shown:
    found = queue.next(name, "reported")
    assert isinstance(found, Shown)
    return found


def test_two_moderators_decide_200_posts_and_none_twice(
    made: Callable[..., tuple[Queue, World]],
) -> None:
    queue, world = made(**{f"p{n}": f"text {n}" for n in range(200)})
    failures: list[Exception] = []

    def moderate(name: str) -> None:
        try:
            while isinstance(found := queue.next(name, "reported"), Shown):
                expect = {found.post.post_id: found.expect}
                queue.decide(made_by(name), hidden(found), expect)
        except Conflict as error:
            failures.append(error)

    people = [threading.Thread(target=moderate, args=(name,)) for name in ("ann", "bob")]
    for one in people:
        one.start()
    for one in people:
        one.join(60)
    assert failures == []
    keys = [change.key for change in world.written]
    assert len(keys) == len({*keys}) == 200
    assert {*world.by} == {"ann", "bob"}


def test_a_post_is_one_moderators_for_a_minute_and_then_anybodys(
    made: Callable[..., tuple[Queue, World]],
) -> None:
    queue, world = made(p0="a", p1="b")
    first = shown_to(queue, "ann")
    assert shown_to(queue, "bob").post != first.post
    assert shown_to(queue, "ann").post == first.post
    with pytest.raises(Conflict, match="ann looks at post `p0` and has it for another 60 s"):
        queue.decide(made_by("bob"), hidden(first), {"p0": -1})
    assert not isinstance(queue.next("cat", "reported"), Shown)
    world.now_s += CLAIM_S + 1
    assert shown_to(queue, "cat").post == first.post


def test_who_puts_a_post_aside_gets_others_and_others_get_it(
    made: Callable[..., tuple[Queue, World]],
) -> None:
    queue, _ = made(p0="a", p1="b")
    queue.put_aside("ann", shown_to(queue, "ann").post.post_id)
    assert shown_to(queue, "ann").post.post_id == "p1"
    assert shown_to(queue, "bob").post.post_id == "p0"


def test_a_key_pressed_twice_decides_once(made: Callable[..., tuple[Queue, World]]) -> None:
    queue, world = made(p0="a")
    found, again = shown_to(queue, "ann"), list[Exception]()

    def press() -> None:
        world.while_writing = lambda: None
        with pytest.raises(Conflict) as refused:
            queue.decide(made_by("ann"), hidden(found), {"p0": -1})
        again.append(refused.value)

    world.while_writing = press
    queue.decide(made_by("ann"), hidden(found), {"p0": -1})
    assert len(world.written) == len(again) == 1


def test_override_and_label_are_written_together_and_allow_is_about_the_version(
    made: Callable[..., tuple[Queue, World]],
) -> None:
    queue, world = made(p0="a", p1="b")
    found = shown_to(queue, "ann")
    wanted = hidden(found, label=("spam", 1.0))
    assert queue.decide(made_by("ann"), wanted, {"p0": -1}) == [SentRecord(0, 1)]
    [decided, labelled] = world.written
    assert (decided.topic, labelled.topic, labelled.is_keyed) == ("overrides", "labels", True)
    label = Label("p0", "spam", 1.0, "ann", wanted.override.at_ms, note="why")
    assert labelled.value == encode(label)
    found = shown_to(queue, "ann")
    allowed = Wanted(override("allow"), {"p1": found.post.offset})
    queue.decide(made_by("ann"), allowed, {"p1": -1})
    last = world.overrides()[OverrideKey("post", "p1", "*")].override
    assert last.post_offset == found.post.offset


def test_what_was_decided_is_not_shown_again_unless_it_is_edited(
    made: Callable[..., tuple[Queue, World]],
) -> None:
    queue, world = made(p0="a")
    found = shown_to(queue, "ann")
    queue.decide(made_by("ann"), Wanted(override("allow"), {"p0": 0}), {"p0": -1})
    assert not isinstance(queue.next("ann", "reported"), Shown)
    with pytest.raises(Conflict, match="`p0` was decided meanwhile: allow by mo"):
        queue.decide(made_by("bob"), hidden(found), {"p0": -1})
    world.edited.add("p0")
    with pytest.raises(Conflict, match="edited meanwhile"):
        queue.decide(made_by("bob"), hidden(found), {"p0": -1})
    assert len(world.written) == 1


def test_a_decision_about_an_author_takes_all_their_posts_away(
    made: Callable[..., tuple[Queue, World]],
) -> None:
    queue, world = made(p0="a", p1="b")
    found = shown_to(queue, "ann")
    queue.decide(made_by("ann"), hidden(found, author_id=found.post.author_id), {"p0": -1})
    assert [change.key for change in world.written] == ["author:author-p0|*"]
    assert shown_to(queue, "bob").post.post_id == "p1"


def test_near_copies_are_long_and_alike_or_the_same(
    made: Callable[..., tuple[Queue, World]],
) -> None:
    queue, _ = made(
        p0=LONG, p1=LONG.replace("today", "1234"), p2="so true", p3="so true", p4="so  trüe"
    )
    first = shown_to(queue, "ann")
    assert [copy.post_id for copy, _ in first.copies] == ["p1"]
    for name in ("p0", "p1"):
        queue.put_aside("ann", name)
    second = shown_to(queue, "ann")
    assert [copy.post_id for copy, _ in second.copies] == ["p3"]
    posts = {"p2": 2, "p3": 3}
    queue.decide(made_by("ann"), Wanted(override("hide"), posts), {"p2": -1})
    assert shown_to(queue, "ann").post.post_id == "p4"


def test_while_the_view_is_read_it_is_said(made: Callable[..., tuple[Queue, World]]) -> None:
    queue, world = made(p0="a")
    world.reading = Reading("posts", 1, 2)
    found = queue.next("ann", "reported")
    assert isinstance(found, Seen)
    assert found.reading == world.reading
