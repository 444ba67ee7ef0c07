"""Sends one message after another by Apprise, in a process of its own: one JSON object a line in, one a line out.

A process, because a thread that waits on somebody else's server cannot be ended. Each delivery has its time; the alarm
of the operating system ends the process when it is over, whatever the code is doing. Secrets come by standard input,
never by the command line. Run as a file, so that it imports Apprise and nothing of ours.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from typing import Any


class _Reasons(logging.Handler):
    """Keeps what Apprise logs: it answers no more than yes or no."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(" ".join(record.getMessage().split()))


def main() -> None:
    # What a plug-in prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    # Whoever started us decides when to stop; Ctrl-C goes to the whole terminal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    reasons = _Reasons()
    logger = logging.getLogger("apprise")
    logger.setLevel(logging.WARNING)
    logger.addHandler(reasons)
    logger.propagate = False
    for line in sys.stdin:
        order = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, float(order["timeout"]))
        reasons.lines.clear()
        sent, reason = _send(order, reasons)
        signal.setitimer(signal.ITIMER_REAL, 0)
        answers.write(json.dumps({"sent": sent, "reason": reason}) + "\n")
        answers.flush()


def _send(order: dict[str, Any], reasons: _Reasons) -> tuple[bool, str]:
    from apprise import Apprise, AppriseAsset

    # Ours, not Apprise's: the name and the looks of the sender.
    asset = AppriseAsset(app_id="Ginkgo Live", app_desc="Ginkgo Live", app_url="", async_mode=False)
    messenger = Apprise(asset=asset)
    if not messenger.add(order["url"]):
        return False, "Apprise does not know this address any more"
    try:
        sent = messenger.notify(title=order["title"], body=order["body"], notify_type=order["type"])
    except Exception as error:  # noqa: BLE001 - any of a hundred plug-ins; what it says is the outcome
        return False, f"{type(error).__name__}: {error}"
    return bool(sent), "" if sent else (reasons.lines[-1] if reasons.lines else "it was not taken")


if __name__ == "__main__":
    main()
