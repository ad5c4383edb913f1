"""A topic is deleted and created again: workers stop loudly, and name the commands that go on."""

from click.testing import CliRunner, Result

from builders.engine_topics import post_of
from builders.fault_engine import ALL_STAGES, FaultEngine
from builders.named_commands import create_topics, delete_topic, reason_of, run_named
from builders.waiting import until
from feedmill.cli.main import main

BEFORE = [f"before-{n}" for n in range(40)]
# More records in each partition than there were: no offset is out of range.
AFTER = [f"after-{n}" for n in range(120)]


def send_posts(engine: FaultEngine, post_ids: list[str]) -> None:
    engine.posts(post_of(p, f"A walk with {p}") for p in post_ids)


def recreate(engine: FaultEngine, name: str) -> None:
    delete_topic(engine, name)
    create_topics(engine)


def topics_reset(engine: FaultEngine, *words: str) -> Result:
    where = ("--kafka", engine.kafka, "--prefix", engine.prefix)
    return CliRunner().invoke(main, ["topics", "reset", *where, *words])


def test_posts_of_another_topic_are_not_taken_for_those_that_were_read(engine: FaultEngine) -> None:
    engine.ready_worker()
    send_posts(engine, BEFORE)
    engine.wait_decided(BEFORE)
    recreate(engine, "posts")
    send_posts(engine, AFTER)
    name = engine.topic("posts")
    named = f"`{name}` was deleted and created again"
    reason = until(lambda: reason_of(engine, ALL_STAGES, named))
    assert f"feedmill topics reset --kafka {engine.kafka} --prefix {engine.prefix}" in reason
    until(lambda: not any(beat["ready"] for beat in engine.instances().values()))

    # A restart changes nothing about it.
    engine.workers[ALL_STAGES].stop()
    engine.workers[ALL_STAGES].log.write_text("")
    engine.restart(ALL_STAGES)
    until(lambda: reason_of(engine, ALL_STAGES, named))

    refused = topics_reset(engine)
    assert refused.exit_code == 1
    assert " members: stop all workers first" in refused.stderr
    # Nothing was done: what was made of the former posts is there.
    assert "signals.spam" in topics_reset(engine, "--dry-run").stdout
    engine.workers[ALL_STAGES].stop()
    planned = topics_reset(engine, "--dry-run").stdout.splitlines()
    assert planned[0] == "posts: made anew"
    assert planned[-1] == "read from the beginning: worker"
    assert "signals.spam" in planned[1] and "counters" in planned[1]
    run_named(engine, reason)
    assert "nothing to reset" in topics_reset(engine, "--dry-run").stdout
    engine.restart(ALL_STAGES)
    engine.wait_ready()
    until(lambda: set(engine.order()) == set(AFTER))
    engine.wait_decided(AFTER)
