"""A TCP proxy on loopback whose connections a test may cut, slow down, hold or lead elsewhere."""

import contextlib
import socket
import threading
import time

from feedmill.deploy.local.process import HOST

_CHUNK = 64 * 1024


class TcpProxy:
    """Forwards each connection to `target_port`, in both directions.

    Attributes
    ----------
    target_port
        Where new connections lead.
    delay_s
        How long each chunk of up to 64 KiB waits, in each direction.
    """

    def __init__(self, target_port: int = 0, port: int = 0) -> None:
        self.target_port = target_port
        self.delay_s = 0.0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._flowing = threading.Event()
        self._flowing.set()
        self._closed = False
        self._listener = socket.create_server((HOST, port))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="tcp proxy", daemon=True).start()

    def cut(self) -> None:
        """Close every connection that is open now; new ones are taken."""
        with self._lock:
            connections, self._open = self._open, set()
        for connection in connections:
            _close(connection)

    def hold(self) -> None:
        """Forward nothing until `flow`; a connection that is cut meanwhile loses what it held."""
        self._flowing.clear()

    def flow(self) -> None:
        """Forward again."""
        self._flowing.set()

    def close(self) -> None:
        """Take no more connections, and cut those that are open."""
        self._closed = True
        _close(self._listener)
        self.flow()
        self.cut()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection((HOST, self.target_port), timeout=1)
            except OSError:
                _close(near)
                continue
            far.settimeout(None)
            with self._lock:
                self._open |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self._pass_on(source, sink)
        with self._lock:
            self._open -= {source, sink}
        _close(source)
        _close(sink)

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        while chunk := source.recv(_CHUNK):
            if self.delay_s:
                time.sleep(self.delay_s)
            self._flowing.wait()
            sink.sendall(chunk)


def _close(connection: socket.socket) -> None:
    # A thread that waits in `recv` or `accept` only ends by a shutdown.
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
