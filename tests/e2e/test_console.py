"""The console in a real browser: its pages are sound, follow, say what is away, and do not lie."""

import json
import os
import shlex
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser, Page, expect

from builders.browser import Watched, chromium
from builders.console_client import ConsoleClient
from builders.console_world import fill
from builders.engine import Engine
from builders.hostile_markup import HOSTILE
from builders.running_console import ConsoleOf, running
from builders.waiting import until
from feedmill.cli.main import main
from feedmill.console.access import Access
from feedmill.deploy.local import down, status, up
from feedmill.streams.environment import Environment, read_environment
from feedmill.streams.tokens import OPERATOR, TokenFile

pytestmark = pytest.mark.stack

ROUTES = (
    *("/", "/feeds/global", "/feeds/global?search=the", "/feeds/global/preview"),
    *("/feeds/global/preview?engagement=0.9", "/feeds/global/preview?tab=gates&spam.hide_at=0.5"),
    *("/queue", "/models", "/audit", "/feeds/gloabl"),
)
# Pages that people keep open.
OPEN_ROUTES = (
    *("/feeds/global", "/feeds/global/preview", "/feeds/global/preview?tab=gates"),
    *("/", "/queue", "/models", "/audit"),
)
SCREENS = ((1280, "light"), (1280, "dark"), (320, "light"), (320, "dark"))
FEW_SCREENS = (SCREENS[0], SCREENS[3])
PREVIEW = "/feeds/global/preview"
WAIT_MS = 30_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def engine(start_shared_engine: Callable[..., Engine]) -> Engine:
    """A combiner with posts, which nobody changes."""
    engine = start_shared_engine("combiner")
    engine.post_ids = fill(engine)  # type: ignore[attr-defined]  # for the tests of this file
    return engine


def environment_of(engine: Engine) -> Environment:
    return read_environment(engine.environment())


def signed_in(client: ConsoleClient, tokens: TokenFile) -> ConsoleClient:
    assert client.sign_in_by_token(tokens.add("ann", OPERATOR))
    return client


@pytest.fixture(scope="module")
def served(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleClient]:
    """A console of the engine, and an operator who is signed in."""
    tokens = TokenFile(tmp_path_factory.mktemp("tokens") / "tokens.json")
    with running(ConsoleOf(environment_of(engine), Access(tokens))) as client:
        yield signed_in(client, tokens)


@pytest.fixture
def watched(browser: Browser, served: ConsoleClient) -> Iterator[Watched]:
    watched = Watched.open(browser, served.origin, served.cookie)
    yield watched
    watched.close()


def list_of(page: Page, side: str) -> list[tuple[str, float]]:
    """The ids and scores of a list of the preview."""
    rows = page.locator(f"#lists .{side} li[data-id]").evaluate_all(
        "rows => rows.map((row) => [row.dataset.id, row.dataset.score])"
    )
    return [(post_id, float(score)) for post_id, score in rows]


def wait_for_lists(page: Page) -> None:
    expect(page.locator("#lists .then li[data-id]").first).to_be_visible(timeout=WAIT_MS)


def faults_of(
    browser: Browser, client: ConsoleClient, routes: tuple[str, ...], screens: Any
) -> dict[str, list[str]]:
    """By page and screen what is wrong with it."""
    found = {}
    for width, scheme in screens:
        watched = Watched.open(browser, client.origin, client.cookie, width, scheme)
        for route in routes:
            watched.visit(route)
            if faults := watched.faults():
                found[f"{route} {width} {scheme}"] = faults
        watched.close()
    return found


def test_every_page_is_sound_on_every_screen(
    browser: Browser, served: ConsoleClient, watched: Watched, engine: Engine
) -> None:
    watched.visit(PREVIEW)
    wait_for_lists(watched.page)  # from here on the view is there
    routes = (*ROUTES, f"/posts/{engine.order()[0]}")
    assert faults_of(browser, served, routes, SCREENS) == {}


