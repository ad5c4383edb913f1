"""How an app for a signal of one's own is configured, without Kafka."""

import dataclasses
import re
import runpy
from pathlib import Path

import pytest

from feedmill.events.errors import UsageError
from feedmill.events.post import Post
from feedmill.streams.own_signal import signal_app
from feedmill.streams.settings.environment import Environment, declared_signals

PAGE = Path(__file__).parents[3] / "docs" / "own_signals.md"
ENVIRONMENT = Environment(
    kafka="one:9092,two:9093",
    topic_prefix="shop.",
    signals=declared_signals("novelty:objective"),
    instance="n-1",
)


def test_an_undeclared_signal_is_refused() -> None:
    with pytest.raises(UsageError, match="FEEDMILL_SIGNALS=charm:objective, or charm:gate"):
        signal_app("charm", model="m", version="1", environment=ENVIRONMENT)


def test_its_group_is_the_name_of_its_topic() -> None:
    app = signal_app("novelty", model="m", version="1", environment=ENVIRONMENT)
    assert app.conf.id == "shop.signals.novelty"
    assert [str(url) for url in app.conf.broker] == ["kafka://one:9092", "kafka://two:9093"]
    assert app.conf.consumer_group_instance_id is None


def test_a_given_instance_is_a_static_member() -> None:
    given = dataclasses.replace(ENVIRONMENT, instance_is_given=True)
    app = signal_app("novelty", model="m", version="1", environment=given)
    assert app.conf.consumer_group_instance_id == "n-1"


def test_the_page_about_signals_has_a_program_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    program = tmp_path / "length.py"
    program.write_text(code)
    monkeypatch.setenv("FEEDMILL_SIGNALS", "length:objective")
    found = runpy.run_path(str(program))
    assert found["app"].conf.id == "signals.length"
    assert len(found["app"].agents) == 1
    assert found["length"](Post("p", "a", 0, "x" * 500)) == 0.5


def test_settings_of_faust_are_passed_on() -> None:
    app = signal_app("novelty", model="m", version="1", environment=ENVIRONMENT, web_port=7001)
    assert app.conf.web_port == 7001
