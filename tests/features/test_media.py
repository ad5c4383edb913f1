import pytest

from feedmill.events.post import Media, Post
from feedmill.features.media import (
    IMAGE,
    LINK,
    NONE,
    OTHER,
    UNKNOWN,
    VIDEO,
    media_kind,
    media_kinds,
)


def post(*kinds: str, links: tuple[str, ...] | None = None) -> Post:
    """A post with media of these kinds."""
    return Post("p", "a", 0, "", links=links, media=tuple(Media("u", kind) for kind in kinds))


@pytest.mark.parametrize(
    ("of", "kind"),
    [
        (post("image"), IMAGE),
        (post("image/png"), IMAGE),
        (post("Video/MP4"), VIDEO),
        (post("audio"), OTHER),
        (post("imagery"), OTHER),
        (post("image", "video"), VIDEO),
        (post("audio", "image"), IMAGE),
        (post("image", links=("https://example.org",)), IMAGE),
        (post(links=("https://example.org",)), LINK),
        (post(), NONE),
        # What says nothing of media is unknown, and not without.
        (Post("p", "a", 0, ""), UNKNOWN),
        (Post("p", "a", 0, "", links=()), UNKNOWN),
        (Post("p", "a", 0, "", links=("https://example.org",)), LINK),
    ],
)
def test_the_kind_of_a_post(of: Post, kind: int) -> None:
    assert media_kind(of) == kind


def test_a_batch_has_the_kind_of_each_post() -> None:
    posts = [post("image"), Post("q", "a", 0, ""), post()]
    assert media_kinds(posts).tolist() == [IMAGE, UNKNOWN, NONE]
    assert media_kinds([]).shape == (0,)