def test_pages_of_an_empty_installation_are_sound(
    browser: Browser, start_engine: Callable[..., Engine], tmp_path: Path
) -> None:
    tokens = TokenFile(tmp_path / "tokens.json")
    with running(ConsoleOf(environment_of(start_engine()), Access(tokens))) as client:
        assert faults_of(browser, signed_in(client, tokens), ROUTES, FEW_SCREENS) == {}


def test_hostile_texts_stay_text(watched: Watched, engine: Engine) -> None:
    watched.visit("/feeds/global?search=%3Cscript")
    rows = watched.page.locator("#rows .words")
    expect(rows.first).to_contain_text(HOSTILE[0], timeout=WAIT_MS)
    assert watched.page.locator("#rows script, #rows img").count() == 0
    hidden = engine.post_ids[5]  # type: ignore[attr-defined]  # of the fixture
    watched.visit(f"/posts/{hidden}")
    expect(watched.page.locator("#post")).to_contain_text(HOSTILE[0], timeout=WAIT_MS)
    assert watched.faults() == []


def test_the_last_list_of_a_drag_is_what_the_command_says_and_readers_get(
    watched: Watched, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, stored = watched.page, engine.order()
    watched.visit(PREVIEW)
    wait_for_lists(page)
    slider = page.locator(".dial[data-dial=engagement] input[type=range]")
    for place in (*range(500, 1000, 20), 937):
        slider.evaluate(
            "(slider, place) => { slider.value = place;"
            " slider.dispatchEvent(new Event('input', {bubbles: true})); }",
            place,
        )
        page.wait_for_timeout(8)
    slider.evaluate("(slider) => slider.dispatchEvent(new Event('change', {bubbles: true}))")
    expect(page.locator(".dial[data-dial=engagement] input[type=number]")).to_have_value("0.937")
    assert "engagement=0.937" in page.url
    engine.use_environment(monkeypatch)
    line = "weights preview global engagement=0.937 --json"
    done = CliRunner().invoke(main, shlex.split(line))
    assert done.exit_code == 0, done.output
    said = [(post["post_id"], post["score"]) for post in json.loads(done.stdout)["posts"][:20]]
    until(lambda: list_of(page, "then") == said, 30)
    assert [post_id for post_id, _ in list_of(page, "now")] == stored[:20]
    # Nothing was written until here; now it is, by the keyboard alone.
    assert engine.order() == stored
    page.keyboard.press("Escape")
    page.locator("h1").click()
    page.keyboard.press("a")
    expect(page.locator("#apply-note")).to_be_visible(timeout=WAIT_MS)
    page.locator("#apply-note").focus()
    page.keyboard.type("the test asks")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#applied .written")).to_be_visible(timeout=WAIT_MS)
    until(lambda: engine.order()[:20] == [post_id for post_id, _ in said], 30)
    shown = dict(engine.feed()[0])
    assert all(abs(shown[post_id] - score) <= 1e-9 for post_id, score in said)
    page.locator("#applied .written button").click()
    until(lambda: engine.order() == stored, 30)
    assert watched.faults() == []


def test_keys_alone_change_a_weight(watched: Watched) -> None:
    page = watched.page
    watched.visit(PREVIEW)
    wait_for_lists(page)
    before = list_of(page, "then")
    for _ in range(80):
        page.keyboard.press("Tab")
        label = page.evaluate("document.activeElement.getAttribute('aria-label') || ''")
        if label.startswith("half-life"):
            break
    for _ in range(40):
        page.keyboard.press("PageDown")
    expect(page.locator(".dial[data-dial=half_life_hours] input[type=number]")).to_have_value("1")
    until(lambda: list_of(page, "then") != before, 30)
    assert "half_life_hours=1" in page.url


def test_a_refused_value_has_the_command_s_sentence_beside_its_field(watched: Watched) -> None:
    watched.visit(f"{PREVIEW}?costs.report=-3")
    wait_for_lists(watched.page)
    field = watched.page.locator(".dial[data-dial='costs.report']")
    expect(field.locator(".error")).to_contain_text("Expected `float` >= 0.0", timeout=WAIT_MS)
    expect(field.locator("input[type=number]")).to_have_value("-3")


def test_posts_glide_in_place_and_rest_under_the_pointer(watched: Watched, engine: Engine) -> None:
    page = watched.page
    watched.visit("/feeds/global")
    first = page.locator("#rows .posts li").first
    row_id, version = first.get_attribute("id"), page.locator("#rows").get_attribute("data-version")
    first.hover()
    ids = engine.order()
    engine.set("weights/global", {"quality": 1.0, "engagement": 0.0})
    until(lambda: engine.order() != ids, 30)
    page.wait_for_timeout(2500)
    assert page.locator("#rows").get_attribute("data-version") == version
    page.mouse.move(5, 5)
    until(lambda: page.locator("#rows").get_attribute("data-version") != version, 30)
    # The same element moved: it was not made anew.
    assert row_id and page.locator(f"#{row_id}").count() <= 1
    engine.set("weights/global", None)
    until(lambda: engine.order() == ids, 30)


@pytest.mark.timeout(600)
def test_killed_servers_are_said_on_every_page_and_all_comes_back_without_a_reload(
    browser: Browser, tmp_path: Path
) -> None:
    folder, tokens = tmp_path / "stack", TokenFile(tmp_path / "tokens.json")
    address = up(folder)
    engine = Engine(address.kafka, address.redis, "killed.", tmp_path)
    try:
        engine.start("combiner")
        engine.wait_ready(seconds=180)
        fill(engine)
        stored = engine.order()
        with running(ConsoleOf(environment_of(engine), Access(tokens))) as client:
            signed_in(client, tokens)
            routes = (*OPEN_ROUTES, f"/posts/{stored[0]}")
            pages = [Watched.open(browser, client.origin, client.cookie) for _ in routes]
            for one, route in zip(pages, routes, strict=True):
                one.visit(route)
                one.page.evaluate("window.isSame = true")
            feed, preview = pages[0].page.locator("#rows .posts li"), pages[1].page
            wait_for_lists(preview)
            os.kill(status(folder).redis_pid or 0, signal.SIGKILL)
            say_away("Redis", pages)
            assert feed.count() > 10
            away = faults_of(browser, client, ROUTES, FEW_SCREENS)
            up(folder)  # with nothing in it, until the combiner has written the feeds again
            say_away("", pages)
            os.kill(status(folder).kafka_pids[0] or 0, signal.SIGKILL)
            say_away("Kafka", pages)
            # What cannot be made without Kafka comes by itself, too.
            other = Watched.open(browser, client.origin, client.cookie)
            assert other.visit("/audit") == 503
            up(folder)
            say_away("", pages)
            expect(other.page.locator("h1")).to_have_text("Audit", timeout=WAIT_MS)
            until(lambda: engine.order() == stored, 60)
            until(lambda: feed.count() >= 20, 30)
            # The feed, the view of the preview and the reader of settings follow again.
            engine.set("weights/global", {"quality": 1.0, "engagement": 0.0})
            until(lambda: engine.order() != stored, 60)
            best = engine.order()[:20]
            until(lambda: [post_id for post_id, _ in list_of(preview, "now")] == best, 60)
            assert all(one.page.evaluate("window.isSame") for one in pages)
            for one in (*pages, other):
                assert one.faults() == []
                one.close()
            assert away == {}
    finally:
        engine.stop()
        down(folder)


def say_away(name: str, pages: list[Watched]) -> None:
    """Wait until each of these pages says that a server is away; "": that none is."""
    for one in pages:
        notice = one.page.locator("#servers .notice")
        if name:
            expect(notice).to_contain_text(name, timeout=WAIT_MS)
        else:
            expect(notice).to_have_count(0, timeout=WAIT_MS)


def test_twenty_posts_are_decided_by_keys_alone(watched: Watched) -> None:
    page = watched.page
    watched.visit(PREVIEW)
    wait_for_lists(page)
    watched.visit("/queue?pile=reported")
    post = page.locator("#queue article bdi").first
    for number in range(20):
        shown = post.inner_text(timeout=WAIT_MS)
        page.keyboard.press("hda"[number % 3])
        expect(post).not_to_have_text(shown, timeout=WAIT_MS)
    watched.visit("/audit")
    assert page.locator("main", has_text="hide").count() == 1
    assert watched.faults() == []
