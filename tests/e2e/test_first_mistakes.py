"""What goes wrong in the first hour is said where people look: by /readyz, in the README."""

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.errors import KafkaError

from builders.engine import Engine
from builders.waiting import until

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def engine(start_shared_engine: Any) -> Engine:
    engine: Engine = start_shared_engine("quality+engagement")
    return engine


def test_a_second_group_that_judges_the_same_is_not_ready_and_says_why(engine: Engine) -> None:
    # Named after the first one: `worker-quality-engagement` comes before `worker-quality-spam`.
    engine.start("quality+spam")
    second = engine.workers["quality+spam"]
    own = engine.workers["quality+engagement"]

    def said() -> str:
        assert second.process.poll() is None, second.log.read_text()[-3000:]
        try:
            url = engine.metrics_url(second.name).replace("metrics", "readyz")
            urllib.request.urlopen(url)  # noqa: S310 - of the engine's own log
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except (OSError, IndexError):
            pass
        return ""

    group = f"{engine.prefix}worker-quality-engagement"
    until(lambda: f"the group `{group}` runs the stage quality, too" in said())
    until(lambda: "runs the stage quality, too" in own.log.read_text())
    assert engine.instances()[next(k for k in engine.instances() if k.startswith("engagement/"))][
        "ready"
    ]
    second.stop()
    del engine.workers["quality+spam"]


def test_producers_are_told_that_kafka_refuses_a_record_without_a_key(engine: Engine) -> None:
    # All in one batch, as of a producer that is busy.
    busy = KafkaProducer(bootstrap_servers=engine.kafka, linger_ms=1000)
    keys = (b"p1", None, b"p2")
    sent = [busy.send(engine.topic("posts"), b"{}", key, partition=0) for key in keys]
    for future in sent:
        with pytest.raises(
            KafkaError, match=r"Compacted topic cannot accept|part of a batch which"
        ):
            future.get(30)
    busy.close()
    told = (ROOT / "README.md").read_text()
    assert "Kafka refuses a post without a key, and the other records of its batch" in told
