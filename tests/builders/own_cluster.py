"""A Redis Cluster of one test alone: some primaries, of which the first may have a replica."""

from pathlib import Path
from typing import Any

import redis
from redis.cluster import RedisCluster
from redis.crc import key_slot

from builders.waiting import until
from feedmill.deploy.local.process import HOST, Server, free_port
from feedmill.deploy.local.stack import redis_cli, redis_serves

SLOTS = 16_384


class ClusterServer:
    """One node: a process of its own, and a client of it alone."""

    def __init__(self, folder: Path, port: int, bus_port: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self.bus_port = port, bus_port
        self.server = Server("redis", folder)
        cli = Path(redis_cli()[0])
        options = {
            "bind": HOST,
            "port": str(port),
            "dir": str(folder),
            "save": "",
            "cluster-enabled": "yes",
            # Its default, ten thousand above, is among the ports of outgoing connections.
            "cluster-port": str(bus_port),
            "cluster-node-timeout": "2000",
            "cluster-require-full-coverage": "no",
            "enable-debug-command": "local",
        }
        command = [str(cli.with_name(cli.name.replace("cli", "server")))]
        for name, value in options.items():
            command += [f"--{name}", value]
        self.server.start(command)
        until(lambda: redis_serves(port), 60)
        self.client: Any = redis.Redis(HOST, port, decode_responses=True, socket_timeout=10)

    @property
    def node_id(self) -> str:
        return str(self.client.execute_command("CLUSTER", "MYID"))

    def kill(self) -> None:
        self.client.close()
        self.server.stop(0.1)


class OwnCluster:
    """`primaries` nodes that share the slots, once `wait` returns; `url` names the first two."""

    def __init__(self, folder: Path, primaries: int = 3) -> None:
        self._folder = folder
        self._used: set[int] = set()
        self.nodes = [self._new_node() for _ in range(primaries)]
        share = -(-SLOTS // primaries)
        for i, node in enumerate(self.nodes):
            first, last = i * share, min((i + 1) * share, SLOTS) - 1
            node.client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
            if i:
                self._meet(node)
        self.url = f"redis+cluster://{HOST}:{self.nodes[0].port},{HOST}:{self.nodes[1].port}"

    def wait(self) -> None:
        """Wait until every node knows all others, and who has which slots."""
        until(lambda: all(self._is_complete(node) for node in self.nodes), 60)

    def client(self) -> Any:
        """A client of the cluster that decodes to str."""
        return RedisCluster(HOST, self.nodes[-1].port, decode_responses=True, socket_timeout=10)

    def node_of(self, key: str) -> ClusterServer:
        """Return the node that has a key."""
        slot = key_slot(key.encode())
        ranges = self.nodes[0].client.execute_command("CLUSTER", "SLOTS")
        (port,) = [owner[1] for first, last, owner, *_ in ranges if first <= slot <= last]
        return next(node for node in self.nodes if node.port == port)

    def add_replica(self, of: ClusterServer) -> ClusterServer:
        """Start a node that copies another one, and wait until it has all of it."""
        node = self._new_node()
        self._meet(node)
        node_id = of.node_id
        until(lambda: node_id in node.client.execute_command("CLUSTER", "NODES"))
        node.client.execute_command("CLUSTER", "REPLICATE", node_id)
        until(lambda: node.client.info("replication").get("master_link_status") == "up")
        return node

    def replace(self, gone: ClusterServer, replica: ClusterServer) -> None:
        """Kill a node without a word, and have its replica take its slots."""
        gone.kill()
        self.nodes[self.nodes.index(gone)] = replica
        replica.client.execute_command("CLUSTER", "FAILOVER", "TAKEOVER")
        until(lambda: replica.client.info("replication")["role"] == "master")

    def move_slot(self, slot: int, source: ClusterServer, target: ClusterServer) -> None:
        """Move one slot with its keys to another node, as an operator does."""
        ids = source.node_id, target.node_id
        target.client.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
        source.client.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
        while keys := source.client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.client.migrate(HOST, target.port, keys, 0, 5000)
        for node in (target, source):
            node.client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[1])

    def close(self) -> None:
        for node in self.nodes:
            node.kill()

    def _new_node(self) -> ClusterServer:
        port, bus_port = free_port(self._used), free_port(self._used)
        while bus_port == port:
            bus_port = free_port(self._used)
        self._used.update((port, bus_port))
        return ClusterServer(self._folder / str(port), port, bus_port)

    def _meet(self, node: ClusterServer) -> None:
        first = self.nodes[0]
        node.client.execute_command("CLUSTER", "MEET", HOST, first.port, first.bus_port)

    def _is_complete(self, node: ClusterServer) -> bool:
        info = node.client.cluster("info")
        found = (info["cluster_state"], info["cluster_slots_ok"], info["cluster_known_nodes"])
        return bool(found == ("ok", str(SLOTS), str(len(self.nodes))))
