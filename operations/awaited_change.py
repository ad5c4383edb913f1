"""Records that change what runs, written at once, and the answers of the instances to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

from feedmill.events.instance import Instance
from feedmill.operations.changes import Change, MadeBy, write_changes
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import SentRecord, TopicReader, open_topic
from feedmill.streams.settings.instances import (
    SettingAnswer,
    read_recent_instances,
    setting_answers,
)

# What each instance does with the record at an offset, as `setting_answers` yields it.
AnswersOf = Callable[[TopicReader, Mapping[str, Instance], int, float], Iterator[SettingAnswer]]


class Written(NamedTuple):
    """Where records stand that were written, and what the instances did with the last one."""

    places: Sequence[SentRecord]
    answers: Sequence[SettingAnswer]

    @property
    def offset(self) -> int:
        """Where the last record stands."""
        return self.places[-1].offset


@dataclass(frozen=True)
class AwaitedChange:
    """Who changes what runs and why, and who hears of it step by step.

    Attributes
    ----------
    timeout_s
        How long to wait for the answers of the instances; 0: not at all.
    on_written
        Called once the records are written, with their places and how many instances will answer;
        None: nobody is waited for.
    on_answer
        Called with each answer.
    """

    environment: Environment
    made_by: MadeBy
    timeout_s: float
    on_written: Callable[[Sequence[SentRecord], int | None], None] = lambda _, __: None
    on_answer: Callable[[SettingAnswer], None] = lambda _: None

    def write(self, records: Sequence[Change], answers_of: AnswersOf = setting_answers) -> Written:
        """Write records, all or none, and wait for what the instances do with the last one.

        Raises what `open_changes` and `open_topic` raise.
        """
        # Opened before the records are sent, since that may fail.
        waits = open_topic(self.environment, "instances") if self.timeout_s else nullcontext(None)
        with waits as reader:
            places = write_changes(self.environment, self.made_by, records)
            if reader is None:
                self.on_written(places, None)
                return Written(places, [])
            offset, at_ms = places[-1]
            instances = read_recent_instances(reader, at_ms)
            self.on_written(places, len(instances))
            answers = []
            for answer in answers_of(reader, instances, offset, self.timeout_s):
                self.on_answer(answer)
                answers.append(answer)
        return Written(places, answers)
