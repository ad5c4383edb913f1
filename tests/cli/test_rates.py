"""`feedmill rates learn` on a real Kafka: what counts say, and the setting that follows."""

import json

import pytest

from builders.commands import CommandTopics, Run
from feedmill.events.rates import RATES
from feedmill.features.counters import Counters, update
from feedmill.streams.engagement.packed_states import PostState, encode_state

pytestmark = pytest.mark.stack
POSTS = 60


def write(topics: CommandTopics) -> None:
    """Each post has 100 impressions, and 3 to 9 replies."""
    topics.make("config", "counters", "audit", "instances")
    for number in range(POSTS):
        counters = Counters()
        for place in range(100):
            update(counters, "impression", 1_700_000_000_000)
            if place % 100 < 3 + number % 7:
                update(counters, "reply", 1_700_000_000_000)
        state = PostState(f"p{number}", number, counters=counters)
        topics.send("counters", state.post_id, json.loads(encode_state(state)))
    topics.send("counters", "deleted", None)
    topics.send("counters", "broken", {"post_id": 5})


def test_rates_are_learned_shown_and_set(run: Run, topics: CommandTopics) -> None:
    write(topics)
    shown = run("rates learn")
    assert (shown.exit_code, "nothing was changed" in shown.stdout) == (0, True)
    assert "1 records of `counters` are unreadable" in shown.stderr
    assert "share, dwell, hide, report: fewer than 200 reactions" in shown.stdout
    clicks = "nothing was learned of clicks: `feedmill train engagement --from-topics` learns how"
    assert clicks in shown.stdout
    assert json.loads(run("config get rates --json").stdout)["offset"] == -1
    learned = {one["kind"]: one for one in json.loads(run("rates learn --json").stdout)}
    assert learned["reply"]["base"] == pytest.approx(0.06, abs=0.002)
    assert not learned["hide"]["is_learned"]
    done = run("rates learn --set --by ann --note measured --timeout 0")
    assert done.exit_code == 0, done.output
    effective = json.loads(run("config get rates --json").stdout)
    assert effective["value"].keys() == {"reply"}
    assert effective["effective"]["reply"]["base"] == learned["reply"]["base"]
    assert effective["effective"]["hide"]["base"] == RATES["hide"].base
    assert (effective["by"], effective["note"]) == ("ann", "measured")
    [audited] = json.loads(run("audit --json").stdout)
    assert (audited["by"], audited["note"]) == ("ann", "measured")
    assert run("config rollback rates --timeout 0").exit_code == 0
    assert json.loads(run("config get rates --json").stdout)["value"] is None


def test_nothing_is_set_where_nothing_was_learned(run: Run, topics: CommandTopics) -> None:
    topics.make("config", "counters", "audit", "instances")
    refused = run("rates learn --set --timeout 0")
    assert refused.exit_code == 1
    assert "no kind has 200 reactions" in refused.stderr
