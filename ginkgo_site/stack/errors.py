"""What can go wrong with the stack, each as one line a user can act on."""

from __future__ import annotations


class StackError(Exception):
    """The stack cannot start or go on; the message is one line that says what to do."""


class AlreadyRunning(StackError):
    """Another supervisor holds this home."""


class Interrupted(Exception):
    """A signal asked for the stop while something was being waited for."""
