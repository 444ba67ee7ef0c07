"""The memory of nodes and engines: few heaps for many threads, and what is free in them goes back."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import threading
import weakref

import pytest

from market import memory
from tests.support import eventually

THREADS = """
import ctypes, sys, threading
from market import memory

if sys.argv[1] == "share":
    memory.share_heaps()
ready = threading.Barrier(25)
kept = []


def work():
    ready.wait()
    kept.append(bytes(2000))  # too large for Python's own heap
    ready.wait()


threads = [threading.Thread(target=work) for _ in range(24)]
for thread in threads:
    thread.start()
ready.wait()
ready.wait()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
out = libc.fopen(b"/dev/stdout", b"w")
libc.malloc_info(0, ctypes.c_void_p(out))
libc.fclose(ctypes.c_void_p(out))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="not glibc")
def test_threads_share_a_few_heaps() -> None:
    def heaps(word: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", THREADS, word], capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout.count("<heap nr=")

    assert heaps("share") <= 4 < heaps("own")


HOLES = """
import psutil
from market import memory

memory.share_heaps()
me = psutil.Process()
kept = [bytes(20_000) for _ in range(4000)]
del kept[:-1]  # the last lies behind them
before = me.memory_info().rss
memory.trim()
print(before - me.memory_info().rss)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not glibc")
def test_what_is_free_goes_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) > 60_000_000


class Circular:
    def __init__(self) -> None:
        self.me = self


@pytest.mark.parametrize("old", [False, True])
def test_cycles_are_collected_before_they_lie_about_everywhere(monkeypatch: pytest.MonkeyPatch, old: bool) -> None:
    monkeypatch.setattr(memory, "_TRIM_EVERY", 0.01)
    stop = threading.Event()
    thread = threading.Thread(target=memory.keep_trimming, args=(stop,))
    gc.disable()
    try:
        kept = Circular()
        left = weakref.ref(kept)
        if old:
            gc.collect()
        del kept
        thread.start()
        eventually(lambda: left() is None, saying="it is collected")
    finally:
        gc.enable()
        stop.set()
        thread.join(5)
