"""Markers of a transaction that Kafka lost: workers go on, and their next commit ends it."""

from builders.engine import Engine, changed
from builders.lost_markers import leave_open
from builders.waiting import until

NAME = "steady"
POSTS = [f"p{n}" for n in range(12)]
TOPICS = ("signals.quality", "counters")
# A worker takes a transaction for one without an end after 5 s, not 20.
IMPATIENT = (
    "from feedmill.streams.kafka import read_progress",
    "read_progress.HANGS_AFTER_S = 5.0",
)


def test_a_restore_goes_on_behind_a_transaction_that_never_ends_and_writing_ends_it(
    engine: Engine,
) -> None:
    worker = engine.ready_worker(NAME)
    engine.wait_decided({post_id: engine.post(post_id) for post_id in POSTS})
    click_all(engine, "before")
    until(lambda: engine.clicks() == dict.fromkeys(POSTS, 1))
    worker.stop()
    for topic in TOPICS:
        last = engine.read_all(topic)[-1]
        where = engine.topic(topic), last.partition
        leave_open(engine.kafka, engine.topic(f"worker/{NAME}"), *where, [(last.key, last.value)])
        assert engine.open_transactions(topic)
    # It waits for the end of each, one after the other.
    worker = engine.ready_worker(NAME, variables=changed(engine.folder, *IMPATIENT))
    complaints = [line for line in worker.log.read_text().splitlines() if "does not end" in line]
    assert [any(engine.topic(t) in line for line in complaints) for t in TOPICS] == [True, True]
    engine.wait_decided({post_id: engine.post(post_id) for post_id in POSTS})
    click_all(engine, "after")
    until(lambda: engine.clicks() == dict.fromkeys(POSTS, 2))
    until(lambda: not any(map(engine.open_transactions, TOPICS)))


def click_all(engine: Engine, user: str) -> None:
    for post_id in POSTS:
        engine.click(post_id, user).get(30)
