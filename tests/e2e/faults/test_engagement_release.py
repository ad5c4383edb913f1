"""A release of engagement reaches the posts that are there, and so does its rollback."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from builders.engine_topics import counts_of
from builders.fault_engine import FaultEngine
from builders.model_store import add_version, shipped_store
from builders.waiting import until
from feedmill.cli.main import main
from feedmill.events.post import Post
from feedmill.features.counters import Counters
from feedmill.models.artifact import Arrays
from feedmill.rankers.registry import ENGAGEMENT_RANKER

POSTS = [f"p{i}" for i in range(60)]


def other_prior(arrays: Arrays) -> None:
    """Have the shape of a text say the opposite of clicks."""
    arrays["shape_click"] = -arrays["shape_click"]


def text_of(post_id: str) -> str:
    return f"{post_id[1:]} reasons why post {post_id} is worth a look!"


def models(command: str, *more: str) -> None:
    result = CliRunner().invoke(main, ["models", *command.split(), *more])
    assert result.exit_code == 0, result.output


def test_engagement_of_earlier_posts_is_that_of_the_released_version_alone(
    fault_engine: Callable[..., FaultEngine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, store = fault_engine(), shipped_store(tmp_path / "store")
    other = add_version(store, "engagement", other_prior)
    engine.use_environment(monkeypatch, FEEDMILL_MODELS=str(store))
    engine.ready_worker("one", variables={"FEEDMILL_MODELS": str(store)})
    for post_id in POSTS:
        engine.post(post_id, text_of(post_id))
    for post_id, kind in [*((post_id, "impression") for post_id in POSTS), ("p0", "click")]:
        engine.click(post_id, kind=kind)
    engine.producer.flush()

    def counted() -> int:
        return sum(sum(counts_of(one)) for one in engine.latest("counters").values())

    def values() -> dict[str, tuple[str, float]]:
        written = engine.latest("signals.engagement")
        return {key: (one["version"], one["value"]) for key, one in written.items()}

    until(lambda: counted() == len(POSTS) + 1)
    first = values()
    assert first.keys() == set(POSTS)
    model = ENGAGEMENT_RANKER.load(store, other)
    expected = {}
    for post_id, state in engine.latest("counters").items():
        prior = model.prior_many([Post(post_id, "a", 0, text_of(post_id))])
        counters = msgspec.convert(state["counters"], Counters)
        value = float(model.score_many(prior, [counters]).astype(np.float32)[0])
        expected[post_id] = (other[:12], value)
    models("release engagement", other)
    until(lambda: values() == expected, 60)
    models("rollback engagement")
    until(lambda: values() == first, 60)
    assert engine.complaints() == []
