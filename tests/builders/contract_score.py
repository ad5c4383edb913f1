"""What a feed must be, recomputed from `:info` and `signals:` as anyone may.

The contract's sections 3 and 4 once more: nothing here uses feedmill's own code.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import numpy as np

EPOCH_MS = 1577836800000
LARGEST_FEED = 500
# What a post has of these without a value.
BASES = {
    "reply": 0.014962551,
    "share": 0.011537705,
    "dwell": 0.08464097,
    "hide": 0.006290978,
    "report": 0.0030121305,
}

Truth = Mapping[str, Any]


# Value, version, milliseconds after the post arrived, version of the post.
SIGNAL = re.compile(r"(\S+) (.*) (-?\d+)(?: @(\d+))?", re.DOTALL)


def truth_of(fields: Mapping[str, str]) -> dict[str, Any]:
    """The hash `signals:<post_id>` with its signals and JSON fields decoded, `decision` always.

    In place of `post` it has `post_offset`, `created_ms`, and `arrived_ms` where it differs.
    """
    if not fields:
        return {}
    post_offset, created_ms, later_ms = map(int, fields.get("post", "-1 0 0").split())
    arrived_ms = created_ms + later_ms
    found = {
        name: _decoded(name, value, fields, post_offset, arrived_ms)
        for name, value in fields.items()
        if name != "post" and not name.endswith(".error")
    }
    if "post" in fields:
        found |= {"post_offset": str(post_offset), "created_ms": str(created_ms)}
        found |= {"arrived_ms": str(arrived_ms)} if later_ms else {}
    return {"decision": "show", **found}


def _decoded(
    name: str, value: str, fields: Mapping[str, str], post_offset: int, arrived_ms: int
) -> Any:
    if value.startswith("{"):
        return json.loads(value)
    signal = SIGNAL.fullmatch(value)
    if signal is None:
        return value
    number, version, after_ms, other_offset = signal.groups()
    model, is_other, rest = version.partition("@")
    if version.startswith("rule:"):
        model, version = "rule", version.removeprefix("rule:")
    elif is_other:
        model, version = unquote(model), rest
    else:
        model = name
    error = fields.get(f"{name}.error")
    return {
        "value": None if number == "null" else float(np.float32(number)),
        "model": model,
        "version": version,
        "post_offset": int(other_offset or post_offset),
        "at_ms": arrived_ms + int(after_ms),
        **({"error": error} if error else {}),
    }


def check_ranking(
    entries: Sequence[tuple[str, float]], info: Mapping[str, str], truths: Mapping[str, Truth]
) -> None:
    """Assert that a feed as read, best first, is the ranking of all these posts."""
    wanted = ranking(truths, info)[:LARGEST_FEED]
    assert [post for post, _ in entries] == [post for post, _ in wanted]
    for (_, found), (_, right) in zip(entries, wanted, strict=True):
        assert abs(found - right) <= 1e-9
    assert int(info["size"]) == len(entries)


def ranking(truths: Mapping[str, Truth], info: Mapping[str, str]) -> list[tuple[str, float]]:
    """Every post that is shown, and its score, best first."""
    weights, gates = json.loads(info["weights"]), json.loads(info["gates"])
    scored = []
    for post_id, truth in truths.items():
        factor = factor_of(truth, gates)
        if factor is not None:
            scored.append((score(truth, weights, factor), post_id.encode(), truth["author_id"]))
    scored.sort(reverse=True)
    most, per_author, kept = weights["max_per_author"], dict[str, int](), []
    for value, id_bytes, author in scored:
        per_author[author] = per_author.get(author, 0) + 1
        if most is None or per_author[author] <= most:
            kept.append((id_bytes.decode(), value))
    return kept


def factor_of(truth: Truth, gates: Mapping[str, Mapping[str, Any]]) -> float | None:
    """The product of demote factors of a post; None where it is not shown.

    Of overrides the tests use one that hides.
    """
    if truth.get("override"):
        assert truth["override"]["verdict"] == "hide"
        return None
    factor = 1.0
    for name, gate in gates.items():
        if not gate["enabled"] or gate["shadow"]:
            continue
        signal = truth.get(name)
        if (
            signal is None
            or signal["value"] is None
            or signal["post_offset"] != int(truth["post_offset"])
        ):
            return None
        value = float(np.float32(signal["value"]))
        if gate["hide_at"] is not None and value >= gate["hide_at"]:
            return None
        if gate["demote_at"] is not None and value >= gate["demote_at"]:
            factor *= gate["demote_factor"]
    return factor


def score(truth: Truth, weights: Mapping[str, Any], factor: float = 1.0) -> float:
    """The contract's formula."""
    total = sum(
        weights[name] * scale * _value(truth, name, weights)
        for name, scale in weights["scale"].items()
    )
    value = math.log2(max(total, 2.0**-40) * factor)
    for name, cost in weights.get("costs", {}).items():
        value -= cost * _value(truth, name, weights)
    if weights["half_life_hours"] is not None:
        value += (int(truth["created_ms"]) - EPOCH_MS) / (weights["half_life_hours"] * 3_600_000)
    return value


def _value(truth: Truth, name: str, weights: Mapping[str, Any]) -> float:
    """Its own value, else the base that the weights name; `BASES` without them."""
    value = (truth.get(name) or {}).get("value")
    base = weights.get("bases", BASES).get(name, 0.0)
    return float(np.float32(base if value is None else value))
