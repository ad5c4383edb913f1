"""How commands get to Redis: a connection to a server, or one to each node of a cluster.

redis-py's pipeline takes some 20 microseconds a command for packing alone, more than all else
that a write costs here, and answers nothing when the connection breaks halfway.  These pipelines
pack by hiredis and keep the answers that came.  redis-py finds the nodes of a cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import redis
from hiredis import pack_command
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, RedisClusterException

from feedmill.events.errors import FeedmillError
from feedmill.streams.redis.scripts import Command

# The client of a writer gives up after seconds.
WRITER_OPTIONS: Final = {"socket_timeout": 5, "socket_connect_timeout": 2, "protocol": 2}
# `redis+cluster://user:password@host:port,host:port`; `rediss+cluster` with TLS.
_CLUSTER: Final = "+cluster://"

_SLOTS: Final = 16_384
# A command without a key, which every node must execute.
_OF_EVERY_NODE: Final = "SCRIPT"
# Where the first key of a command stands: in a script call behind the number of keys.
_FIRST_KEY: Final = {"EVALSHA": 3}


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
        nodes = [_parsed(f"redis://{host}") for host in (first, *others)]
    except ValueError as error:
        text = str(error)
        if "@" in url:  # redis-py's text may hold a part of a password
            text = "cannot read the address; write / : ? # @ of a password as %2F %3A %3F %23 %40"
        raise FeedmillError(f"Redis: {text}") from None
    shared: dict[str, Any] = {key: parsed[key] for key in parsed if key not in ("host", "port")}
    if shared.pop("connection_class", None) is redis.SSLConnection:
        shared["ssl"] = True
    if shared.pop("db", 0):
        raise FeedmillError(
            "Redis: a cluster has no databases: leave the number out of the address"
        )
    startup = [
        ClusterNode(node["host"], node.get("port", 6379))  # type: ignore[no-untyped-call]  # redis
        for node in nodes
    ]
    try:
        return RedisCluster(startup_nodes=startup, require_full_coverage=False, **shared, **options)
    except RedisClusterException as error:
        raise redis.ConnectionError(str(error)) from error


def _parsed(url: str) -> dict[str, Any]:
    parsed: dict[str, Any] = redis.connection.parse_url(url)  # type: ignore[no-untyped-call]  # redis
    return parsed


def open_pipeline(url: str) -> Pipeline:
    """Return the writer's way to a server or a cluster; nothing is sent yet."""
    if is_cluster(url):
        return ClusterPipeline(url)
    return CommandPipeline(open_client(url, **WRITER_OPTIONS))


class CommandPipeline:
    """One connection to Redis, made again by the next call after it broke.

    Used by one thread; a call blocks for as long as the client's timeouts allow.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        self._connection: Any = None
        self._broken: redis.RedisError | None = None

    def execute(self, commands: Sequence[Command], waves: Iterable[int] = ()) -> list[Any]:
        """Send all commands and return their answers, shape (commands,).

        An answer is what Redis replied, a `redis.ResponseError` that concerns this command
        alone, or, for all commands that were not answered, one `redis.ConnectionError` or
        `redis.TimeoutError`: whether Redis executed those is unknown.  Raises nothing.  One server
        executes them in their order, so that `waves` say nothing more to it.
        """
        self.send(commands)
        return self.receive(len(commands))

    def send(self, commands: Sequence[Command]) -> None:
        """Send commands; `receive` tells what became of them."""
        try:
            if self._connection is None:
                self._connection = self._pool.get_connection()
            # The stubs of hiredis know tuples of one argument alone.
            packed = b"".join([pack_command(tuple(command)) for command in commands])  # type: ignore[arg-type]  # see above
            self._connection.send_packed_command([packed], check_health=False)
            self._broken = None
        except (redis.RedisError, OSError) as error:
            self._broken = self._break(error)

    def receive(self, count: int) -> list[Any]:
        """Return the answers to so many commands, all that were sent, as `execute` does."""
        answers: list[Any] = []
        try:
            while self._broken is None and len(answers) < count:
                answers.append(self._read())
        except (redis.RedisError, OSError) as error:
            self._broken = self._break(error)
        return answers + [self._broken] * (count - len(answers))

    def place_of(self, key: str) -> str:
        """Return the server that has a key, one of those that `places` returned last."""
        return ""

    def places(self) -> set[str]:
        """Return the servers that have keys: one."""
        return {""}

    def close(self) -> None:
        """Disconnect; the next call connects again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()
            self._pool.release(connection)

    def _break(self, error: Exception) -> redis.RedisError:
        self.close()
        if isinstance(error, redis.ConnectionError | redis.TimeoutError):
            return error
        return redis.ConnectionError(str(error))

    def _read(self) -> Any:
        try:
            return self._connection.read_response()
        except redis.ResponseError as error:
            return error


