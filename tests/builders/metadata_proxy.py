"""A proxy in front of a Kafka broker that can leave all brokers out of its metadata.

A cluster whose brokers are all fenced answers so: topics, and not one broker.  It happens where a
single broker stands still for longer than its session, and is asked before it has registered anew.
"""

import socket
import struct
import threading

from builders.tcp_proxy import TcpProxy

_METADATA = 3
# From this version on, arrays and strings are compact and fields are tagged.
_FLEXIBLE = 9


class MetadataProxy(TcpProxy):
    """Forwards requests and answers whole; while `hides_brokers` is set metadata names none.

    `hidden` counts the answers that named none.
    """

    def __init__(self, target_port: int = 0, port: int = 0) -> None:
        self.hides_brokers = threading.Event()
        self.hidden = 0
        self._asked: dict[tuple[socket.socket, int], int] = {}
        super().__init__(target_port, port)

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        is_request = source.getsockname()[1] == self.port
        client = source if is_request else sink
        while frame := _frame(source):
            if is_request:
                key, version, correlation = struct.unpack(">hhi", frame[:8])
                if key == _METADATA and version >= _FLEXIBLE:
                    self._asked[client, correlation] = version
            else:
                (correlation,) = struct.unpack(">i", frame[:4])
                asked = self._asked.pop((client, correlation), None)
                if asked is not None and self.hides_brokers.is_set():
                    frame = _without_brokers(frame)
                    self.hidden += 1
            sink.sendall(struct.pack(">i", len(frame)) + frame)


def _frame(source: socket.socket) -> bytes:
    """The next request or answer without its size; b"" at the end."""
    size = _exactly(source, 4)
    return _exactly(source, struct.unpack(">i", size)[0]) if size else b""


def _exactly(source: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        chunk = source.recv(size - len(found))
        if not chunk:
            return b""
        found += chunk
    return bytes(found)


def _without_brokers(answer: bytes) -> bytes:
    """Leave the array of brokers empty: after the correlation id, tags and the throttle time."""
    start = 4 + 1 + 4
    at = start
    count, at = _uvarint(answer, at)
    for _ in range(count - 1):
        at += 4
        length, at = _uvarint(answer, at)
        at += length - 1 + 4
        rack, at = _uvarint(answer, at)
        at += max(0, rack - 1)
        tags, at = _uvarint(answer, at)
        assert tags == 0
    return answer[:start] + b"\x01" + answer[at:]


def _uvarint(data: bytes, at: int) -> tuple[int, int]:
    found = shift = 0
    while True:
        byte = data[at]
        at += 1
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return found, at
        shift += 7
