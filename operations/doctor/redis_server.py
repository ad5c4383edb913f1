"""What is wrong with Redis: what it is, its memory, encodings, rights, and keys of other types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import redis

from feedmill.operations.doctor.finding import Finding, Severity
from feedmill.operations.doctor.installation import Installation
from feedmill.streams.redis.addresses import is_cluster

# As long as no field is longer, a post is one compact string: docs/contracts.md.
_MOST_VALUE_BYTES = 64
# `SET … XX GET` and `ZRANGE … REV`.
_LEAST_VERSION = (6, 2)
# A feed of the default size is no listpack: to write one takes ten times as long.
_MOST_LISTPACK_ENTRIES = 500
# Fields of `signals:<post_id>` beside those of signals.
_OTHER_FIELDS = 6
_FULL, _NEARLY_FULL = 0.95, 0.80
_SAMPLED_FEEDS = 50
# What the worker and its scripts call, with what stands behind the key.
_CALLS: dict[str, tuple[str, ...]] = {
    **{"ZADD": ("1", "x"), "ZREM": ("x",), "ZCARD": (), "ZSCORE": ("x",), "ZRANGE": ("0", "1")},
    **{"ZCOUNT": ("0", "1"), "ZRANGEBYSCORE": ("0", "1")},
    **{"HSET": ("f", "x"), "HSETNX": ("f", "x"), "HDEL": ("f",), "HKEYS": (), "HLEN": ()},
    **{"HMGET": ("f",), "SET": ("x",), "GET": (), "EXISTS": (), "DEL": (), "PEXPIREAT": ("1",)},
}


def redis_kind(inst: Installation) -> Iterator[Finding]:
    """Redis is one that feedmill can write: a master, or the cluster that is named, new enough."""
    info = inst.redis_info
    version = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
    if version < _LEAST_VERSION:
        what = f"Redis {info['redis_version']} has no `SET … XX GET`: no feed is written"
        yield _finding(inst, "redis kind", "wrong", what, "upgrade it to 6.2 or later, or Valkey")
    if info.get("cluster_enabled") and not is_cluster(inst.environment.redis):
        what = "it is a node of a cluster, and has a part of the keys"
        address = inst.environment.redis_address.partition("/0")[0]
        way_out = f"name the cluster: FEEDMILL_REDIS={address.replace('://', '+cluster://')}"
        yield _finding(inst, "redis kind", "wrong", what, way_out)
    if info.get("role") != "master":
        master = f"{info.get('master_host')}:{info.get('master_port')}"
        yield _finding(
            inst,
            "redis kind",
            "wrong",
            f"it is a replica of {master}, and takes no writes",
            f"set FEEDMILL_REDIS to the master, redis://{master}/0, or make it one:"
            f" {inst.redis_command('replicaof no one')}",
        )


def redis_memory(inst: Installation) -> Iterator[Finding]:
    """Redis forgets nothing by itself, and has room."""
    info = inst.redis_info
    policy, most = str(info.get("maxmemory_policy", "noeviction")), int(info.get("maxmemory", 0))
    if policy != "noeviction":
        what = f"maxmemory-policy is {policy}: "
        what += "posts and feeds go as memory fills" if most else "they will, once maxmemory is set"
        yield _finding(
            inst,
            "redis memory",
            "wrong" if most else "warn",
            what,
            f"{inst.redis_command('config set maxmemory-policy noeviction')}, and in its"
            " configuration",
        )
    used = int(info.get("used_memory", 0))
    if most and used > _NEARLY_FULL * most:
        is_full = used > _FULL * most
        what = f"{used / most:.0%} of maxmemory ({most // 2**20:,} MiB) is used"
        yield _finding(
            inst,
            "redis memory",
            "wrong" if is_full else "warn",
            what + (": new posts and feeds are refused, or soon" if is_full else ""),
            f"{inst.redis_command(f'config set maxmemory {2 * most}')}, and in its configuration; a"
            " post takes some 450 bytes",
        )


def redis_encodings(inst: Installation) -> Iterator[Finding]:
    """Posts are kept in the compact encoding, and feeds are not."""
    value = _config(inst, "hash-max-listpack-value", "hash-max-ziplist-value")
    fields = _config(inst, "hash-max-listpack-entries", "hash-max-ziplist-entries")
    feed = _config(inst, "zset-max-listpack-entries", "zset-max-ziplist-entries")
    most_fields = 2 * len(inst.environment.signals.all) + _OTHER_FIELDS
    expected = (
        ("hash-max-listpack-value", value, _MOST_VALUE_BYTES),
        ("hash-max-listpack-entries", fields, most_fields),
    )
    for name, found, least in expected:
        if found is not None and found < least:
            yield _finding(
                inst,
                "redis encodings",
                "warn",
                f"{name} is {found}, below {least}: a post takes three times the memory",
                f"{inst.redis_command(f'config set {name} {max(least, 128)}')}, and in its"
                " configuration; posts that are there change as they are written",
            )
    if feed is not None and feed >= _MOST_LISTPACK_ENTRIES:
        yield _finding(
            inst,
            "redis encodings",
            "warn",
            f"zset-max-listpack-entries is {feed}: whole feeds are lists, and each write of one"
            " takes ten times as long",
            f"{inst.redis_command('config set zset-max-listpack-entries 128')}, and in its"
            " configuration",
        )


def redis_writes(inst: Installation) -> Iterator[Finding]:
    """Redis refuses no write for its disk or its replicas."""
    info = inst.redis_info
    stops = _text(inst, "stop-writes-on-bgsave-error") != "no" and _text(inst, "save") != ""
    if info.get("rdb_last_bgsave_status", "ok") != "ok" and stops:
        yield _finding(
            inst,
            "redis writes",
            "wrong",
            "its last snapshot failed, so it refuses every write (MISCONF)",
            "make room or rights on its disk, see its log; without snapshots, which feedmill does"
            f" not need: {inst.redis_command('config set stop-writes-on-bgsave-error no')}",
        )
    if info.get("aof_last_write_status", "ok") != "ok":
        yield _finding(
            inst,
            "redis writes",
            "wrong",
            "its last write to the append-only file failed, so it refuses every write",
            f"make room on its disk, or {inst.redis_command('config set appendonly no')}",
        )
    wanted = int(_text(inst, "min-replicas-to-write") or 0)
    there = int(info.get("min_slaves_good_slaves", info.get("connected_slaves", 0)))
    if wanted > there:
        yield _finding(
            inst,
            "redis writes",
            "wrong",
            f"min-replicas-to-write is {wanted} and {there} replicas keep up: it refuses every"
            " write (NOREPLICAS)",
            "start its replicas, or"
            f" {inst.redis_command(f'config set min-replicas-to-write {there}')}",
        )


def redis_scripts(inst: Installation) -> Iterator[Finding]:
    """Redis runs scripts that have cmsgpack, and the user may write our keys."""
    try:
        has = inst.redis.eval("return cmsgpack and 1 or 0", 0)
    except redis.ResponseError as error:
        yield _finding(
            inst,
            "redis scripts",
            "wrong",
            f"scripts are refused ({error}): every feed is written by one",
            _grant("+eval +evalsha +script"),
        )
        return
    if has != 1:
        what = "its Lua has no cmsgpack, by which scripts read their arguments"
        way_out = "use Redis 6.2 or later, or Valkey, as they are built by default"
        yield _finding(inst, "redis scripts", "wrong", what, way_out)
    refused = [name for name, arguments in _calls(inst) if not _may(inst, name, arguments)]
    if refused:
        granted = " ".join(f"+{name.lower()}" for name in refused)
        prefix = inst.environment.redis_prefix
        yield _finding(
            inst,
            "redis scripts",
            "wrong",
            f"the user may not call {', '.join(refused)} on our keys",
            _grant(f"{granted} ~{prefix}* &{prefix}*"),
        )


def redis_keys(inst: Installation) -> Iterator[Finding]:
    """What stands under the names of our keys has their types."""
    keys, client = inst.keys, inst.redis_keys
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
                "redis keys",
                "wrong",
                f"a {found} in place of a {expected}: what belongs there cannot be written",
                f"key `{key}` of Redis at {inst.environment.redis_address}",
                f"{inst.redis_command(f'del {key}')}: the worker that ranks writes it again; have"
                " whoever wrote it use other names, or set FEEDMILL_REDIS_PREFIX",
            )


def redis_prefix(inst: Installation) -> Iterator[Finding]:
    """Where a combiner is ready, its feeds stand under our prefix."""
    ready = [one for one in inst.instances.values() if one.stage == "combiner" and one.ready]
    if not ready or inst.redis_keys.exists(inst.keys.info("global")):
        return
    pattern = "*feed:{global}:info"
    found: set[str] = set()
    cursor = 0
    for _ in range(20):
        cursor, names = inst.redis.scan(cursor, pattern, 1000)
        found |= {name.removesuffix("feed:{global}:info") for name in names}
        if not cursor:
            break
    there = ""
    if found:
        there = f"; there are feeds under {' and '.join(map(repr, sorted(found)[:3]))}"
    yield Finding(
        "redis prefix",
        "wrong",
        f"a combiner says that it is ready, and Redis has no `{inst.keys.info('global')}`{there}",
        f"Redis at {inst.environment.redis_address}; instance {ready[0].instance} on"
        f" {ready[0].host}",
        "give this process and all workers the same FEEDMILL_REDIS (its database, too) and"
        " FEEDMILL_REDIS_PREFIX",
    )


def _finding(
    inst: Installation, check: str, severity: Severity, what: str, way_out: str
) -> Finding:
    where = f"Redis at {inst.environment.redis_address}"
    return Finding(check, severity, what, where, way_out)


def _text(inst: Installation, name: str) -> str:
    """Return a setting of Redis; "" where it has none, or tells nobody."""
    return str(inst.redis.config_get(name).get(name, ""))


def _config(inst: Installation, *names: str) -> int | None:
    """Return the first of some settings that Redis has."""
    texts = (_text(inst, name) for name in names)
    return next((int(text) for text in texts if text.isdecimal()), None)


def _calls(inst: Installation) -> Iterator[tuple[str, list[str]]]:
    key = inst.keys.feed("global")
    for name, arguments in _CALLS.items():
        yield name, [key, *arguments]
    yield "RENAME", [inst.keys.feed_copy("global"), key]
    yield "EVALSHA", ["0" * 40, "1", key]
    yield "SCRIPT", ["LOAD", "return 1"]
    yield "PUBLISH", [inst.keys.feed_changes, "x"]


def _may(inst: Installation, name: str, arguments: list[str]) -> bool:
    """Whether the user may call a command; True where Redis does not tell."""
    try:
        user = inst.once("redis user", lambda: inst.redis.execute_command("ACL WHOAMI"))
        answer = inst.redis.execute_command("ACL DRYRUN", user, name, *arguments)
    except redis.ResponseError:
        return True
    return str(answer) == "OK"


def _grant(rules: str) -> str:
    return f"give the user of FEEDMILL_REDIS the rights: `ACL SETUSER <user> {rules}`"
