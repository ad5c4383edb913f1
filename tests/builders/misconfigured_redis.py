"""What goes wrong with Redis, planted with plain clients."""

import shutil

from builders.bombs import MIB
from builders.examined import Examined, commands_of
from builders.misconfigurations import Misconfiguration, Plant, first, last
from builders.waiting import until
from feedmill.operations.status import redis_server, workers
from feedmill.operations.status.finding import Finding


def _redis(**values: str | int) -> Plant:
    def plant(place: Examined) -> None:
        for name, value in values.items():
            place.client.config_set(name.replace("_", "-"), value)

    return plant


def _full(place: Examined) -> None:
    place.client.set("ballast", "x" * 8 * MIB)
    place.client.config_set("maxmemory", int(place.client.info()["used_memory"] * 1.01))


def _emptied(place: Examined, finding: Finding) -> None:
    first(place, finding)
    place.client.config_set("maxmemory", 0)
    place.client.delete("ballast")


def _no_snapshot(place: Examined) -> None:
    place.client.config_set("save", "900 1")
    shutil.rmtree(place.folder / "redis" / "redis")
    place.client.set("changed", "x")
    place.client.execute_command("BGSAVE")
    until(lambda: place.client.info()["rdb_last_bgsave_status"] == "err")


def _user_without_rights(place: Examined) -> None:
    place.client.execute_command(
        "ACL", "SETUSER", "reader", "on", ">pass", "~*", "&*", "+@all", "-zadd", "-evalsha"
    )
    place.variables["FEEDMILL_REDIS"] = place.redis.url.replace("//", "//reader:pass@")


def _granted(place: Examined, finding: Finding) -> None:
    (command,) = commands_of(finding.way_out)
    place.client.execute_command(*command.replace("<user>", "reader").split())


def _password(place: Examined) -> None:
    place.client.config_set("requirepass", "secret")


def _with_password(place: Examined, _: Finding) -> None:
    place.variables["FEEDMILL_REDIS"] = place.redis.url.replace("//", "//:secret@")
    assert not place.found(redis_server.redis_kind, "")
    place.client.config_set("requirepass", "")
    place.variables["FEEDMILL_REDIS"] = place.redis.url


def _other_redis(place: Examined) -> None:
    place.beat("combiner/one", group="worker")
    place.variables["FEEDMILL_REDIS_PREFIX"] = "other."
    place.client.hset("feed:{global}:info", "size", 0)


TABLE = (
    Misconfiguration(
        *("Redis evicts", redis_server.redis_memory, "wrong", "allkeys-lru"),
        *(_redis(maxmemory="100mb", maxmemory_policy="allkeys-lru"), first),
    ),
    Misconfiguration(
        *("Redis is full", redis_server.redis_memory, "wrong", "% of maxmemory"), *(_full, _emptied)
    ),
    Misconfiguration(
        *("posts are no lists", redis_server.redis_encodings, "warn", "listpack-value is 16"),
        *(_redis(hash_max_listpack_value=16), first),
    ),
    Misconfiguration(
        *("posts have few fields", redis_server.redis_encodings, "warn", "listpack-entries is 8"),
        *(_redis(hash_max_listpack_entries=8), first),
    ),
    Misconfiguration(
        *("feeds are lists", redis_server.redis_encodings, "warn", "zset-max-listpack-entries is"),
        *(_redis(zset_max_listpack_entries=1000), first),
    ),
    Misconfiguration(
        *("replicas are missing", redis_server.redis_writes, "wrong", "NOREPLICAS"),
        *(_redis(min_replicas_to_write=1), first),
    ),
    Misconfiguration(
        *("snapshots fail", redis_server.redis_writes, "wrong", "MISCONF"), *(_no_snapshot, first)
    ),
    Misconfiguration(
        *("a replica", redis_server.redis_kind, "wrong", "replica of 127.0.0.1:1"),
        lambda place: place.client.execute_command("REPLICAOF 127.0.0.1 1"),
        last,
    ),
    Misconfiguration(
        *("a user without rights", redis_server.redis_scripts, "wrong", "ZADD, EVALSHA"),
        *(_user_without_rights, _granted),
    ),
    Misconfiguration(
        *("a key of another type", redis_server.redis_keys, "wrong", "a string in place of a zset"),
        *(lambda place: place.client.set("feed:{global}", "x"), first),
    ),
    Misconfiguration(
        *("another prefix in Redis", workers.feeds, "wrong", "no feed under the prefix 'other.'"),
        *(_other_redis, lambda place, _: place.variables.pop("FEEDMILL_REDIS_PREFIX")),
    ),
    Misconfiguration(
        *("a password", redis_server.redis_kind, "wrong", "uthentication required"),
        *(_password, _with_password),
    ),
)
