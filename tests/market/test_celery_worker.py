"""What is run around a Celery worker: another after a fault, none after it was asked to end.

That Celery's worker does fail, and how it does, is shown by a real one: tests/integration/live/test_commands.py and
tests/scheduler/test_service.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from celery.platforms import EX_FAILURE
from celery.worker import state

from market import celery_worker


class Worker:
    def __init__(self, end: Callable[[], object]) -> None:
        self.exitcode: object = None
        self._end = end

    def start(self) -> None:
        self.exitcode = self._end()


@pytest.fixture(autouse=True)
def not_asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(celery_worker, "_PAUSE", 0.1)
    yield
    state.should_stop = state.should_terminate = None


def run(*ends: Callable[[], object], started: bool = True) -> tuple[int, int]:
    """The exit code, and how many workers that took."""
    left = [Worker(end) for end in ends]
    code = celery_worker.run("n1", lambda: left.pop(0), lambda: started)
    return code, len(ends) - len(left)


def fails() -> int:
    return EX_FAILURE


def fails_in_its_end() -> int:
    raise AttributeError("of Celery's")


def asked() -> int:
    state.should_stop = 0
    return 0


def test_one_that_fails_is_followed_by_another(caplog: pytest.LogCaptureFixture) -> None:
    assert run(fails, fails_in_its_end, asked, fails) == (0, 3)
    assert caplog.text.count("n1 goes on, and another takes its place") == 2
    assert "did not end well: of Celery's" in caplog.text


def test_one_that_fails_before_what_is_beside_it_has_started_is_the_last(caplog: pytest.LogCaptureFixture) -> None:
    assert run(fails, asked, started=False) == (EX_FAILURE, 1)
    assert "The Celery worker of n1 has failed before n1 had started: it ends" in caplog.text


def test_one_that_is_told_to_end_by_celerys_remote_control_is_the_last() -> None:
    assert run(lambda: "Got shutdown from remote", asked) == (0, 1)


def test_one_that_was_asked_to_end_and_fails_at_that_is_the_last() -> None:
    def ends_badly() -> int:
        asked()
        return EX_FAILURE

    assert run(ends_badly, asked) == (EX_FAILURE, 1)


def test_asked_between_two_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery_worker, "_PAUSE", 30.0)
    answers = iter([False, False, True])
    monkeypatch.setattr(celery_worker, "_asked", lambda: next(answers))
    assert run(fails, asked) == (0, 1)
