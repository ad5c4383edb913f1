import pytest

from builders.events import post
from feedmill.features.hosts import linked_hosts, path_words
from feedmill.features.post_batch import PostBatch


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
        (("https://notfacebook.com/some-page",), "some page"),
        (("https://www.a.org/x-y", "a.org/x-y"), "x y x y"),
        (("https://example.org",), ""),
        (("not a link",), ""),
    ],
)
def test_the_words_of_paths(links: tuple[str, ...], words: str) -> None:
    assert path_words(post(links=(*links,))) == words


def test_texts_of_many_posts() -> None:
    assert PostBatch([post(), post(links=("a.org/x",))]).paths.texts == ["", "x"]


def test_hosts_of_links_are_read_and_platforms_are_not() -> None:
    links = ("https://www.a-b.org/x", "https://youtu.be/1", "no link", "c.example")
    assert linked_hosts(post()) == ()
    assert linked_hosts(post(links=links)) == ("a-b.org", "c.example")
