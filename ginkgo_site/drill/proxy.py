"""A TCP proxy between one node and one server, which can be cut: a partition of the network on one machine."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

_HERE = "127.0.0.1"
_CHUNK = 65_536


class Proxy:
    """Listens on a free port of 127.0.0.1. While it is cut, nothing passes either way and nobody is told so: what a
    network does whose packets are lost. What was sent meanwhile is lost too: the connections end when it is mended.
    """

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._listener = socket.create_server((_HERE, 0))
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
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # raises if it was mended away meanwhile
            server = socket.create_connection(self._to, timeout=5)
        except OSError:
            self._forget(client)
            return
        server.settimeout(None)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._sockets.add(server)
        back = threading.Thread(
            target=self._pump,
            args=(self._answers(server), server, client),
            name=f"drill_proxy_{self.port}_back",
            daemon=True,
        )
        back.start()
        self._pump(_chunks(client), client, server)
        back.join()
        self._forget(client)
        self._forget(server)

    def _answers(self, server: socket.socket) -> Iterator[bytes]:
        """What the server says, as its clients are to hear it."""
        return _chunks(server)

    def _pump(self, said: Iterator[bytes], source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for data in said:
                self._whole.wait()
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _forget(self, each: socket.socket) -> None:
        with self._lock:
            self._sockets.discard(each)
        _end(each)


class KafkaProxy(Proxy):
    """A Kafka of one broker tells its clients where it is, and they go there: here they are told that it is here.

    Its address stands in its answers as `host` and a port of four bytes; ours is as long, so nothing else changes.
    """

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        if host != _HERE:
            raise ValueError(f"a Kafka at {host} would be named by a word of another length")
        self._there = host.encode() + port.to_bytes(4, "big")
        self._here = _HERE.encode() + self.port.to_bytes(4, "big")

    def _answers(self, server: socket.socket) -> Iterator[bytes]:
        """Whole answers, each with its length of four bytes: an address may be cut in two by a chunk, not by these."""
        held = bytearray()
        for data in _chunks(server):
            held += data
            while len(held) >= 4 and len(held) >= (end := 4 + int.from_bytes(held[:4], "big")):
                yield bytes(held[:end]).replace(self._there, self._here)
                del held[:end]


def _chunks(source: socket.socket) -> Iterator[bytes]:
    while data := source.recv(_CHUNK):
        yield data


def _end(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
