from dataclasses import replace

import numpy as np
import pytest

from builders.events import posts_of
from feedmill.events.errors import BadArtifact
from feedmill.events.post import Post
from feedmill.features.authorship import UNKNOWN_AUTHOR, UNKNOWN_HOUR, author_key
from feedmill.features.post_batch import PostBatch
from feedmill.models.artifact import Artifact, read_artifact
from feedmill.models.text_model import FEATURES
from feedmill.rankers.engagement import ExpectedClicks, PostEffects, effect_arrays, read_effects
from feedmill.rankers.spec import STORE

MIDNIGHT_MS = 1_700_006_400_000
AUTHORS = {"ann": 0.5, "bob": -0.25, "cid": 0.125}


@pytest.fixture(scope="module")
def effects() -> PostEffects:
    by_key = sorted((author_key(name), effect) for name, effect in AUTHORS.items())
    keys, values = zip(*by_key, strict=True)
    hours = np.append(np.linspace(-0.1, 0.13, 24), 0.0)
    return PostEffects(hours, np.array(keys, dtype=np.int64), np.array([*values, 0.0]))


def stored(effects: PostEffects | None) -> Artifact:
    shipped = read_artifact(STORE, "engagement", FEATURES)
    return replace(shipped, arrays={**shipped.arrays, **effect_arrays(effects)})


def post(author: str, hour: int) -> Post:
    return Post("p", author, MIDNIGHT_MS + 3_600_000 * hour + 1, "The council votes today.")


def test_author_and_hour_add_up_and_what_is_unknown_adds_nothing(effects: PostEffects) -> None:
    posts = [post("ann", 0), post("bob", 23), post("nobody", 5), Post("p", "cid", 0, "text")]
    expected = [0.5 - 0.1, -0.25 + 0.13, effects.hours[5], 0.125]
    np.testing.assert_allclose(effects.lift_posts(posts), expected)
    unknown = effects.lift(np.array([UNKNOWN_HOUR], np.int8), np.array([UNKNOWN_AUTHOR]))
    assert unknown.tolist() == [0.0]


def test_a_model_may_know_hours_alone(effects: PostEffects) -> None:
    hours = PostEffects(effects.hours, np.zeros(0, np.int64), np.zeros(1))
    posts = [post("ann", 3), post("bob", 4)]
    np.testing.assert_array_equal(hours.lift_posts(posts), effects.hours[[3, 4]])
    keys = np.array([author_key("ann"), author_key("bob")])
    np.testing.assert_array_equal(
        hours.lift(np.array([3, 4], np.int8), keys), effects.hours[[3, 4]]
    )


def test_they_are_stored_and_read_as_they_were(effects: PostEffects) -> None:
    again = read_effects(stored(effects))
    assert again is not None
    for name in ("hours", "keys", "authors"):
        np.testing.assert_array_equal(getattr(again, name), getattr(effects, name))
    assert effect_arrays(None) == {}


def test_the_prior_is_lifted_by_them_whichever_way_it_is_asked(effects: PostEffects) -> None:
    shipped = read_artifact(STORE, "engagement", FEATURES)
    without_trees = {key: array for key, array in shipped.arrays.items() if key != "trees"}
    plain = ExpectedClicks.of(replace(shipped, arrays=without_trees))
    model = replace(plain, effects=effects)
    posts = [post("ann", 0), post("bob", 23), post("nobody", 5)]
    expected = plain.prior_many(posts) * np.exp(effects.lift_posts(posts))
    np.testing.assert_allclose(model.prior_many(posts), expected)
    np.testing.assert_array_equal(model.prior_batch(PostBatch(posts)), model.prior_many(posts))
    alone = [model.prior_many([one])[0] for one in posts]
    np.testing.assert_array_equal(alone, model.prior_many(posts))


def test_the_shipped_model_knows_neither_author_nor_hour() -> None:
    model = ExpectedClicks.of(read_artifact(STORE, "engagement", FEATURES))
    assert model.effects is None
    (text,) = {one.text for one in posts_of(["The council votes today."])}
    posts = [Post("p", name, at_ms, text) for name in AUTHORS for at_ms in (0, MIDNIGHT_MS + 1)]
    assert len(set(model.prior_many(posts).tolist())) == 1


@pytest.mark.parametrize(
    ("array", "wrong"),
    [
        ("effects_hours", np.zeros(23)),
        ("effects_hours", np.full(24, 1e9)),
        ("effects_hours", np.full(24, np.nan)),
        ("effects_author_keys", np.array([1.0, 2.0, 3.0])),
        ("effects_author_keys", np.array([1, 3, 2])),
        ("effects_author_keys", np.array([1, 2])),
        ("effects_authors", np.full(3, np.inf)),
    ],
)
def test_effects_that_cannot_be_right_are_refused(
    effects: PostEffects, array: str, wrong: np.ndarray
) -> None:
    artifact = stored(effects)
    with pytest.raises(BadArtifact, match="effect"):
        ExpectedClicks.of(replace(artifact, arrays={**artifact.arrays, array: wrong}))


def test_effects_of_which_a_part_is_missing_are_refused(effects: PostEffects) -> None:
    artifact = stored(effects)
    arrays = {key: array for key, array in artifact.arrays.items() if key != "effects_authors"}
    with pytest.raises(BadArtifact, match="effects_authors"):
        ExpectedClicks.of(replace(artifact, arrays=arrays))
