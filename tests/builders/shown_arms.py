"""An experiment in Redis as readers of feeds see it, written by hand."""

import json
from collections.abc import Mapping

from builders.written_redis import WrittenRedis

POSTS = {f"p{i}": float(i) for i in range(10)}


def run_experiment(
    writer: WrittenRedis, *, traffic: int = 10_000, posts: Mapping[str, float] = POSTS
) -> None:
    """Have the experiment `e` on `global`, of an arm whose list is the control's upside down."""
    writer.feed("global", posts)
    running = {
        "name": "e",
        "salt": "s",
        "traffic": traffic,
        "arms": [{"name": "control", "share": 5000}, {"name": "upside-down", "share": 5000}],
    }
    key = f"{writer.prefix}feed:{{global}}"
    of_arm = f"{key}:arm:e.upside-down"
    writer.client.hset(f"{key}:info", "experiment", json.dumps(running))
    writer.client.zadd(of_arm, {name: -score for name, score in posts.items()})
    writer.client.copy(f"{key}:info", f"{of_arm}:info")
    writer.client.hdel(f"{of_arm}:info", "experiment")
    writer.client.hset(f"{of_arm}:info", "version", 77)
