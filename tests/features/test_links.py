from __future__ import annotations

import numpy as np
import pytest

from builders.events import post
from feedmill.features.links import (
    LinkHosts,
    is_platform,
    link_matrix,
    path_texts,
    path_words,
)


@pytest.mark.parametrize(
    ("links", "words"),
    [
        ((), ""),
        (
            ("https://news.example.org/2026/11/star-marries_again.html?id=7#top",),
            "2026 11 star marries again html",
        ),
        (("news.example.org/a-b", "http://other.example/c"), "a b c"),
        (("https://www.youtube.com/watch/a-b",), ""),
        (("https://m.facebook.com/some-page",), ""),
        (("https://example.org",), ""),
        (("not a link",), ""),
    ],
)
def test_the_words_of_paths(links: tuple[str, ...], words: str) -> None:
    assert path_words(post(links=(*links,))) == words


def test_a_scheme_makes_no_difference() -> None:
    assert (
        path_words(post(links=("https://www.a.org/x-y",)))
        == path_words(post(links=("a.org/x-y",)))
        == "x y"
    )


def test_texts_of_many_posts() -> None:
    assert path_texts([post(), post(links=("a.org/x",))]) == ["", "x"]


def test_platforms_include_what_stands_below_them() -> None:
    assert is_platform("old.reddit.com")
    assert not is_platform("notreddit.com")


LINKS = ("https://www.a-b.org/x", "https://youtu.be/1", "no link", "c.example")


def test_hosts_of_links_are_read_and_platforms_are_not() -> None:
    assert LinkHosts.of(post()) == LinkHosts()
    assert LinkHosts.of(post(links=(*LINKS,))) == LinkHosts(
        ("a-b.org", "c.example"), platform_count=1, link_count=4
    )


def test_links_are_counted_and_those_to_platforms_apart() -> None:
    expected = np.log1p([[0, 0], [4, 1]]).astype(np.float32)
    hosts = [LinkHosts.of(post()), LinkHosts.of(post(links=(*LINKS,)))]
    np.testing.assert_array_equal(link_matrix(hosts), expected)
    assert link_matrix([]).shape == (0, 2)