def is_broken(answer: object) -> bool:
    """Whether this answer says that the connection broke, or never was."""
    return isinstance(answer, redis.ConnectionError | redis.TimeoutError)


class ClusterPipeline:
    """One connection to each node that has slots; finds them anew after an error or a redirection.

    Used by one thread; a call blocks for as long as the client's timeouts allow, for each node.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._cluster: RedisCluster | None = None
        self._nodes: dict[str, CommandPipeline] = {}
        self._owners: list[str] = []  # by slot the node
        self._is_stale = True
        self._failure: redis.RedisError = redis.ConnectionError("not connected yet")

    def execute(self, commands: Sequence[Command], waves: Iterable[int] = ()) -> list[Any]:
        """Send all commands and return their answers, as `CommandPipeline.execute`.

        A wave of commands is executed after all of the one before were answered; `waves` are where
        the second and later ones begin.
        """
        answers: list[Any] = []
        for end in (*waves, len(commands)):
            answers += self._execute(commands[len(answers) : end])
        return answers

    def place_of(self, key: str) -> str:
        """Return the node that has a key, of those that `places` found; "" where it found none."""
        return "" if self._is_stale else self._node_of(key)

    def places(self) -> set[str]:
        """Return the nodes that have slots; "" alone where none is known."""
        return set(self._nodes) if self._find_nodes() else {""}

    def close(self) -> None:
        """Disconnect; the next call connects again."""
        for pipeline in self._nodes.values():
            pipeline.close()
        self._nodes, cluster, self._cluster = {}, self._cluster, None
        self._is_stale = True
        if cluster is not None:
            cluster.close()

    def _execute(self, commands: Sequence[Command]) -> list[Any]:
        answers = self._send(commands)
        moved = [i for i, answer in enumerate(answers) if isinstance(answer, MovedError)]
        if moved:
            self._is_stale = True
            again = self._send([commands[i] for i in moved])
            for i, answer in zip(moved, again, strict=True):
                answers[i] = answer
        for i, answer in enumerate(answers):
            if isinstance(answer, AskError) and not isinstance(answer, MovedError):
                answers[i] = self._ask(answer, commands[i])
        self._is_stale |= any(isinstance(a, MovedError) or is_broken(a) for a in answers)
        return answers

    def _send(self, commands: Sequence[Command]) -> list[Any]:
        if not commands or not self._find_nodes():
            return [self._failure] * len(commands)
        answers: list[Any] = [None] * len(commands)
        sent: dict[str, list[int]] = {}
        for i, command in enumerate(commands):
            for node in self._nodes if command[0] == _OF_EVERY_NODE else [self._node_for(command)]:
                sent.setdefault(node, []).append(i)
        for node, places in sent.items():
            self._nodes[node].send([commands[i] for i in places])
        for node, places in sent.items():
            for i, answer in zip(places, self._nodes[node].receive(len(places)), strict=True):
                answers[i] = answer
        return answers

    def _ask(self, asked: AskError, command: Command) -> Any:
        """Send a command to the node that a slot moves to, which has the key by now."""
        node = self._nodes.get(f"{asked.host}:{asked.port}")
        if node is None:
            self._is_stale = True
            return asked
        return node.execute([["ASKING"], command])[1]

    def _node_for(self, command: Command) -> str:
        key = command[_FIRST_KEY.get(str(command[0]), 1)]
        return self._node_of(key if isinstance(key, str) else bytes(key).decode())

    def _node_of(self, key: str) -> str:
        return self._owners[key_slot(key.encode())]

    def _find_nodes(self) -> bool:
        """Ask for the nodes and their slots where that may have changed; whether they are known."""
        if not self._is_stale:
            return True
        try:
            if self._cluster is None:
                self._cluster = open_client(self._url, **WRITER_OPTIONS)
            else:
                self._cluster.nodes_manager.initialize()
        except (RedisClusterException, redis.RedisError, OSError) as error:
            self._failure = redis.ConnectionError(str(error))
            return False
        slots = self._cluster.nodes_manager.slots_cache
        if not all(slots.get(slot) for slot in range(_SLOTS)):
            self._failure = redis.ConnectionError("some slots of the cluster have no node")
            return False
        self._owners = [slots[slot][0].name for slot in range(_SLOTS)]
        found = {nodes[0].name: nodes[0] for nodes in slots.values()}
        for name in self._nodes.keys() - found.keys():
            self._nodes.pop(name).close()
        for name, node in found.items():
            if name not in self._nodes:
                self._nodes[name] = CommandPipeline(self._cluster.get_redis_connection(node))
        self._is_stale = False
        return True


# What the writer sends its commands by: to one server, or to the nodes of a cluster.
Pipeline = CommandPipeline | ClusterPipeline
