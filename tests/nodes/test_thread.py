from __future__ import annotations

import logging

import pytest

from nodes.thread import NodeThread


class Obedient(NodeThread):
    def work(self) -> None:
        self.stopping.wait(10)


class Idle(NodeThread):
    def work(self) -> None:
        return


class Faulty(NodeThread):
    def work(self) -> None:
        raise RuntimeError("a defect")


def test_one_that_was_asked_to_end_has_not_died() -> None:
    thread = Obedient("t")
    assert not thread.died
    thread.start()
    thread.request_stop()
    thread.join(5)
    assert not thread.is_alive()
    assert not thread.died


def test_one_that_ends_unasked_has_died_even_without_an_error() -> None:
    mourned: list[NodeThread] = []
    for thread in (asked := Obedient("asked"), unasked := Idle("unasked"), faulty := Faulty("faulty")):
        thread.on_death = mourned.append
    asked.request_stop()
    for thread in (asked, unasked, faulty):
        thread.start()
        thread.join(5)
    assert mourned == [unasked, faulty]


def test_a_stop_before_the_start_holds() -> None:
    thread = Obedient("t")
    thread.request_stop()
    thread.start()
    thread.join(5)
    assert not thread.is_alive()


def test_one_that_dies_says_so_and_keeps_why(caplog: pytest.LogCaptureFixture) -> None:
    thread = Faulty("faulty")
    with caplog.at_level(logging.CRITICAL):
        thread.start()
        thread.join(5)
    assert thread.died
    assert str(thread.error) == "a defect"
    assert "Thread faulty died" in caplog.text
