"""Writes dead letters in the transaction of a cycle."""

from __future__ import annotations

from feedmill.streams.kafka.dead_letters import TOPIC, dead_letter
from feedmill.streams.kafka.validation import RejectedRecord
from feedmill.streams.stages.step import Writer


def write_letter(rejection: RejectedRecord, stage: str, at_ms: int, writer: Writer) -> None:
    """Write the dead letter of a record in the name of a stage; its partition's owner does."""
    key, value, headers = dead_letter(rejection, stage, at_ms)
    owner = rejection.source.partition
    writer.add(TOPIC, key, value, owner=owner, partition=0, headers=headers)
