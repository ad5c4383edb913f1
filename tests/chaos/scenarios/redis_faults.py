"""Redis is away, flushed, full, read-only, slow, or another one without the last writes."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from builders.engine import Engine
from builders.own_redis import OwnRedis
from builders.tcp_proxy import TcpProxy
from builders.waiting import until
from chaos.scenario import Chaos, Rows
from chaos.server_faults import fault_row, is_stale, keeps_feed
from feedmill.deploy.local.process import HOST, free_port

# Each chunk of 64 KiB takes so long, in each direction.
SLOW_S = 0.2


def run(chaos: Chaos) -> Rows:
    long = chaos.is_long
    servers = _Servers(chaos.own_redis(), chaos.own_redis(), chaos.proxy(), chaos.proxy())
    engine = servers.engine(chaos)
    row = partial(fault_row, chaos, engine)
    keeps = partial(keeps_feed, engine)
    yield row("Redis killed, and started empty", servers.away, seconds=60 if long else 2)
    rounds = 10 if long else 1
    yield row("Redis flushed", servers.flushed, seconds=2, rounds=rounds, is_told=False)
    yield row(
        "Redis read-only",
        servers.read_only,
        seconds=40 if long else 4,
        check=lambda: keeps() + (is_stale(engine) if long else []),
    )
    yield row("Redis out of memory", servers.full, seconds=40 if long else 4, check=keeps)
    yield row(
        f"Redis slow, {2 * SLOW_S:.1f} s a command",
        servers.slow,
        seconds=60 if long else 2,
        is_told=False,
        check=keeps,
    )
    yield row(
        "failover to a replica that lags",
        servers.failover,
        seconds=20 if long else 3,
        is_told=False,
        check=keeps,
        compare=long,
    )


@dataclass
class _Servers:
    """A Redis, its replica, the address that leads to one of them, and the way between them."""

    redis: OwnRedis
    replica: OwnRedis
    address: TcpProxy
    replication: TcpProxy

    def engine(self, chaos: Chaos) -> Engine:
        self.address.target_port = self.replication.target_port = self.redis.port
        return chaos.engine(redis=f"redis://{HOST}:{self.address.port}/0")

    @contextlib.contextmanager
    def flushed(self) -> Iterator[None]:
        self.redis.client().flushall()
        yield

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        self.redis.kill()
        yield
        self.redis.start()

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        self.redis.client().replicaof(HOST, free_port(set()))
        yield
        self.redis.client().replicaof("NO", "ONE")

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        self.redis.client().config_set("maxmemory", "1mb")
        yield
        self.redis.client().config_set("maxmemory", "0")

    @contextlib.contextmanager
    def slow(self) -> Iterator[None]:
        self.address.delay_s = SLOW_S
        yield
        self.address.delay_s = 0.0

    @contextlib.contextmanager
    def failover(self) -> Iterator[None]:
        replica = self.replica.client()
        replica.replicaof(HOST, self.replication.port)
        until(lambda: replica.info("replication")["master_link_status"] == "up")
        time.sleep(1.0)
        self.replication.hold()
        yield
        written = self.redis.client().info("replication")["master_repl_offset"]
        self.redis.kill()
        replica.replicaof("NO", "ONE")
        self.replication.cut()
        assert replica.info("replication")["master_repl_offset"] < written
        self.address.target_port = self.replica.port
        self.address.cut()
