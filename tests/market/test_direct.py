"""The line between node and engine: each takes only the other's word (`market.direct`)."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import pytest
from pydantic import SecretStr

from market import direct
from market.direct import Answer, Call, Line, Malformed, Refused, Unreachable, ask
from tests.market.desk_support import submission

KEY, OTHER = b"k" * 32, b"o" * 32
ORDER = submission("11111111-1111-4111-8111-111111111111", 1)
CALL = Call([ORDER])


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[tuple[str, int]]:
    """Somebody at a free port, who does `serve` with the one who calls."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                serve(connection)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield listener.getsockname()
        thread.join(5)


def line(connection: socket.socket, key: bytes = KEY) -> Line:
    return Line(connection, key, b"engine", time.monotonic() + 5)


def engine(answer: Answer, heard: list[Call] | None = None, key: bytes = KEY) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        mine = line(connection, key)
        mine.challenge()
        try:
            body = mine.hear()
        except Refused:
            mine.refuse()
            return
        if heard is not None:
            heard.append(direct.decode_call(body))
        mine.say(direct.encode(answer))

    return serve


def test_what_was_asked_is_heard_word_for_word_and_answered() -> None:
    heard: list[Call] = []
    with listening(engine(Answer(["sending"]), heard)) as address:
        assert ask(address, KEY, CALL, 5).outcomes == ["sending"]
    assert heard == [CALL]


def test_whoever_has_another_secret_is_refused_and_told_so() -> None:
    heard: list[Call] = []
    with listening(engine(Answer(["sending"]), heard)) as address, pytest.raises(Refused, match="door_secret"):
        ask(address, OTHER, CALL, 5)
    assert heard == []


def test_an_answer_of_a_stranger_is_not_believed() -> None:
    def serve(connection: socket.socket) -> None:
        mine = line(connection)
        mine.challenge()
        mine.hear()
        mine._key = OTHER
        mine.say(direct.encode(Answer(["sending"])))

    with listening(serve) as address, pytest.raises(Refused):
        ask(address, KEY, CALL, 5)


def test_what_was_overheard_cannot_be_said_again() -> None:
    said: list[bytes] = []
    refused: list[str] = []

    def overhear(connection: socket.socket) -> None:
        connection.sendall(direct.MAGIC + b"c" * 32)
        said.append(connection.recv(65_536))

    with listening(overhear) as address, pytest.raises(Unreachable):
        ask(address, KEY, CALL, 5)

    def serve(connection: socket.socket) -> None:
        mine = line(connection)
        mine.challenge()
        try:
            mine.hear()
        except Refused as error:
            refused.append(str(error))

    with listening(serve) as address, socket.create_connection(address) as again:
        again.recv(100)
        again.sendall(said[0])
    assert refused


def test_a_changed_word_is_noticed() -> None:
    def serve(connection: socket.socket) -> None:
        mine = line(connection)
        mine.challenge()
        mine.hear()
        body = direct.encode(Answer(["sending"]))
        connection.sendall(len(body).to_bytes(4) + mine._sign(b"engine", body) + body.replace(b"sending", b"fenced!"))

    with listening(serve) as address, pytest.raises(Refused):
        ask(address, KEY, CALL, 5)


def test_what_the_node_says_cannot_be_sent_back_as_the_answer() -> None:
    def mirror(connection: socket.socket) -> None:
        connection.sendall(direct.MAGIC + b"c" * 32)
        connection.sendall(connection.recv(65_536))

    with listening(mirror) as address, pytest.raises(Refused):
        ask(address, KEY, CALL, 5)


@pytest.mark.parametrize(
    ("what", "error"), [(b"HTTP/1.1 400 Bad Request\r\n" * 3, Malformed), (b"short", Unreachable), (b"", Unreachable)]
)
def test_somebody_else_at_that_port_is_no_engine(what: bytes, error: type[Exception]) -> None:
    with listening(lambda connection: connection.sendall(what)) as address, pytest.raises(error):
        ask(address, KEY, CALL, 5)


def test_nobody_there_is_said_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    with pytest.raises(Unreachable):
        ask(address, KEY, CALL, 5)


def test_who_does_not_answer_is_given_up_in_time() -> None:
    begun = time.monotonic()
    silent = threading.Event()
    with listening(lambda _: silent.wait(30) and None) as address:
        with pytest.raises(Unreachable):
            ask(address, KEY, CALL, 0.3)
        assert time.monotonic() - begun < 5
        silent.set()


def test_more_than_the_most_is_not_even_read() -> None:
    faults: list[Exception] = []

    def serve(connection: socket.socket) -> None:
        mine = line(connection)
        mine.challenge()
        try:
            mine.hear()
        except Malformed as error:
            faults.append(error)

    with listening(serve) as address, socket.create_connection(address) as caller:
        caller.recv(100)
        caller.sendall((direct.MOST_BYTES + 1).to_bytes(4) + bytes(32))
    assert faults


def test_as_many_answers_as_messages() -> None:
    with listening(engine(Answer(["sending", "sending"]))) as address, pytest.raises(Malformed):
        ask(address, KEY, CALL, 5)


def test_the_key_is_made_of_the_secret_that_was_given_or_of_djangos(settings: object) -> None:
    own = direct.key()
    config = settings.GINKGO  # type: ignore[attr-defined]
    empty = config.engine.model_copy(update={"door_secret": SecretStr("")})
    settings.GINKGO = config.model_copy(update={"engine": empty})  # type: ignore[attr-defined]
    assert direct.key() == own
    settings.SECRET_KEY = "another"  # type: ignore[attr-defined]
    assert direct.key() != own
    engine = settings.GINKGO.engine.model_copy(update={"door_secret": SecretStr("s")})  # type: ignore[attr-defined]
    settings.GINKGO = settings.GINKGO.model_copy(update={"engine": engine})  # type: ignore[attr-defined]
    given = direct.key()
    settings.SECRET_KEY = "a third"  # type: ignore[attr-defined]
    assert direct.key() == given


def test_a_message_with_an_unknown_type_is_malformed() -> None:
    with pytest.raises(msgspec.ValidationError):
        direct.decode_call(b'{"messages": [{"event_type": "sell_all"}]}')
