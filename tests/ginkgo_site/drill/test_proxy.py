"""A cut proxy lets nothing pass and tells nobody; mended, it serves new connections."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from ginkgo_site.drill.proxy import Proxy


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that says back what it hears."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(client: socket.socket) -> None:
        with client:
            while data := client.recv(100):
                client.sendall(data)

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    made = Proxy("127.0.0.1", echo)
    yield made
    made.close()


def said(client: socket.socket, word: bytes) -> bytes:
    client.sendall(word)
    return client.recv(100)


def test_words_pass_both_ways(proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
        assert said(client, b"hello") == b"hello"


def test_nothing_passes_while_it_is_cut_and_the_connection_ends_when_it_is_mended(proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
        assert said(client, b"hello") == b"hello"
        proxy.cut()
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            said(client, b"are you there?")
        proxy.mend()
        client.settimeout(5)
        with pytest.raises(ConnectionError):
            if client.recv(100) == b"":
                raise ConnectionResetError
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
        assert said(client, b"again") == b"again"
