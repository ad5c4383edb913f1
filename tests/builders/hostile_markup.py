"""Texts, ids, authors and reasons that try to be more than text on a page."""

from html.parser import HTMLParser

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' autofocus onfocus=alert(1) x='",
    "</textarea></title><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% for x in y %}",
    "javascript:alert(1)",
    "<a hx-get=/settings hx-trigger=load>a</a>",
    "\u202eevil\u2066\u0000\x1b[31m",
)


class _Tags(HTMLParser):
    """Collects what a page must not have: scripts, pictures, handlers of events, foreign htmx."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        is_wrong = tag in ("script", "img", "iframe", "style") or any(
            name.startswith("on")
            or name == "autofocus"
            or (name, value) in (("hx-trigger", "load"), ("hx-get", "/settings"))
            or (name in ("href", "src", "action") and str(value).startswith("javascript"))
            for name, value in attrs
        )
        if is_wrong:
            self.found.append(self.get_starttag_text() or tag)


def markup_of(text: str, page: str) -> list[str]:
    """Return what of a hostile text is markup on a page, or was evaluated."""
    main = page.partition("<main")[2] or page
    tags = _Tags()
    tags.feed(main)
    return [*tags.found, *(["49{%"] if "{{" in text and "49{%" in main else [])]
