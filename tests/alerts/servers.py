"""What alerts are sent to in tests: a webhook, a mail server, and a server that accepts and never answers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Webhook:
    """Keeps what is posted to it; answers `status`."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.port = server.server_address[1]
        self.status = 200
        self.got: list[dict[str, Any]] = []
        self.paths: list[str] = []

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.port}/hooks/token-of-the-hook"

    @property
    def titles(self) -> list[str]:
        return [message["title"] for message in self.got]


@contextmanager
def webhook() -> Iterator[Webhook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.paths.append(self.path)
            if hook.status == 200:
                hook.got.append(json.loads(body))
            self.send_response(hook.status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing: it is not the product that speaks here."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hook = Webhook(server)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="test_webhook")
    thread.start()
    try:
        yield hook
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def silent() -> Iterator[int]:
    """The port of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


@contextmanager
def trickling() -> Iterator[int]:
    """The port of a server that answers one byte at a time, without end: no timeout of a read ever strikes."""
    stop = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.1)

    def serve() -> None:
        taken: list[socket.socket] = []
        while not stop.wait(0.2):
            try:
                taken.append(listener.accept()[0])
                taken[-1].sendall(b"HTTP/1.1 200 OK\r\nX: ")
            except TimeoutError:
                pass
            for each in list(taken):
                try:
                    each.sendall(b"x")
                except OSError:
                    taken.remove(each)
        for each in taken:
            each.close()

    thread = threading.Thread(target=serve, name="test_trickle")
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        stop.set()
        thread.join()
        listener.close()


class Mails:
    """A mail server just large enough for a client that speaks SMTP (RFC 5321)."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.got: list[str] = []


@contextmanager
def mail_server() -> Iterator[Mails]:
    stop = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.1)
    mails = Mails(listener.getsockname()[1])

    def talk(client: socket.socket) -> None:
        client.settimeout(5)
        with client, client.makefile("rwb", buffering=0) as lines:
            lines.write(b"220 test\r\n")
            while line := lines.readline():
                verb = line.split()[0].upper() if line.split() else b""
                if verb == b"DATA":
                    lines.write(b"354 go on\r\n")
                    text = b""
                    while (part := lines.readline()) != b".\r\n":
                        text += part
                    mails.got.append(text.decode())
                    lines.write(b"250 taken\r\n")
                elif verb == b"QUIT":
                    lines.write(b"221 bye\r\n")
                    return
                else:
                    lines.write(b"250 ok\r\n")

    def serve() -> None:
        while not stop.is_set():
            try:
                client, _ = listener.accept()
            except TimeoutError:
                continue
            talk(client)

    thread = threading.Thread(target=serve, name="test_mail")
    thread.start()
    try:
        yield mails
    finally:
        stop.set()
        thread.join()
        listener.close()
