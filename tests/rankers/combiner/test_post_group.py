"""Posts that the same feeds may take have one group."""

from builders.events import post
from feedmill.rankers.combiner.post_group import PostGroup


def test_a_community_that_is_named_twice_counts_once() -> None:
    group = PostGroup.of(post("p", communities=("b", "a", "b"), lang="en"))
    assert group == (("b", "a"), "en", False)


def test_what_is_not_said_is_none() -> None:
    assert PostGroup.of(post("p", in_reply_to="q")) == ((), None, True)
