"""A model that raises on every batch: its own signal says so, and everything else goes on."""

import re
import urllib.request
from collections.abc import Callable
from pathlib import Path

from builders.broken_model import break_model
from builders.fault_engine import FaultEngine
from builders.waiting import until
from feedmill.deploy.local.ports import free_port

ERROR = "RuntimeError: this model is broken"
OTHERS = ("spam", "misinformation", "quality", "engagement")
POSTS = [f"p{i}" for i in range(30)]


def model_errors(port: int) -> dict[str, float]:
    """By stage on how many posts its model failed, as the worker's own page says."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
        text = page.read().decode()
    lines = re.findall(r"^feedmill_model_errors_total\{(.*)\} (.*)$", text, re.M)
    return {re.findall(r'stage="(\w+)"', labels)[0]: float(count) for labels, count in lines}


def test_only_its_own_signal_carries_an_error_and_its_gate_decides(
    fault_engine: Callable[..., FaultEngine], tmp_path: Path
) -> None:
    engine, port = fault_engine(), free_port(set())
    tree = break_model(tmp_path / "tree", "nsfw")
    engine.ready_worker(variables={"PYTHONPATH": str(tree), "FEEDMILL_PORT": str(port)})
    for post in POSTS:
        engine.post(post, text=f"A walk along the river, part {post}")
    until(lambda: set(POSTS) <= set(engine.latest("signals.nsfw")))
    for signal in engine.latest("signals.nsfw").values():
        assert (signal["value"], signal["error"]) == (None, ERROR)
    # All others say what they think, and without nsfw no post is shown.
    until(lambda: all(set(POSTS) <= set(engine.latest(f"signals.{name}")) for name in OTHERS))
    for name in OTHERS:
        assert all("error" not in signal for signal in engine.latest(f"signals.{name}").values())
    until(lambda: {engine.truth(post).get("decision") for post in POSTS} == {"hold"})
    assert engine.order() == []
    assert model_errors(port) == {"nsfw": len(POSTS)}

    # The gate's policy decides, not the model's end.
    engine.wait_applied(engine.set("gates", {"nsfw": {"on_failure": "open", "grace_s": 0}}))
    until(lambda: set(engine.order()) == set(POSTS))
    assert {engine.truth(post)["decision"] for post in POSTS} == {"show"}
    assert engine.complaints() == []
