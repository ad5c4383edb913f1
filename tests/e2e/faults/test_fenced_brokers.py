"""A cluster that names no broker for a moment: some clients forget those they knew, and go on."""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builders.fault_engine import FaultEngine
from builders.metadata_proxy import MetadataProxy
from builders.proxied_kafka import ProxiedKafka
from builders.waiting import in_background
from chaos.load import Load
from chaos.recovery import settled

# Which client forgets its brokers is a matter of milliseconds: few rounds pass without any.
MOST_ROUNDS = 40
# Of the reason that a worker gives where it takes another client.
FOUND_NONE = "found no broker"


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[tuple[ProxiedKafka, MetadataProxy]]:
    """A broker of this test alone, and what its clients are led through."""
    kafka = ProxiedKafka(tmp_path / "kafka", proxy := MetadataProxy())
    try:
        yield kafka, proxy
    finally:
        kafka.close()


def test_clients_that_forgot_every_broker_are_replaced(
    kafka: tuple[ProxiedKafka, MetadataProxy], fault_engine: Callable[..., FaultEngine]
) -> None:
    broker, proxy = kafka
    engine = fault_engine(kafka=broker.direct)
    engine.variables["FEEDMILL_KAFKA"] = broker.proxied
    log = engine.ready_worker().log

    def has_found_none() -> bool:
        return FOUND_NONE in log.read_text()

    with in_background(Load(engine, random.Random(5)).send_until):
        for _ in range(MOST_ROUNDS):
            time.sleep(1.0)
            if has_found_none():
                break
            proxy.hides_brokers.set()
            # Who connects anew asks for metadata.
            proxy.cut()
            time.sleep(1.0)
            proxy.hides_brokers.clear()
    # Where that never is so, clients need not be watched any more.
    assert has_found_none(), f"{proxy.hidden} answers named no broker"
    assert settled(engine).examples == []
    engine.wait_ready()
