"""The engine still does what it did when it was recorded, to nine digits.

Generated records with fixed offsets and times go through decoders, models, rules, counters and
the combiner, without Kafka and Redis; `record.py` says when to record anew.
"""

import pytest

from builders.golden_flow import Flow
from builders.golden_recording import RECORDED, REFUSALS, Recording, differences, plain, read

SHOWN = 10  # differences that a failure shows


@pytest.fixture(scope="module")
def flow() -> Recording:
    return Flow().run()


@pytest.mark.parametrize("section", read(RECORDED))
def test_the_flow_gives_what_was_recorded(section: str, flow: Recording) -> None:
    found = differences(plain(flow.sections)[section], read(RECORDED)[section])
    assert not found, f"{len(found)} lines differ in {section}:\n" + "\n".join(found[:SHOWN])


def test_nothing_is_recorded_that_is_not_compared(flow: Recording) -> None:
    assert list(flow.sections) == list(read(RECORDED))


def test_records_are_refused_in_the_words_that_were_recorded(flow: Recording) -> None:
    found = differences(plain(flow.refusals)["refusals"], read(REFUSALS)["refusals"])
    assert not found, f"{len(found)} refusals differ:\n" + "\n".join(found[:SHOWN])
