"""A Kafka of one broker with a second address, which leads through a proxy."""

from pathlib import Path

from builders.tcp_proxy import TcpProxy
from builders.waiting import until
from feedmill.deploy.local.kafka_server import Broker, broker_serves, start_broker
from feedmill.deploy.local.process import HOST, Server, free_port


class ProxiedKafka:
    """Clients of `proxied` are led through `proxy` whatever they ask; those of `direct` are not."""

    def __init__(self, folder: Path, proxy: TcpProxy | None = None) -> None:
        folder.mkdir(parents=True)
        port, controller_port, behind_proxy = free_port(set()), free_port(set()), free_port(set())
        self.proxy = proxy or TcpProxy()
        self.proxy.target_port = behind_proxy
        self.direct = f"{HOST}:{port}"
        self.proxied = f"{HOST}:{self.proxy.port}"
        self._server = Server("kafka", folder)
        broker = Broker(1, self._server, port, controller_port)
        inside = f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}"
        start_broker(
            broker,
            [broker],
            {
                "listeners": f"{inside},PROXIED://{HOST}:{behind_proxy}",
                "advertised.listeners": f"PLAINTEXT://{self.direct},PROXIED://{self.proxied}",
                "listener.security.protocol.map": (
                    "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT"
                ),
            },
        )
        until(lambda: broker_serves(port), 60)

    def close(self) -> None:
        """Stop the broker and the proxy."""
        self.proxy.close()
        self._server.stop(30)
