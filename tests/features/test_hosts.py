from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.events import post
from feedmill.features.hosts import (
    canonical_host,
    domains_of_host,
    host_of,
    hosts_in,
    hosts_of,
    linked_hosts,
    path_words,
    registered_domain,
    to_ascii,
)
from feedmill.features.post_batch import PostBatch


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://example.org/a?b#c", "example.org"),
        ("HTTPS://WWW.Example.ORG:8080/", "example.org"),
        ("//cdn.example.org/x.png", "cdn.example.org"),
        ("example.org/path", "example.org"),
        ("example.org:8080/path", "example.org"),
        ("https://good.org@evil.example/login", "evil.example"),
        ("https:\\\\evil.example\\x", "evil.example"),
        ("https://evil.example.", "evil.example"),
        ("https://bücher.example/x", "xn--bcher-kva.example"),
        ("https://xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("https://ev\u200bil.example/x", "evil.example"),
        ("https://\uff45vil\u3002example/x", "evil.example"),
        ("https://" + "\U0001d42c" * 40 + ".example/x", "s" * 40 + ".example"),
        ("http://203.0.113.5/x", "203.0.113.5"),
        ("https://my_page.example.org", "my_page.example.org"),
        ("https://www.org/", "www.org"),
        ("mailto:me@localhost", None),
        ("localhost", None),
        ("https://", None),
        ("", None),
        ("https://" + "a" * 300 + ".org", None),
        ("https://..org", None),
        ("https://a--b.example.org", "a--b.example.org"),
        ("https://a-.example.org", None),
        ("https://-a.example.org", None),
        ("https://a.example.or-", None),
        ("https://" + "a." * 125 + "org...", "a." * 125 + "org"),
        ("https://" + "a." * 125 + "info", None),
    ],
)
def test_the_host_of_a_link(url: str, host: str | None) -> None:
    assert host_of(url) == host


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("no link here. None at all", []),
        ("see https://a.example/x, http://b.example.", ["a.example", "b.example"]),
        ("(https://a.example/x)", ["a.example"]),
        ("buy at shop.example now", ["shop.example"]),
        ("buy at www.shop.example/now!", ["shop.example"]),
        ("buy at SHOP.EXAMPLE.", ["shop.example"]),
        ("sh\u200bop.example", ["shop.example"]),
        ("write to me@mail.example please", []),
        ("version 1.2.3 costs 4.50", []),
        ("https://a.example/go?to=b.example", ["a.example"]),
        ("1.5 of 2.0, e.g. this", []),
        ("first.last@mail.example and a.b.example@x.example", []),
        ("https://a.example,https://b.example", ["a.example", "b.example"]),
        ("bücher.example", ["xn--bcher-kva.example"]),
    ],
)
def test_the_hosts_in_a_text(text: str, hosts: list[str]) -> None:
    assert list(hosts_in(text)) == hosts


def test_the_hosts_of_a_post_come_once_links_first() -> None:
    text = "look at https://b.example and a.example"
    linked = post(text=text, links=("https://www.a.example", "no link", "c.example/x"))
    assert hosts_of(linked) == ("a.example", "c.example", "b.example")
    assert hosts_of(post()) == ()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("end", ["", "@"])
@pytest.mark.parametrize(
    "piece", ["a", "a\u200b", "a.", "a-", "http:/", "http://", "a@", "a.b@", "."]
)
def test_a_long_run_takes_linear_time(piece: str, end: str) -> None:
    # A quadratic pattern would take hours over so long a text, and run into the timeout.
    text = f"x.y {piece * 300_000}{end}"
    for host in hosts_in(text):
        assert canonical_host(host) == host


@given(st.text(st.sampled_from("aB1.-_@:/\\ ?#\u200b\u3002ü\ud800www[]"), max_size=60) | st.text())
def test_hosts_are_canonical_whatever_stands_there(text: str) -> None:
    for host in (*hosts_in(text), host_of(text), host_of(f"https://{text}")):
        assert host is None or canonical_host(host) == host


@pytest.mark.parametrize(
    ("host", "registered"),
    [
        ("a.news.example.co.uk", "example.co.uk"),
        ("example.org", "example.org"),
        ("ann.github.io", "ann.github.io"),
        ("co.uk", "co.uk"),
        ("10.0.0.7", "10.0.0.7"),
    ],
)
def test_the_registered_domain_is_below_the_public_suffix(host: str, registered: str) -> None:
    assert registered_domain(host) == registered


def test_the_domains_of_a_host_end_at_the_registered_one() -> None:
    assert domains_of_host("a.b.co.uk") == ["a.b.co.uk", "b.co.uk"]
    assert domains_of_host("10.0.0.7") == ["10.0.0.7"]


_INTERNATIONAL = st.lists(
    st.text(
        st.sampled_from(
            "\u0430\u0431\u0432\u0436abcXYZ019-_\u00fc\u00df\u00c4\uff21\u0301\u05d0\u0627\u6f22\uac00\u1161\u03a3\u0130😀"
        ),
        max_size=70,
    ),
    min_size=1,
    max_size=4,
).map(".".join)


@settings(deadline=None, max_examples=60)
@given(st.lists(_INTERNATIONAL.filter(lambda host: not host.isascii()), min_size=1, max_size=8))
def test_international_hosts_are_written_as_pythons_codec_does(hosts: list[str]) -> None:
    def by_codec(host: str) -> str | None:
        try:
            return host.encode("idna").decode().lower()
        except UnicodeError:
            return None

    # Python's codec writes few; here all are written at once.
    with patch("feedmill.features.hosts._FEW_LETTERS", 0):
        found = [host if host is None else host.lower() for host in to_ascii(hosts)]
    assert found == [*map(by_codec, hosts)]


def test_a_line_break_is_in_no_host() -> None:
    assert canonical_host("\u0434\n\u0434.\u0440\u0444") is None


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
