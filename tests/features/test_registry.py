"""The contract of a feature group, run on every group of the registry."""

import importlib
import pkgutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import feedmill.features
from feedmill.events.post import Post
from feedmill.features.post_batch import FeatureGroup, FeatureMatrix, PostBatch
from feedmill.features.registry import FEATURE_GROUPS

LINKS = ("https://www.example.org/win-now", "https://youtu.be/1", "no link", "http://b.example")
POSTS = st.lists(
    st.builds(
        Post,
        st.just("p"),
        st.just("a"),
        st.just(1),
        st.text(max_size=40) | st.sampled_from(["", "FREE money, call 0800 123456!!", "damn \0"]),
        links=st.none() | st.lists(st.sampled_from(LINKS), max_size=3).map(tuple),
    ),
    max_size=8,
)


@pytest.mark.parametrize("name", FEATURE_GROUPS)
@settings(max_examples=50, deadline=None)
@given(POSTS)
def test_a_group_gives_finite_float32_columns_and_a_row_depends_on_its_post_alone(
    name: str, posts: list[Post]
) -> None:
    group = FEATURE_GROUPS[name]
    matrix = group.compute(PostBatch(posts))
    assert matrix.shape == (len(posts), len(group.columns))
    assert matrix.dtype == np.float32
    assert np.isfinite(matrix).all()
    for row, post in zip(matrix, posts, strict=True):
        np.testing.assert_array_equal(group.compute(PostBatch([post]))[0], row)


def test_every_group_that_a_file_declares_is_in_the_registry_under_its_name() -> None:
    modules = pkgutil.walk_packages(feedmill.features.__path__, "feedmill.features.")
    declared = {
        value.name: value
        for module in modules
        for value in vars(importlib.import_module(module.name)).values()
        if isinstance(value, FeatureGroup)
    }
    assert declared == FEATURE_GROUPS


def test_no_two_groups_share_a_column() -> None:
    columns = [column for group in FEATURE_GROUPS.values() for column in group.columns]
    assert len(columns) == len(set(columns))


def test_a_new_group_is_one_record_and_is_computed_once_a_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    computed = []

    def questions(batch: PostBatch) -> FeatureMatrix:
        computed.append(len(batch))
        return np.array([[post.text.count("?")] for post in batch.posts], dtype=np.float32)

    group = FeatureGroup("questions", ("questions",), questions)
    monkeypatch.setitem(FEATURE_GROUPS, group.name, group)
    batch = PostBatch([Post("p", "a", 1, "who? me?"), Post("q", "a", 1, "you")])
    for _ in range(2):
        columns = batch.computed(FEATURE_GROUPS["questions"].compute)
        np.testing.assert_array_equal(columns, [[2], [0]])
    assert computed == [2]
