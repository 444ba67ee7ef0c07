"""The command log's rows of what is carried out where it is asked (SPEC S7).

What goes to a node is written down by its sender, what comes by Kafka by whoever takes it.
"""

from __future__ import annotations

import getpass
import os
from datetime import UTC, datetime

from portfolios.models import Command
from portfolios.models.command import CommandState

DIRECT = "direct"
"""The door of a command that nobody else carries out."""
WANTED = "wanted; a node makes it true"
NEXT_START = "no node runs it: its next start takes the newest"
"""What becomes of a reload that nobody has anything to do for."""


def done(command_type: str, target_id: str, issued_by: str = "", result: str = "") -> None:
    """Write down what has just been done, in the transaction that did it. Raises django.db.Error.

    `issued_by` empty: nobody has signed in, so it is who runs this process.
    """
    now = datetime.now(UTC)
    Command.objects.create(
        command_type=command_type,
        target_id=target_id,
        state=CommandState.DONE,
        issued_by=(issued_by or system_user())[:150],
        door=DIRECT,
        result=result[:500],
        started_at=now,
        finished_at=now,
    )


def system_user() -> str:
    """Who is at this machine's command line."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return f"uid {os.getuid()}"
