"""What is wrong with Redis: what it is, its memory, encodings, rights, and keys of other types."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import redis

from feedmill.operations.status.finding import Finding, Severity, seconds
from feedmill.operations.status.installation import CLOCK_TOLERANCE_MS, Installation, RedisNode
from feedmill.streams.redis.pipelines import is_cluster

# As long as no field is longer, a post is one compact string: docs/contracts.md.
_MOST_VALUE_BYTES = 64
# `SET … XX GET` and `ZRANGE … REV`.
_LEAST_VERSION = (6, 2)
# A feed of the default size is no listpack: to write one takes ten times as long.
_MOST_LISTPACK_ENTRIES = 499
_ANY = 2**31
# Fields of `signals:<post_id>` beside those of signals.
_OTHER_FIELDS = 6
_FULL, _NEARLY_FULL = 0.95, 0.80
_SAMPLED_FEEDS = 50
# What the worker and its scripts call, with what stands behind the key.
CALLS: dict[str, tuple[str, ...]] = {
    **{"ZADD": ("1", "x"), "ZREM": ("x",), "ZCARD": (), "ZSCORE": ("x",), "ZRANGE": ("0", "1")},
    **{"ZCOUNT": ("0", "1"), "ZRANGEBYSCORE": ("0", "1")},
    **{"HSET": ("f", "x"), "HSETNX": ("f", "x"), "HDEL": ("f",), "HKEYS": (), "HLEN": ()},
    **{"HMGET": ("f",), "SET": ("x",), "GET": (), "EXISTS": (), "DEL": (), "PEXPIREAT": ("1",)},
}

_NodeCheck = Callable[[Installation, RedisNode], Iterator[Finding]]


def _of_each_node(check: _NodeCheck) -> Callable[[Installation], Iterator[Finding]]:
    """Return a check of the server, or of each primary of a cluster."""

    @wraps(check)
    def of_all(inst: Installation) -> Iterator[Finding]:
        for node in inst.redis_nodes:
            yield from check(inst, node)

    return of_all


@_of_each_node
def redis_clock(inst: Installation, node: RedisNode) -> Iterator[Finding]:
    """Redis' clock, by which keys expire, is near this host's."""
    try:
        at_s, microseconds = node.client.time()
    except redis.ResponseError:
        return  # no right to ask
    off_ms = at_s * 1000 + microseconds // 1000 - inst.now_ms()
    if abs(off_ms) > CLOCK_TOLERANCE_MS:
        side = "ahead of" if off_ms > 0 else "behind"
        yield _finding(
            node,
            "warn",
            f"its clock is {seconds(abs(off_ms))} {side} that of this host",
            "compare both with another clock, and set the wrong one (NTP, chrony). Posts of a feed"
            " expire by Redis' clock",
        )


@_of_each_node
def redis_kind(inst: Installation, node: RedisNode) -> Iterator[Finding]:
    """Redis is one that feedmill can write: a master, or the cluster that is named, new enough."""
    info = node.info
    version = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
    if version < _LEAST_VERSION:
        what = f"Redis {info['redis_version']} has no `SET … XX GET`: no feed is written"
        yield _finding(node, "wrong", what, "upgrade it to 6.2 or later, or Valkey")
    if info.get("cluster_enabled") and not is_cluster(inst.environment.redis):
        what = "it is a node of a cluster, and has a part of the keys"
        address = inst.environment.redis_address.partition("/0")[0]
        way_out = f"name the cluster: FEEDMILL_REDIS={address.replace('://', '+cluster://')}"
        yield _finding(node, "wrong", what, way_out)
    if info.get("role") != "master":
        master = f"{info.get('master_host')}:{info.get('master_port')}"
        yield _finding(
            node,
            "wrong",
            f"it is a replica of {master}, and takes no writes",
            f"set FEEDMILL_REDIS to the master, redis://{master}/0, or make it one:"
            f" {node.command('replicaof no one')}",
        )


@_of_each_node
def redis_memory(inst: Installation, node: RedisNode) -> Iterator[Finding]:
    """Redis forgets nothing by itself, and has room."""
    info = node.info
    policy, most = str(info.get("maxmemory_policy", "noeviction")), int(info.get("maxmemory", 0))
    if policy != "noeviction":
        what = f"maxmemory-policy is {policy}: "
        what += "posts and feeds go as memory fills" if most else "they will, once maxmemory is set"
        yield _finding(
            node,
            "wrong" if most else "warn",
            what,
            f"{node.command('config set maxmemory-policy noeviction')}, and in its configuration",
        )
    used = int(info.get("used_memory", 0))
    if most and used > _NEARLY_FULL * most:
        is_full = used > _FULL * most
        what = f"{used / most:.0%} of maxmemory ({most // 2**20:,} MiB) is used"
        yield _finding(
            node,
            "wrong" if is_full else "warn",
            what + (": new posts and feeds are refused, or soon" if is_full else ""),
            f"{node.command(f'config set maxmemory {2 * most}')}, and in its configuration; a"
            " post takes some 450 bytes",
        )


@_of_each_node
def redis_encodings(inst: Installation, node: RedisNode) -> Iterator[Finding]:
    """Posts are kept in the compact encoding, and feeds are not."""
    fields = 2 * len(inst.environment.signals.all) + _OTHER_FIELDS
    post = "a post takes three times the memory"
    feed = "whole feeds are lists, and each write of one takes ten times as long"
    for end, least, most, harm in (
        ("hash-max-{}-value", _MOST_VALUE_BYTES, _ANY, post),
        ("hash-max-{}-entries", fields, _ANY, post),
        ("zset-max-{}-entries", 0, _MOST_LISTPACK_ENTRIES, feed),
    ):
        names = (end.format("listpack"), end.format("ziplist"))
        found = next((int(text) for n in names if (text := _text(node, n)).isdecimal()), least)
        if not least <= found <= most:
            bound = f"below {least}" if found < least else f"above {most}"
            yield _finding(
                node,
                "warn",
                f"{names[0]} is {found}, {bound}: {harm}",
                f"{node.command(f'config set {names[0]} {max(least, 128)}')}, and in its"
                " configuration; what is there changes as it is written",
            )


@_of_each_node
def redis_writes(inst: Installation, node: RedisNode) -> Iterator[Finding]:
    """Redis refuses no write for its disk or its replicas."""
    info = node.info
    stops = _text(node, "stop-writes-on-bgsave-error") != "no" and _text(node, "save") != ""
    if info.get("rdb_last_bgsave_status", "ok") != "ok" and stops:
        yield _finding(
            node,
            "wrong",
            "its last snapshot failed, so it refuses every write (MISCONF)",
            "make room or rights on its disk, see its log; without snapshots, which feedmill does"
            f" not need: {node.command('config set stop-writes-on-bgsave-error no')}",
        )
    if info.get("aof_last_write_status", "ok") != "ok":
        yield _finding(
            node,
            "wrong",
            "its last write to the append-only file failed, so it refuses every write",
            f"make room on its disk, or {node.command('config set appendonly no')}",
        )
    wanted = int(_text(node, "min-replicas-to-write") or 0)
    there = int(info.get("min_slaves_good_slaves", info.get("connected_slaves", 0)))
    if wanted > there:
        yield _finding(
            node,
            "wrong",
            f"min-replicas-to-write is {wanted} and {there} replicas keep up: it refuses every"
            " write (NOREPLICAS)",
            f"start its replicas, or {node.command(f'config set min-replicas-to-write {there}')}",
        )


@_of_each_node
def redis_scripts(inst: Installation, node: RedisNode) -> Iterator[Finding]:
    """Redis runs scripts that have cmsgpack, and a user who writes may write all our keys."""
    refused = _refused_calls(inst, node)
    if {"ZADD", "HSET", "SET", "EVALSHA"} <= {*refused}:
        return  # of a user who only looks: `feedmill doctor --role` is about rights
    try:
        has = node.client.eval("return cmsgpack and 1 or 0", 0)
    except redis.ResponseError as error:
        yield _finding(
            node,
            "wrong",
            f"scripts are refused ({error}): every feed is written by one",
            _grant("+eval +evalsha +script"),
        )
        return
    if has != 1:
        what = "its Lua has no cmsgpack, by which scripts read their arguments"
        way_out = "use Redis 6.2 or later, or Valkey, as they are built by default"
        yield _finding(node, "wrong", what, way_out)
    if refused:
        granted = " ".join(f"+{name.lower()}" for name in refused)
        prefix = inst.environment.redis_prefix
        yield _finding(
            node,
            "wrong",
            f"the user may not call {', '.join(refused)} on our keys",
            _grant(f"{granted} ~{prefix}* &{prefix}*"),
        )


def redis_keys(inst: Installation) -> Iterator[Finding]:
    """What stands under the names of our keys has their types."""
    keys, client = inst.keys, inst.redis
    wanted = {keys.feed_index: "zset", keys.info("global"): "hash", keys.feed("global"): "zset"}
    feeds: list[Any] = []
    posts: list[Any] = []
    if client.type(keys.feed_index) == "zset":
        feeds = client.zrange(keys.feed_index, 0, _SAMPLED_FEEDS)
    if client.type(keys.feed("global")) == "zset":
        posts = client.zrange(keys.feed("global"), 0, _SAMPLED_FEEDS)
    for feed in feeds:
        wanted |= {keys.feed(feed): "zset", keys.info(feed): "hash"}
    wanted |= {keys.signals(post_id): "hash" for post_id in posts}
    for key, expected in wanted.items():
        found = client.type(key)
        if found not in (expected, "none"):
            yield Finding(
                "wrong",
                f"a {found} in place of a {expected}: what belongs there cannot be written",
                f"key `{key}` of Redis at {inst.environment.redis_address}",
                f"{_del(inst, key)}: the worker that ranks writes it again; have"
                " whoever wrote it use other names, or set FEEDMILL_REDIS_PREFIX",
            )


def _finding(node: RedisNode, severity: Severity, what: str, way_out: str) -> Finding:
    return Finding(severity, what, f"Redis at {node.address}", way_out)


def _text(node: RedisNode, name: str) -> str:
    """Return a setting of Redis; "" where it has none, or tells nobody."""
    return str(node.client.config_get(name).get(name, ""))


def _refused_calls(inst: Installation, node: RedisNode) -> list[str]:
    """Return what the user may not call on our keys; nothing where Redis does not tell."""
    keys = inst.keys
    feed = keys.feed("global")
    calls = [(name, feed, *arguments) for name, arguments in CALLS.items()]
    calls += [("RENAME", keys.feed_copy("global"), feed), ("EVALSHA", "0" * 40, "1", feed)]
    calls += [("SCRIPT", "LOAD", "return 1"), ("PUBLISH", keys.feed_changes, "x")]
    ask = node.client.execute_command
    try:
        user = ask("ACL WHOAMI")
        return [call[0] for call in calls if str(ask("ACL DRYRUN", user, *call)) != "OK"]
    except redis.ResponseError:
        return []


def _del(inst: Installation, key: str) -> str:
    """Return the command that deletes a key; it follows a cluster to the key's node."""
    (first, *others) = inst.redis_nodes
    return first.command(f"{'-c ' if others else ''}del {key}")


def _grant(rules: str) -> str:
    return f"give the user of FEEDMILL_REDIS the rights: `ACL SETUSER <user> {rules}`"
