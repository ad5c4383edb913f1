"""A bit of a model flips in a worker's memory: found, said, its gate decides, and then cured."""

import time
from collections.abc import Callable
from pathlib import Path

from builders.broken_model import alterable_model
from builders.fault_engine import FaultEngine
from builders.waiting import until

OTHERS = ("nsfw", "misinformation", "quality", "engagement")
ALTERED = "altered in memory: the array `spam.ngram_models[0].weights`"


def test_the_model_alone_is_stopped_and_what_it_said_is_judged_again(
    fault_engine: Callable[..., FaultEngine], tmp_path: Path
) -> None:
    engine, flip = fault_engine(), tmp_path / "flip"
    tree = alterable_model(tmp_path / "tree", "spam", flip)
    worker = engine.ready_worker("one", variables={"PYTHONPATH": str(tree)})

    def is_judged(*posts: str) -> bool:
        found = engine.latest("signals.spam")
        return all(post in found and "error" not in found[post] for post in posts)

    def post_and_flip(post_id: str) -> None:
        flip.touch()
        engine.post(post_id, text=f"A walk along the river, part {post_id}")
        until(lambda: not flip.exists())

    engine.post("p0", text="A walk along the river")
    until(lambda: is_judged("p0"))
    assert engine.metric(worker, "feedmill_altered_models") == 0

    # The first time the version in force is loaded anew, and judges all posts again.
    post_and_flip("p1")
    until(lambda: engine.metric(worker, "feedmill_alterations_total") == 1)
    until(lambda: engine.says_ready(worker))
    engine.post("p2", text="A walk along the river, part 2")
    until(lambda: is_judged("p0", "p1", "p2"))
    until(lambda: engine.metric(worker, "feedmill_rescored_total") >= 2)
    until(lambda: {"p0", "p1", "p2"} <= set(engine.order()))

    # Two rounds have begun since the worker reads; one takes a second.
    time.sleep(3.0)
    # The second time it is stopped until somebody restarts the worker; the others go on.
    post_and_flip("q0")
    until(lambda: ALTERED in engine.not_ready_since(worker))
    said = [line for line in worker.log.read_text().splitlines() if "may have judged" in line]
    assert len(said) == 2
    assert " posts[0] from " in said[-1]
    engine.post("q1", text="A walk along the river, the last part")
    until(lambda: "q1" in engine.latest("signals.spam"))
    signal = engine.latest("signals.spam")["q1"]
    assert (signal["value"], signal["error"]) == (None, f"RuntimeError: {ALTERED}")
    until(lambda: all("q1" in engine.latest(f"signals.{name}") for name in OTHERS))
    for name in OTHERS:
        assert "error" not in engine.latest(f"signals.{name}")["q1"]
    until(lambda: engine.truth("q1").get("decision") == "hold")
    assert engine.metric(worker, "feedmill_altered_models") == 1
    assert engine.metric(worker, "feedmill_alterations_total") == 2
    engine.wait_applied(engine.set("gates", {"spam": {"on_failure": "open", "grace_s": 0}}))
    until(lambda: engine.truth("q1").get("decision") == "show")

    worker.stop()
    engine.restart(worker.name)
    engine.wait_ready(worker.name)
    until(lambda: is_judged("q0", "q1"))
