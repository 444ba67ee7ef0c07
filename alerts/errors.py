"""What goes wrong with alerts, in words that say what to do."""

from __future__ import annotations


class AlertError(Exception):
    """The wish cannot be met; the message is one line for a person."""


class StoreAway(AlertError):
    """MongoDB is not known or does not answer: alerts stay in Kafka's log until it does."""


class BadAddress(AlertError):
    """A channel's address is not one that can be sent to."""


class Unreadable(AlertError):
    """A channel's address was encrypted with a secret key that is no longer there."""
