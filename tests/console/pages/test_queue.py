"""The queue as a form: what a key sends is written, and the next post comes."""

import html
import re
from collections.abc import Callable, Collection

import pytest

from builders.commands import CommandTopics
from builders.console_client import Answered, ConsoleClient
from builders.events import post
from builders.hostile_markup import HOSTILE, markup_of
from builders.written_redis import WrittenRedis
from feedmill.console.texts import Place, Texts
from feedmill.console.view import Seen, View
from feedmill.console.view_messages import PileAsk, PostsResult, ViewPost
from feedmill.events.decode import decode_label, decode_override
from feedmill.events.label import LABEL_TARGETS
from feedmill.events.post import Post
from feedmill.events.signal import SignalNames

People = dict[str, ConsoleClient]
Fields = list[tuple[str, str]]

pytestmark = pytest.mark.stack


class Piled:
    """The posts of every pile, and what they say."""

    def __init__(self, posts: list[Post]) -> None:
        self.posts = posts

    def ask(self, page: str, ask: PileAsk) -> Seen:
        found = [
            ViewPost(one.post_id, one.author_id, 1, 0, n, "hide", {"spam": 0.91}, why=one.author_id)
            for n, one in enumerate(self.posts)
        ]
        return Seen(PostsResult(1, tuple(found), len(found)))

    def read(self, places: Collection[Place], wait_s: float = 0.3) -> dict[Place, Post | None]:
        there = range(len(self.posts))
        return {place: self.posts[place.offset] for place in places if place.offset in there}

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def piled(open_console: Callable[..., People]) -> Callable[..., People]:
    def open_with(*posts: Post) -> People:
        pile = Piled([*posts])
        return open_console({View: pile, Texts: pile})

    return open_with


def form_of(page: Answered, path: str) -> Fields:
    """The fields that the form of this path has without any choice."""
    assert page.status == 200, page.text
    form = page.text.partition(f'action="{path}"')[2].partition("</form>")[0]
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form)
    return [(name, html.unescape(text)) for name, text in found if name != "csrf"]


def test_a_key_writes_override_and_label_and_undo_brings_the_post_back(
    piled: Callable[..., People], topics: CommandTopics, writer: WrittenRedis
) -> None:
    for offset, name in enumerate(("p1", "p2", "p3")):
        writer.signals(name, post_offset=offset)
    moderator = piled(post("p1", "buy now"), post("p2", "buy now"), post("p3"))["moderator"]
    page = moderator.get("/queue?pile=hidden")
    fields = form_of(page, "/queue/decide")
    assert ("copy", "p2=1") in fields
    chosen = [("verdict", "hide"), ("scope", "copies"), ("target", "spam"), ("reason", "ads")]
    after = moderator.post("/queue/decide", [*fields, *chosen])
    assert "hide: 2 posts" in html.unescape(after.text)
    assert ("post_id", "p3") in form_of(after, "/queue/decide")
    records = topics.read("overrides")
    assert [record.key for record in records] == [b"post:p1|*", b"post:p2|*"]
    labels = [
        decode_label(record.key, record.value, LABEL_TARGETS) for record in topics.read("labels")
    ]
    assert [(one.post_id, one.target, one.value, one.source) for one in labels] == [
        ("p1", "spam", 1.0, "a moderator"),
        ("p2", "spam", 1.0, "a moderator"),
    ]
    back = moderator.post("/queue/undo", form_of(after, "/queue/undo"))
    assert ("post_id", "p1") in form_of(back, "/queue/decide")
    for record in topics.read("overrides")[2:]:
        assert decode_override(SignalNames(), record.key, record.value)[1] is None


def test_what_is_refused_is_said_and_nothing_is_written(
    piled: Callable[..., People], topics: CommandTopics, writer: WrittenRedis
) -> None:
    writer.signals("p1", post_offset=0)
    people = piled(post("p1"))
    fields = form_of(people["moderator"].get("/queue"), "/queue/decide")
    for wrong, status in (
        ([("verdict", "delete")], 422),
        ([("verdict", "hide"), ("target", "engagement")], 422),
        ([("verdict", "hide"), ("expires", "soon")], 422),
    ):
        assert people["moderator"].post("/queue/decide", [*fields, *wrong]).status == status
    other = people["operator"].post("/queue/decide", [*fields, ("verdict", "hide")])
    assert other.status == 409
    assert "a moderator looks at post `p1`" in other.text
    assert people["moderator"].get("/queue?pile=heldd").status == 404
    assert people["moderator"].post("/queue/undo", [("pile", "near")]).status == 422
    writer.signals("p1", post_offset=5)
    edited = people["moderator"].post("/queue/decide", [*fields, ("verdict", "hide")])
    assert (edited.status, "was edited meanwhile" in edited.text) == (409, True)
    assert topics.read("overrides") == topics.read("labels") == []


def test_hostile_posts_stay_text(piled: Callable[..., People]) -> None:
    posts = [
        post(f"{text}{number}", f"{text} once", author_id=text, links=(f"https://a/{number}",))
        for number, text in enumerate(HOSTILE)
    ]
    moderator = piled(*posts)["moderator"]
    for _ in posts:
        page = moderator.get("/queue")
        fields = form_of(page, "/queue/decide")
        for text in HOSTILE:
            assert markup_of(text, page.text) == []
        assert '<a href="https://a/' not in page.text
        assert moderator.post("/queue/decide", [*fields, ("verdict", "aside")]).status == 200
    assert "Nothing waits here." in moderator.get("/queue").text
