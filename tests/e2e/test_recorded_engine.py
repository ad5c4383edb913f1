"""A whole engine still decides and scores as it did when `recorded_engine.json` was recorded.

`record_engine.py` records it again.  Whether the feeds are right, other tests check.
"""

import json

import pytest

from builders.engine import Engine, Json
from builders.recorded_engine import RECORDED, recorded_posts, settled

pytestmark = pytest.mark.stack

TOLERANCE = 1e-9


def test_decisions_and_scores_are_those_that_were_recorded(whole_engine: Engine) -> None:
    recorded: Json = json.loads(RECORDED.read_text("utf-8"))
    with recorded_posts(whole_engine) as sent:
        found = settled(whole_engine, sent)
    assert list(found) == list(recorded)
    for exact in ("decisions", "models", "age_ms"):
        assert found[exact] == recorded[exact]
    assert found["values"].keys() == recorded["values"].keys()
    for post_id, values in found["values"].items():
        assert values == pytest.approx(recorded["values"][post_id], abs=TOLERANCE, rel=0), post_id
    assert list(found["scores"]) == list(recorded["scores"])
    assert found["scores"] == pytest.approx(recorded["scores"], abs=TOLERANCE, rel=0)
    assert whole_engine.complaints() == []
