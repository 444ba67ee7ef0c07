"""Memory as a process of many threads wants it: no long pause of the collector in the middle of a market, no heap for
every thread, and back with what storms have taken. For nodes and engines.

What start-up made (Django, Celery, all modules) is there for good: looking through it again takes 100 ms and more, with
every thread stopped. And ticks come by the hundred thousand, none of them in a cycle.
"""

from __future__ import annotations

import ctypes
import gc
import threading

_M_ARENA_MAX = -8
_ARENAS = 4
_TRIM_EVERY = 30.0


def share_heaps() -> None:
    """Let all threads share a few heaps of the C library; before the first of them is started.

    glibc gives every new thread one of its own, up to eight for each core, and what is freed in one stays there: with a
    thread for every portfolio, and Kafka's beside them, that is half a megabyte each. Elsewhere this does nothing.
    """
    try:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)
    except (AttributeError, OSError):  # another C library
        return


def settle() -> None:
    """Leave everything made so far out of all further collections, and collect the rest less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def keep_trimming(stop: threading.Event) -> None:
    """A thread's work: collects what was made since `settle`, and gives the system back what is free in the heaps,
    every half minute, a few milliseconds each.

    What is seldom collected lies strewn about by then: a client of Kafka that waits makes an exception a second, with
    its frames in a cycle, and there are thousands before the collector thinks it worth its while. And by itself glibc
    gives back only what lies at a heap's end. Starts and storms of orders make checkpoints and Kafka clients by the
    dozen, and what lives on lies behind them.
    """
    while not stop.wait(_TRIM_EVERY):
        gc.collect()
        trim()


def trim() -> None:
    """Elsewhere than with glibc this does nothing."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):
        return
