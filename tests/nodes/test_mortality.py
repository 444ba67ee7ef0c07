"""A node that has lost a thread ends, once, and not while it is stopping anyway."""

from __future__ import annotations

import threading

from nodes.mortality import EXIT_CODE, Mortality
from nodes.thread import NodeThread
from tests.support import eventually


class Faulty(NodeThread):
    def work(self) -> None:
        raise ZeroDivisionError("a defect")


def _die(mortality: Mortality) -> None:
    thread = Faulty("faulty")
    thread.on_death = mortality
    thread.start()
    thread.join()


def test_the_process_ends_with_a_code_of_its_own_after_a_thread_has_died() -> None:
    ended: list[int] = []

    _die(Mortality("n", 0.01, threading.Event(), ended.append))

    eventually(lambda: ended == [EXIT_CODE])


def test_it_ends_once_however_many_threads_die() -> None:
    ended: list[int] = []
    mortality = Mortality("n", 0.01, threading.Event(), ended.append)

    _die(mortality)
    _die(mortality)

    eventually(lambda: bool(ended))
    assert not [t for t in threading.enumerate() if t.name == "mortality_n" and not t.join(5) and t.is_alive()]
    assert ended == [EXIT_CODE]


def test_a_node_that_is_stopping_is_left_to_stop() -> None:
    ended: list[int] = []
    stopping = threading.Event()
    stopping.set()

    _die(Mortality("n", 5.0, stopping, ended.append))

    eventually(lambda: not [t for t in threading.enumerate() if t.name == "mortality_n"])
    assert ended == []
