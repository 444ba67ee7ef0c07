"""A process can be had at each step around a checkpoint and the orders in it, and at no other."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from confluent_kafka import Producer

from ginkgo_site.drill import stepped
from nodes.checkpointer import Checkpointer, Request
from nodes.lease import Lease
from nodes.sender import Sender
from portfolios import checkpoints
from portfolios.kernel.orders import Cancel


class FakeKafka:
    """Takes what it is given, and reports when it is polled."""

    def __init__(self, story: list[str]) -> None:
        self._story = story
        self._reports: list[Callable[..., None]] = []

    def produce(self, topic: str, *, on_delivery: Callable[..., None], **_message: Any) -> None:
        self._story.append("produce")
        self._reports.append(on_delivery)

    def poll(self, _timeout: float) -> None:
        while self._reports:
            self._reports.pop()(None, None)


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happened, steps and deeds, in this order."""
    told: list[str] = []
    stepped.install(lambda step: told.append(f"[{step}]"), monkeypatch.setattr)
    return told


def sender_to(kafka: FakeKafka) -> Sender:
    lease = Lease(60.0)
    lease.renew(lease.now())
    return Sender(cast(Producer, kafka), lease)


def intent() -> Cancel:
    return Cancel(
        cancel_id="c", order_id="o", portfolio_id="p", cause="topic:0:1:0", timestamp=datetime(2026, 1, 5, tzinfo=UTC)
    )


def test_the_steps_are_where_they_say(story: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def save(_saves: Any, _now: datetime) -> set[str]:
        story.append("commit")
        return set()

    monkeypatch.setattr(checkpoints, "save", save)
    sender = sender_to(FakeKafka(story))
    request = Request(
        checkpoints.Save("p", 1, b"", 0, {}, {}, 1, 0), (intent(),), (lambda: story.append("node is told"),)
    )
    assert Checkpointer("x", sender, cast(Any, None))._save([request]) is None
    assert story == [
        "[decided]", "commit", "[committed]", "[sending]", "produce", "[queued]", "[delivered]", "[told]",
        "node is told",
    ]  # fmt: skip
    assert sender.sent == 1


def test_a_checkpoint_without_an_order_is_no_step(story: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "save", lambda _saves, _now: set())
    request = Request(checkpoints.Save("p", 1, b"", 0, {}, {}, 1, 0))
    Checkpointer("x", sender_to(FakeKafka(story)), cast(Any, None))._save([request])
    assert story == []


def test_the_signal_comes_once_at_the_file_and_nothing_is_done_after_it(tmp_path: Path) -> None:
    file = tmp_path / "step"
    code = (
        "import sys; from pathlib import Path; from ginkgo_site.drill.stepped import take; file = Path(sys.argv[1]);"
        "take(file, 9); print('none'); file.touch(); take(file, 9); print('!')"
    )
    done = subprocess.run([sys.executable, "-uc", code, str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "none\n")
    assert not file.exists()
