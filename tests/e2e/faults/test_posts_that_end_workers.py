"""A filter that never returns on one text and takes all memory on another: the rest is ranked."""

from pathlib import Path
from typing import Any

from builders.broken_model import poison_model
from builders.engine import GATES, Engine
from builders.engine_topics import PARTITIONS, id_in
from builders.waiting import until

# Of two workers each gets one of them.
ENDLESS, GREEDY = id_in(0, "endless"), id_in(PARTITIONS - 1, "greedy")
TEXTS = {ENDLESS: "On this text it never returns", GREEDY: "On this text it takes all memory"}


def run_until_shown(engine: Engine, name: str, post: str) -> int:
    """Start a worker again whenever it ends, as a supervisor does; how often it ended."""
    ends = 0
    while post not in engine.order():
        if engine.workers[name].process.poll() is not None:
            ends += 1
            assert ends < 6, engine.workers[name].log.read_text()[-3000:]
            engine.restart(name)
        until(
            lambda: post in engine.order() or engine.workers[name].process.poll() is not None, 300
        )
    return ends


def judged(engine: Engine, post: str) -> dict[str, Any]:
    """By gate the error that its signal of a post has, None where it has a value."""
    return {gate: engine.latest(f"signals.{gate}")[post].get("error") for gate in GATES}


def test_they_are_skipped_after_the_ends_that_they_caused(engine: Engine, tmp_path: Path) -> None:
    tree = poison_model(tmp_path / "tree", "nsfw")
    engine.variables["PYTHONPATH"] = str(tree)
    worker = engine.ready_worker("one")
    engine.post("before")
    engine.wait_shown("before")
    for post, text in TEXTS.items():
        engine.post(post, text)
    behind = [id_in(PARTITIONS - 1, "behind"), id_in(0, "behind")]
    for post in behind:
        engine.post(post)
    assert sum(run_until_shown(engine, worker.name, post) for post in behind) <= 2

    # What all gates say of them is an error, and the filters' gates hold what has one.
    until(lambda: {engine.truth(post).get("decision") for post in TEXTS} == {"hold"})
    for post in TEXTS:
        errors = judged(engine, post)
        assert all(
            str(error).startswith("judged by no model: it takes") for error in errors.values()
        )
    assert judged(engine, behind[0]) == dict.fromkeys(GATES)
    letters = engine.dead_letters()
    assert {letter["key"] for letter in letters.values()} == {post.encode() for post in TEXTS}
    said = {letter["key"].decode(): letter["error"] for letter in letters.values()}
    assert said[ENDLESS] == "judged by no model: it takes more than 2 s of processor"
    assert said[GREEDY] == "judged by no model: it takes more than 1024 MiB"

    # Another worker takes half of the partitions over, and meets them in what it restores.
    other = engine.ready_worker("two")
    for partition in range(PARTITIONS):
        engine.post(id_in(partition, "after"))
    for partition in range(PARTITIONS):
        engine.wait_shown(id_in(partition, "after"))
    assert [one.process.poll() for one in (engine.workers[worker.name], other)] == [None, None]
    assert set(engine.dead_letters()) == set(letters)
