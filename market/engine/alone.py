"""One broker at a time: engines share one consumer group, so those of two brokers would reject each other's orders."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

from market.engine import status

_LOOK_EVERY = 0.5


class AnotherBroker(RuntimeError):
    """An engine of another broker is alive; the message says what to do."""


def insist(broker: str, stop: threading.Event) -> None:
    """Return when no engine of a broker other than this one speaks, or raise AnotherBroker; or at once when Redis does
    not answer, for then nobody can know.

    One that has died without a word counts as alive for `status.STALE` seconds: so long it is waited for.
    """
    deadline = time.monotonic() + status.STALE + 1.0
    while not stop.is_set():
        said = status.read(datetime.now(UTC))
        other = said.get("broker")
        if said["engine_status"] not in ("running", "stopped") or not other or other == broker:
            return
        if time.monotonic() >= deadline:
            where = f"on {said.get('host')}, process {said.get('pid')}"
            raise AnotherBroker(
                f"an engine of broker {other!r} runs already ({where}): engines of one installation serve one broker, "
                f"so stop it before one of {broker!r} starts"
            )
        stop.wait(_LOOK_EVERY)
