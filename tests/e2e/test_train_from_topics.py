"""Engagement learns from the topics of a running engine, with a truth that was planted."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from builders.bombs import CODECS, keep_codecs
from builders.engine import Engine
from builders.engine_topics import post_of
from builders.impressions import BETTER_RATE, RATE, planted_posts
from builders.waiting import now_ms, until
from feedmill.cli.main import main
from feedmill.models.artifact import read_card
from feedmill.rankers.registry import load

pytestmark = pytest.mark.stack
POSTS, USERS = 300, 14


def send_posts(engine: Engine) -> None:
    engine.posts(
        post_of(one.post_id, one.text, author_id=one.author_id)
        for one in planted_posts(POSTS, seed=1)
    )


def send_engagements(engine: Engine) -> int:
    """Each user is shown each post; returns how many clicks came of it.

    Producers of all codecs send them, and what they send stays as it is.
    """
    random, clicks, topic = np.random.default_rng(2), 0, engine.topic("engagements")
    keep_codecs(engine.kafka, topic)
    producers = [
        Producer(
            {
                "bootstrap.servers": engine.kafka,
                "compression.type": codec,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
            }
        )
        for codec in CODECS
    ]

    def send(post: int, user: int, kind: str) -> None:
        value = {"post_id": f"p{post}", "user_id": f"u{user}", "kind": kind, "at_ms": now_ms()}
        producers[user % len(CODECS)].produce(topic, json.dumps(value), f"p{post}")

    for user in range(USERS):
        for post in random.permutation(POSTS).tolist():
            send(post, user, "impression")
            if random.random() < (BETTER_RATE if post % 2 else RATE):
                send(post, user, "click")
                clicks += 1
    assert [producer.flush(30) for producer in producers] == [0] * len(CODECS)
    return clicks


def train(engine: Engine, monkeypatch: pytest.MonkeyPatch, *words: str) -> Result:
    engine.use_environment(monkeypatch)
    return CliRunner().invoke(main, ["train", *words, "--from-topics"])


def test_engagement_learns_from_the_topics_which_posts_are_clicked(
    start_engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Engine = start_engine("engagement", FEEDMILL_FEATURE_SHARE="1")
    # Of what comes while no worker runs, engagements would be read before their posts.
    engine.workers["engagement"].stop()
    send_posts(engine)
    clicks = send_engagements(engine)
    engine.restart("engagement")
    until(lambda: len(engine.latest("features")) == POSTS, 30)
    # A second later it is known that nobody else clicks.
    time.sleep(1.1)
    engine.click("p0", "x", kind="hide", at_ms=1_700_000_000_001)
    engine.producer.flush(30)
    done = train(engine, monkeypatch, "engagement", "--out", str(tmp_path), "--wait", "1s")
    assert done.exit_code == 0, done.output
    card = read_card(tmp_path, "engagement")
    # What the worker's model had read is counted again to the bit.
    assert card.parameters["features_compared"] >= POSTS
    assert card.parameters["features_differing"] == 0
    assert card.metrics["impressions"] == POSTS * USERS
    assert card.metrics["base_rate"] == pytest.approx(clicks / (POSTS * USERS), rel=0.2)
    kept = card.data[0].snapshot
    assert kept is not None
    assert (tmp_path / "snapshots" / f"{kept.sha256}.parquet").exists()
    model = load("engagement", tmp_path)
    priors = model.prior_many(planted_posts(200, seed=9))  # type: ignore[union-attr]  # engagement
    order = np.argsort(priors)
    assert np.mean(order[100:] % 2) > 0.9
    assert priors[1::2].mean() > 1.8 * priors[::2].mean()
