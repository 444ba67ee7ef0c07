"""SIGTERM and SIGINT: the first asks to stop, the second ends the process at once."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType


def stop_on_signals(stop: threading.Event) -> None:
    """`stop` is set soon after the first signal. To be called in the main thread."""
    asked = False

    def on_signal(number: int, _: FrameType | None) -> None:
        nonlocal asked
        if asked:
            sys.exit(128 + number)
        asked = True
        # Not here: the main thread may be inside this Event's lock just now.
        threading.Thread(target=stop.set, name="stop_on_signal").start()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
