"""A cut proxy lets nothing pass and tells nobody; mended, it serves new connections."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from ginkgo_site.drill.proxy import KafkaProxy, Proxy


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


def test_a_kafka_is_said_to_be_where_its_proxy_is_however_its_answers_are_cut() -> None:
    """The address in an answer is replaced, in one that comes byte by byte too, and nothing else is."""
    kafka = socket.create_server(("127.0.0.1", 0))
    port = kafka.getsockname()[1]
    there, elsewhere = b"127.0.0.1" + port.to_bytes(4, "big"), b"127.0.0.1" + (1).to_bytes(4, "big")
    words = [b"\x01" + there + b"\x02" + there, b"", elsewhere]

    def answer() -> None:
        client, _ = kafka.accept()
        with client:
            for byte in b"".join(len(each).to_bytes(4, "big") + each for each in words):
                client.sendall(bytes([byte]))

    threading.Thread(target=answer, daemon=True).start()
    proxy = KafkaProxy("127.0.0.1", port)
    try:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
            heard = client.makefile("rb").read()
    finally:
        proxy.close()
        kafka.close()
    here = b"127.0.0.1" + proxy.port.to_bytes(4, "big")
    expected = [each.replace(there, here) for each in words]
    assert heard == b"".join(len(each).to_bytes(4, "big") + each for each in expected)
