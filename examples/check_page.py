"""Recomputes a page of a reader from the answer alone: scores, order and author cap.

It needs Python alone, and nothing of feedmill: the formula is docs/contracts.md, "The score".

    curl -s -d '{"count": 20}' localhost:8090/v1/feeds/global | python examples/check_page.py
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from typing import Any

EPOCH_MS = 1_577_836_800_000
HOUR_MS = 3_600_000
WITHIN = 1e-9


def score_of(post: dict[str, Any], weights: dict[str, Any]) -> float:
    """Compute the score of a post from what the answer says of it."""
    signals = post["signals"]
    total = 0.0
    for name, scale in weights["scale"].items():
        if weights[name]:
            total += weights[name] * scale * signals[name]["value"]
    score = math.log2(max(total, 2.0**-40) * post["factor"])
    for name, cost in weights.get("costs", {}).items():
        score -= cost * signals[name]["value"]
    if weights["half_life_hours"] is not None:
        score += (post["created_ms"] - EPOCH_MS) / (weights["half_life_hours"] * HOUR_MS)
    adjustments = post.get("adjustments", {})
    doublings: float = adjustments.get("author", 0.0) + sum(
        adjustments.get("communities", {}).values()
    )
    return score + doublings


def complaints(answer: dict[str, Any]) -> list[str]:
    """Return what is wrong with a page; nothing, if all is as it says."""
    found, weights = [], answer["weights"]
    before: tuple[float, bytes] | None = None
    authors = Counter[str]()
    for post in answer["posts"]:
        name, score = post["post_id"], post["score"]
        if abs(score_of(post, weights) - score) > WITHIN:
            found.append(f"{name}: score {score}, computed {score_of(post, weights)}")
        place = score, name.encode()
        if before is not None and place > before:
            found.append(f"{name} ({score}) stands below {before[1].decode()} ({before[0]})")
        before = place
        authors[post["author_id"]] += 1
        cap = weights["max_per_author"]
        if cap is not None and authors[post["author_id"]] > cap:
            found.append(f"{name}: more than {cap} posts of {post['author_id']}")
    return found


def main() -> None:
    """Check the answer on standard input; exit code 1 if something is wrong."""
    answer = json.load(sys.stdin)
    wrong = complaints(answer)
    print("\n".join(wrong) or f"{len(answer['posts'])} posts: all is as the page says")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
