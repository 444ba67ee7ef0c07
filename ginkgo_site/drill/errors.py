"""What keeps a drill from being run at all: a fault of the ground it stands on, not a finding."""


class DrillError(Exception):
    """The message is one line for the user."""
