"""Who judges again and when: until every partition is noted to know the present rules."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from feedmill.events.decode import decode_signal
from feedmill.events.settings import Settings
from feedmill.events.signal import RuleVerdict, Signal, SignalNames
from feedmill.filters.rules import FilterRules, RuleMatch
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.ledger import Ledger
from feedmill.streams.settings.environment import Environment
from feedmill.streams.stages.backfill_scan import BackfillMatch, BackfillScan
from feedmill.streams.stages.rule_backfill import RuleBackfill

A, B = TopicPartition("posts", 0), TopicPartition("posts", 1)
SOME = b'{"value": {"r": {"verdict": "hide", "phrases": ["new"]}}}'


class Gathered:
    """A producer that gathers."""

    def __init__(self) -> None:
        self.records: list[tuple[str, bytes, bytes]] = []

    def add(self, topic: str, key: bytes, value: bytes) -> None:
        self.records.append((topic, key, value))

    async def flush(self) -> None:
        await asyncio.sleep(0)


def settings(*changes: tuple[int, bytes | None]) -> Settings:
    """Rules of spam, set or removed by the records at these offsets."""
    found = Settings()
    for offset, value in changes:
        found = found.fold(b"rules/spam", value, offset)
    return found


def made(notes: dict[TopicPartition, str | None], in_force: Settings) -> tuple[RuleBackfill, Any]:
    """One with an assignment of these partitions, and its stage."""
    ledger = Ledger()
    ledger.restart(dict.fromkeys(notes, 10), notes)
    app = SimpleNamespace(epoch=1, ledger=ledger, assigned=asyncio.Event())
    app.assigned.set()
    stage: Any = SimpleNamespace(
        name="spam", app=app, environment=Environment(), producer=Gathered()
    )
    again = RuleBackfill(stage, FilterRules("spam"), lambda hit: RuleVerdict(hit.rule, 1.0))
    again.follow(in_force)
    return again, stage


@pytest.mark.parametrize(
    ("note", "in_force", "behind"),
    [
        (None, settings((7, SOME)), False),  # nothing was judged yet
        ("rules=7", settings((7, SOME)), False),
        ("rules=5", settings((5, SOME), (7, SOME)), True),
        ("rules=5", settings((5, SOME), (7, None)), True),  # removed
        ("", settings((7, SOME)), True),  # of a build that noted nothing
        ("", settings(), False),
        ("rules=9", settings((7, SOME)), True),  # `config` was made anew
        ("rules=9", settings(), True),
    ],
)
def test_a_partition_is_behind_until_it_was_searched_by_these_rules(
    note: str | None, in_force: Settings, behind: bool
) -> None:
    again, stage = made({A: note, B: None}, in_force)
    assert again.behind() == ([A] if behind else [])
    assert stage.app.ledger.take() == {}


def test_a_change_of_rules_is_searched_for_once_and_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[list[int]] = []
    hidden = Signal("p", 3, 1.0, "rule", "r", 5)
    other = Signal("q", 4, 0.2, "spam", "v", 5)

    async def fake(search: BackfillScan, environment: Environment, partitions: list[int]) -> None:
        read.append(partitions)
        search._found = {
            b"p": BackfillMatch(hidden, RuleMatch("hide", "r")),
            b"q": BackfillMatch(other, RuleMatch("hide", "r")),
        }

    monkeypatch.setattr(BackfillScan, "read", fake)

    async def changed() -> tuple[RuleBackfill, Any]:
        again, stage = made({A: "rules=7", B: "rules=9"}, settings((7, SOME), (9, SOME)))
        running = asyncio.ensure_future(again.run())
        for _ in range(20):
            await asyncio.sleep(0)
        running.cancel()
        return again, stage

    again, stage = asyncio.run(changed())
    assert read == [[0]]
    # What is said already is not said again.
    ((topic, key, value),) = stage.producer.records
    said = decode_signal("spam", SignalNames(), key, value)
    assert (topic, said.post_id, said.version) == ("signals.spam", "q", "r")
    assert said.overruled is not None
    assert again.behind() == []
    assert stage.app.ledger.notes == {A: "rules=9", B: "rules=9"}
    assert stage.app.ledger.take() == {A: 10}


@pytest.mark.parametrize("what", ["rules", "assignment"])
def test_a_change_in_the_middle_begins_anew(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> Any:
        again, stage = made({A: "rules=7"}, settings((7, SOME), (9, SOME)))

        async def fake(
            search: BackfillScan, environment: Environment, partitions: list[int]
        ) -> None:
            if what == "rules":
                again.follow(settings((7, SOME), (9, SOME), (11, SOME)))
            else:
                stage.app.epoch += 1
                stage.app.ledger.restart({B: 3}, {B: "rules=7"})

        monkeypatch.setattr(BackfillScan, "read", fake)
        await again._search_and_judge(again.behind())
        return again, stage.app.ledger

    again, ledger = asyncio.run(run())
    assert ledger.take() == {}
    assert again.behind() == [A if what == "rules" else B]
