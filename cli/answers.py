"""How a command waits for the running instances' answers to what it wrote, and reports them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from feedmill.events.errors import FeedmillError
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import TopicReader, open_topic
from feedmill.streams.settings.instances import SettingAnswer


@contextmanager
def instances_topic(environment: Environment, timeout_s: float) -> Iterator[TopicReader | None]:
    """Open `instances` before the record is sent, which may then fail; None: do not wait."""
    if not timeout_s:
        yield None
        return
    with open_topic(environment, "instances") as reader:
        yield reader


def answer_line(answer: SettingAnswer) -> str:
    """Return an answer as a line for people."""
    if answer.state == "silent":
        return f"  silent   {answer.instance}"
    reason = "" if answer.reason is None else f": {answer.reason}"
    return f"  {answer.state:8} {answer.instance}  {answer.ms} ms{reason}"


def check_answers(
    answers: Sequence[SettingAnswer],
    timeout_s: float,
    what: str,
    otherwise: str,
    if_refused: str = "",
) -> None:
    """Fail where an instance refused, or was silent.

    Parameters
    ----------
    answers, timeout_s
        What came, and how long was waited.
    what, otherwise
        What was written, and what silent instances will do.
    if_refused
        What is to be said after the reason of a refusal.

    Raises
    ------
    FeedmillError
        With the instances and the first reason.
    """
    refused = [answer for answer in answers if answer.state == "refused"]
    silent = [answer.instance for answer in answers if answer.state == "silent"]
    if refused:
        names = ", ".join(answer.instance for answer in refused)
        raise FeedmillError(f"refused by {names}: {refused[0].reason}{if_refused}")
    if silent:
        raise FeedmillError(
            f"{what} is written, but {', '.join(silent)} did not answer within {timeout_s:g} s;"
            f" {otherwise}"
        )
