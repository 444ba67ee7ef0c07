"""A TCP proxy between one node and one server, which can be cut: a partition of the network on one machine."""

from __future__ import annotations

import contextlib
import socket
import threading

_CHUNK = 65_536


class Proxy:
    """Listens on a free port of 127.0.0.1. While it is cut, nothing passes either way and nobody is told so: what a
    network does whose packets are lost. What was sent meanwhile is lost too: the connections end when it is mended.
    """

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._whole = threading.Event()
        self._whole.set()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._closed = False
        threading.Thread(target=self._accept, name=f"drill_proxy_{self.port}", daemon=True).start()

    @property
    def is_cut(self) -> bool:
        return not self._whole.is_set()

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        with self._lock:
            cut, self._sockets = self._sockets, set()
        for each in cut:
            _end(each)
        self._whole.set()

    def close(self) -> None:
        self._closed = True
        _end(self._listener)
        self.mend()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), name=f"drill_proxy_{self.port}", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with self._lock:
            self._sockets.add(client)
        self._whole.wait()
        try:
            server = socket.create_connection(self._to, timeout=5)
        except OSError:
            self._forget(client)
            return
        server.settimeout(None)
        with self._lock:
            self._sockets.add(server)
        back = threading.Thread(
            target=self._pump, args=(server, client), name=f"drill_proxy_{self.port}_back", daemon=True
        )
        back.start()
        self._pump(client, server)
        back.join()
        self._forget(client)
        self._forget(server)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                self._whole.wait()
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _forget(self, each: socket.socket) -> None:
        with self._lock:
            self._sockets.discard(each)
        _end(each)


def _end(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
