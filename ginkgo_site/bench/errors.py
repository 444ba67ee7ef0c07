"""What keeps a benchmark from being run."""


class BenchError(Exception):
    """The message says in one line why, and what can be done."""
