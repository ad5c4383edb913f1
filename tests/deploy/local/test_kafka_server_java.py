"""How the servers of the local stack are started."""

import pytest

from feedmill.deploy.local.kafka_server import broker_tuning, java_command


def test_a_broker_has_the_options_that_kafkas_own_scripts_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KAFKA_JVM_PERFORMANCE_OPTS", "-XX:+UseG1GC '-Dname=two words'")
    assert broker_tuning() == ["-XX:+UseG1GC", "-Dname=two words"]
    command = java_command("kafka.Kafka", ["a"], heap_mb=64, tuning=broker_tuning())
    assert command[1:4] == ["-Xmx64m", "-XX:+UseG1GC", "-Dname=two words"]
    assert command[-2:] == ["kafka.Kafka", "a"]


@pytest.mark.parametrize("given", [None, ""])
def test_without_any_it_is_small(given: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if given is None:
        monkeypatch.delenv("KAFKA_JVM_PERFORMANCE_OPTS", raising=False)
    else:
        monkeypatch.setenv("KAFKA_JVM_PERFORMANCE_OPTS", given)
    assert "-XX:TieredStopAtLevel=1" in broker_tuning()
    assert "-Xmn24m" in broker_tuning()
