"""The queue in a browser: keys decide, two moderators share it, each post is decided once."""

import json
from collections import Counter
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from builders.browser import Watched, chromium
from builders.engine import Engine
from builders.running_console import ConsoleOf, running
from builders.waiting import now_ms
from feedmill.console.access import Access
from feedmill.streams.environment import read_environment
from feedmill.streams.tokens import MODERATOR, TokenFile

POSTS = 24
QUEUE = "/queue?pile=near"
WAIT_MS = 30_000

pytestmark = pytest.mark.stack


def fill(engine: Engine) -> None:
    """Posts that are all a hundredth below the threshold at which spam is hidden."""
    now = now_ms()
    posts = [
        {"post_id": f"p{n}", "author_id": f"author-{n}", "created_at_ms": now, "text": f"post {n}"}
        for n in range(POSTS)
    ]
    values = {"spam": 0.89, "nsfw": 0.0, "misinformation": 0.0, "quality": 0.5, "engagement": 0.02}
    for sent in [
        engine.signal(name, post_id, offset, value)
        for post_id, offset in engine.posts(posts).items()
        for name, value in values.items()
    ]:
        sent.get(60)


def decide(page: Page, key: str) -> bool:
    """Press a key and wait for the next post; False once nothing is left."""
    post = page.locator("input[name=post_id]")
    before = post.get_attribute("value")
    page.keyboard.press(key)
    expect(page.locator(f"input[name=post_id][value='{before}']")).to_have_count(0, timeout=WAIT_MS)
    return post.count() > 0


def test_keys_of_two_moderators_decide_every_post_once(
    start_shared_engine: Callable[..., Engine], tmp_path_factory: pytest.TempPathFactory
) -> None:
    engine = start_shared_engine("combiner")
    fill(engine)
    tokens = TokenFile(tmp_path_factory.mktemp("tokens") / "tokens.json")
    environment = read_environment(engine.environment())
    with running(ConsoleOf(environment, Access(tokens))) as client, chromium() as browser:
        watched = {}
        for name in ("ann", "bob"):
            assert client.sign_in_by_token(tokens.add(name, MODERATOR))
            watched[name] = Watched.open(browser, client.origin, client.cookie)
            watched[name].visit(QUEUE)
            there = watched[name].page.locator(".head", has_text=f"{POSTS} left here")
            expect(there).to_be_visible(timeout=WAIT_MS)
        # Nothing is decided with Ctrl, or while somebody types.
        page = watched["ann"].page
        page.keyboard.press("Control+h")
        page.locator("#reason").focus()
        page.keyboard.type("hashed")
        page.locator("#reason").blur()
        pressed = Counter[str]()
        left = {"ann": "ha", "bob": "da"}
        while left:
            for name, keys in [*left.items()]:
                goes_on = decide(watched[name].page, keys[pressed[name] % 2])
                pressed[name] += 1
                if not goes_on:
                    del left[name]
        assert pressed.total() == POSTS
        decided = Counter(record.key for record in engine.read_all("overrides"))
        assert len(decided) == POSTS
        assert set(decided.values()) == {1}
        by = Counter(json.loads(record.value)["by"] for record in engine.read_all("overrides"))
        assert by == pressed
        # Undo is a key, too, and brings the post back.
        page.keyboard.press("u")
        expect(page.locator("input[name=post_id]")).to_have_count(1, timeout=WAIT_MS)
        assert [fault for one in watched.values() for fault in one.faults()] == []
