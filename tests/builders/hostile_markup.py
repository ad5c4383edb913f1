"""Texts, ids, authors and reasons that try to be more than text on a page."""

import re

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


def markup_of(text: str, page: str) -> list[str]:
    """Return the tags of a page that stand in a hostile text and were not made text."""
    main = page.partition("<main")[2] or page
    tags = re.findall(r"<[a-z][^>]*>", text)
    found = [tag for tag in tags if tag in main]
    events = re.findall(r"<[^>]*\s(?:on[a-z]+|autofocus)\s*=?[^>]*>", main)
    return [*found, *events, *(["49{%"] if "{{" in text and "49{%" in main else [])]
