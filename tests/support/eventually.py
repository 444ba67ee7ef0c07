"""Wait until a condition holds, and say what was last seen when it never does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T], timeout: float = 10.0, interval: float = 0.05, saying: str = "") -> T:
    """The first truthy value of `condition()`, asked every `interval` seconds for at most `timeout` seconds.

    An AssertionError raised by the condition counts as "not yet". Raises AssertionError with the last value or error.
    """
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    last: object = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = value
        except AssertionError as error:
            last = error
        if time.monotonic() >= deadline:
            raise AssertionError(f"{saying or 'the condition'} did not come true in {timeout} s; last seen: {last!r}")
        pause.wait(interval)
