"""The pictures of the console in the docs: `make pictures` takes them of a seeded installation."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from playwright.sync_api import expect

from builders.browser import Watched, chromium
from builders.console_client import ConsoleClient
from builders.engine import WORKER, Engine
from builders.running_console import ConsoleOf, running
from builders.waiting import now_ms, until
from feedmill.console.access import Access
from feedmill.deploy.local import down, up
from feedmill.simulation.demo import DemoPosts
from feedmill.streams.environment import read_environment
from feedmill.streams.tokens import OPERATOR, TokenFile

PREVIEW = "/feeds/global/preview"
# By name the page, the width of the screen, and its colours.
PICTURES = {
    "health": ("/", 1280, "light"),
    "feed": ("/feeds/global", 1280, "light"),
    "post": ("/posts/{first}", 1280, "light"),
    "preview": (f"{PREVIEW}?engagement=0.97", 1280, "light"),
    "preview-dark": (f"{PREVIEW}?engagement=0.97", 1280, "dark"),
    "preview-phone": (f"{PREVIEW}?engagement=0.97", 390, "light"),
    "queue": ("/queue?pile=near", 1280, "light"),
    "gates": (f"{PREVIEW}?tab=gates&spam.hide_at=0.7", 1280, "dark"),
}
_POSTS, _READERS, _HOUR_MS = 600, 40, 3_600_000
_WAIT_MS = 60_000


def fill(engine: Engine) -> None:
    """Posts of a day, readers who look at them, a setting and an override."""
    random = np.random.default_rng(54)
    demo, now = DemoPosts("1", random), now_ms()
    written, liked = [], {}
    for number in range(_POSTS):
        post, seen = demo.post(number)
        if seen.kind == "nsfw":  # nothing for a page of the docs
            continue
        liked[post.post_id] = 0.02 + 0.2 * seen.quality
        written.append(
            {
                "post_id": post.post_id,
                "author_id": post.author_id,
                "created_at_ms": now - int(random.exponential(5 * _HOUR_MS)) - 60_000,
                "text": post.text,
                "lang": post.lang,
                "communities": list(post.communities or ()),
                "media": [],
            }
        )
    engine.posts(written)
    for post_id, share in liked.items():
        for reader in range(int(random.integers(5, _READERS))):
            user = {"post_id": post_id, "user_id": f"reader-{reader}", "at_ms": now_ms()}
            engine.send("engagements", post_id, {**user, "kind": "impression"})
            for kind, part in (("click", share), ("like", share / 3), ("report", 0.01)):
                if random.random() < part:
                    engine.send("engagements", post_id, {**user, "kind": kind})
    engine.producer.flush(60)
    engine.feedmill("config set weights max_per_author=2 --by ann --note calmer-evenings")
    until(lambda: len(engine.order()) > 200, 120)


@contextmanager
def served(folder: Path) -> Iterator[tuple[Engine, ConsoleClient]]:
    """An engine and its console, with ann, an operator, signed in."""
    stack = up(folder / "stack")
    engine = Engine(stack.kafka, stack.redis, "", folder)
    tokens = TokenFile(folder / "tokens.json")
    try:
        engine.start(WORKER)
        engine.wait_ready(seconds=120)
        fill(engine)
        environment = read_environment(engine.environment())
        with running(ConsoleOf(environment, Access(tokens))) as client:
            client.sign_in_by_token(tokens.add("ann", OPERATOR))
            yield engine, client
    finally:
        engine.stop()
        down(folder / "stack")


def main() -> None:
    """Write the pictures into the folder in the arguments."""
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        served(Path(folder)) as (engine, client),
        chromium() as browser,
    ):
        warm = Watched.open(browser, client.origin, client.cookie)
        warm.visit(PREVIEW)
        expect(warm.page.locator("#lists .then li").first).to_be_visible(timeout=_WAIT_MS)
        first = engine.order()[0]
        for name, (path, width, scheme) in PICTURES.items():
            shot = Watched.open(browser, client.origin, client.cookie, width, scheme)
            shot.visit(path.format(first=first))
            # Texts, histograms and rates come with the next answers.
            shot.page.wait_for_timeout(12_000 if name == "health" else 4_000)
            shot.page.screenshot(path=target / f"{name}.png")
            shot.close()


if __name__ == "__main__":
    main()
