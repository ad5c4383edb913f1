"""A real browser at a console: what a page does that it must not do."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

AXE = Path(__file__).parents[1] / "console/vendor/axe.min.js"
_REPORTS = """
window.reports = [];
document.addEventListener("securitypolicyviolation",
    (event) => window.reports.push(`${event.violatedDirective} ${event.blockedURI}`));
"""
_RULES = """async () => (await axe.run(document)).violations.map(
    (one) => `${one.id}: ${one.nodes.map((node) => node.html.slice(0, 200)).join(" | ")}`)"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's chromium, without a window."""
    path = shutil.which("chromium")
    assert path, "chromium is not installed; apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """A page whose errors, foreign requests and reports of the policy are kept."""

    page: Page
    origin: str
    errors: list[str] = field(default_factory=list)

    @classmethod
    def open(
        cls, browser: Browser, origin: str, cookie: str, width: int = 1280, scheme: str = "light"
    ) -> "Watched":
        """Open a page for whoever has a cookie."""
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        name, _, value = cookie.partition("=")
        if name:
            context.add_cookies([{"name": name, "value": value, "url": origin}])
        context.add_init_script(_REPORTS)
        watched = cls(context.new_page(), origin)
        watched.page.on("pageerror", lambda error: watched.errors.append(f"error: {error}"))
        watched.page.on("console", lambda said: watched.hear(said.type, said.text))
        watched.page.on("request", lambda request: watched.check(request.url))
        return watched

    def hear(self, kind: str, text: str) -> None:
        # That a page answers 404 or 503 is what a test asked for.
        if kind in ("error", "warning") and "Failed to load resource" not in text:
            self.errors.append(f"console: {text}")

    def check(self, url: str) -> None:
        if not url.startswith((self.origin, "data:")):
            self.errors.append(f"foreign request: {url}")

    def visit(self, path: str) -> int:
        """Go to a page, and let it settle; its status."""
        answer = self.page.goto(self.origin + path)
        self.page.wait_for_load_state("load")
        self.page.wait_for_timeout(250)
        return answer.status if answer else 0

    def faults(self) -> list[str]:
        """What is wrong with the page as it stands."""
        self.page.evaluate(AXE.read_text("utf-8"))
        found = [f"axe {one}" for one in self.page.evaluate(_RULES)]
        found += [f"policy {one}" for one in self.page.evaluate("window.reports")]
        wide = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        found += [f"scrolls sideways by {wide}"] if wide > 0 else []
        found, self.errors = [*found, *self.errors], []
        return found

    def close(self) -> None:
        self.page.context.close()
