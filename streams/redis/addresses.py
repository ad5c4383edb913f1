"""Clients of Redis by its address: a single server, or a cluster by some of its nodes."""

from __future__ import annotations

from typing import Any, Final

import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisClusterException

from feedmill.events.errors import FeedmillError

# `redis+cluster://user:password@host:port,host:port`; `rediss+cluster` with TLS.
_CLUSTER: Final = "+cluster://"


def is_cluster(url: str) -> bool:
    """Return whether an address is that of a cluster."""
    return _CLUSTER in url


def open_client(url: str, **options: Any) -> Any:
    """Return redis-py's client of a server, or of a cluster, of which it asks for the nodes.

    Raises
    ------
    FeedmillError
        The address is none.
    redis.ConnectionError
        No node of the cluster answers; of a single server the first command raises it.
    """
    try:
        if not is_cluster(url):
            return redis.Redis.from_url(url, **options)
        scheme, _, rest = url.partition(_CLUSTER)
        user, at, hosts = rest.rpartition("@")
        hosts, slash, tail = hosts.partition("/")
        first, *others = hosts.split(",")
        parsed = _parsed(f"{scheme}://{user}{at}{first}{slash}{tail}")
        nodes = [_parsed(f"redis://{one}") for one in (first, *others)]
    except ValueError as error:
        raise FeedmillError(f"Redis: {error}") from None
    shared: dict[str, Any] = {key: parsed[key] for key in parsed if key not in ("host", "port")}
    if shared.pop("connection_class", None) is redis.SSLConnection:
        shared["ssl"] = True
    if shared.pop("db", 0):
        raise FeedmillError(
            "Redis: a cluster has no databases: leave the number out of the address"
        )
    startup = [
        ClusterNode(one["host"], one.get("port", 6379))  # type: ignore[no-untyped-call]  # redis
        for one in nodes
    ]
    try:
        return RedisCluster(startup_nodes=startup, require_full_coverage=False, **shared, **options)
    except RedisClusterException as error:
        raise redis.ConnectionError(str(error)) from error


def _parsed(url: str) -> dict[str, Any]:
    parsed: dict[str, Any] = redis.connection.parse_url(url)  # type: ignore[no-untyped-call]  # redis
    return parsed
