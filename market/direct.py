"""How a node speaks to an engine while Kafka is away: one call a connection, signed both ways.

The engine sends a challenge, fresh for each connection; the node answers with its orders, signed together with the
challenge; the engine with what they came to, signed so too. So neither takes a stranger's word, nothing can be played
back, and no clock is compared. A frame is its body's length (4 bytes), the signature (HMAC-SHA256, 32 bytes), the
body (JSON). Nothing is encrypted, as little as what goes through Kafka is.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import socket
import time
from typing import Literal

import msgspec
from django.conf import settings

from market.messages import OrderMessage

MAGIC = b"ginkgo door 1\n"
_CHALLENGE = 32
_LENGTH = 4
_SIGNATURE = 32
MOST_BYTES = 1_048_576
MOST_MESSAGES = 200

Speaker = Literal[b"node", b"engine"]


class DoorError(Exception):
    """A call that came to nothing; what was called about may have happened all the same."""


class Unreachable(DoorError):
    """Nobody answers there, or not in time."""


class Refused(DoorError):
    """The other side's signature is wrong, or it says that ours is."""


class Malformed(DoorError):
    """What came is not of this protocol."""


class Call(msgspec.Struct, frozen=True):
    """Orders and cancels in their order. `anyone`: no engine is known to have their partitions, so whoever hears may
    take them."""

    messages: list[OrderMessage]
    anyone: bool = False


class Answer(msgspec.Struct, frozen=True):
    """What each message came to: an intake's outcome, or ELSEWHERE. `fault`: none was taken in, and why."""

    outcomes: list[str] = []
    fault: str = ""


ELSEWHERE = "elsewhere"
"""The portfolio's orders are another engine's."""
FAILED = "failed"
"""It could not be taken in: ask again."""
NO_USE = frozenset({"fenced", "conflict", "unknown", "malformed"})
"""Outcomes of what is not in the books and never will be, however often it is repeated."""

encode = msgspec.json.Encoder().encode
decode_call = msgspec.json.Decoder(Call).decode
decode_answer = msgspec.json.Decoder(Answer).decode


def key() -> bytes:
    """What nodes and engines sign with: made from `engine.door_secret`, or else from Django's own key."""
    given = settings.GINKGO.engine.door_secret
    secret = (given.get_secret_value() if given is not None else "") or settings.SECRET_KEY  # an empty one is none
    return hmac.digest(secret.encode(), b"ginkgo.engine.door", hashlib.sha256)


class Line:
    """One side of a connection; all it does together ends at `deadline` (monotonic). Raises DoorError."""

    def __init__(self, connection: socket.socket, key: bytes, me: Speaker, deadline: float) -> None:
        self._socket = connection
        self._key = key
        self._me = me
        self._deadline = deadline
        self._challenge = b""

    def extend(self, seconds: float) -> None:
        """The other side has waited for us: what follows has this long."""
        self._deadline = time.monotonic() + seconds

    def challenge(self) -> None:
        """The engine's first word."""
        self._challenge = secrets.token_bytes(_CHALLENGE)
        self._send(MAGIC + self._challenge)

    def await_challenge(self) -> None:
        greeting = self._receive(len(MAGIC) + _CHALLENGE)
        if not greeting.startswith(MAGIC):
            raise Malformed("it is no engine's door")
        self._challenge = greeting[len(MAGIC) :]

    def say(self, body: bytes) -> None:
        self._send(len(body).to_bytes(_LENGTH) + self._sign(self._me, body) + body)

    def refuse(self) -> None:
        """Instead of an answer: the signature was wrong."""
        self._send(bytes(_LENGTH + _SIGNATURE))

    def hear(self) -> bytes:
        """The other side's body, if it is what it says."""
        head = self._receive(_LENGTH + _SIGNATURE)
        length, signature = int.from_bytes(head[:_LENGTH]), head[_LENGTH:]
        if length == 0 and self._me == b"node":
            raise Refused("it does not know our signature: engine.door_secret (or web.secret_key) must be the same")
        if length > MOST_BYTES:
            raise Malformed(f"{length} bytes are too much")
        body = self._receive(length)
        other: Speaker = b"engine" if self._me == b"node" else b"node"
        if not hmac.compare_digest(signature, self._sign(other, body)):
            raise Refused("its signature is wrong")
        return body

    def _sign(self, speaker: Speaker, body: bytes) -> bytes:
        return hmac.digest(self._key, speaker + self._challenge + body, hashlib.sha256)

    def _send(self, data: bytes) -> None:
        try:
            self._socket.settimeout(self._left())
            self._socket.sendall(data)
        except OSError as error:
            raise Unreachable(str(error)) from error

    def _receive(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                self._socket.settimeout(self._left())
                part = self._socket.recv(min(size - len(data), 65_536))
            except OSError as error:
                raise Unreachable(str(error)) from error
            if not part:
                raise Unreachable("it ended the connection")
            data += part
        return bytes(data)

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise Unreachable("it took too long")
        return left


def ask(address: tuple[str, int], key: bytes, call: Call, timeout: float) -> Answer:
    """Call an engine. Raises DoorError: what came of it is then unknown, and it may be asked again."""
    deadline = time.monotonic() + timeout
    try:
        with socket.create_connection(address, timeout=timeout) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line = Line(connection, key, b"node", deadline)
            line.await_challenge()
            line.say(encode(call))
            answer: Answer = decode_answer(line.hear())
    except OSError as error:
        raise Unreachable(str(error)) from error
    except msgspec.MsgspecError as error:
        raise Malformed(str(error)) from error
    if not answer.fault and len(answer.outcomes) != len(call.messages):
        raise Malformed(f"{len(answer.outcomes)} answers to {len(call.messages)} messages")
    return answer
