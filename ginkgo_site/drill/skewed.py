"""`ginkgo …` with a clock that is wrong: `python -m ginkgo_site.drill.skewed SECONDS WORDS…`.

What Python takes for the time of day is off by so many seconds in all of the process from its start on; durations are
not. `time-machine` (a requirement of the tests) does it within the interpreter.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec

MISSING = "the package time-machine is not installed (it is one of requirements-dev.txt)"


def is_possible() -> bool:
    return find_spec("time_machine") is not None


def through(seconds: float) -> tuple[str, ...]:
    """The module and its first words, for `World.start`."""
    return "ginkgo_site.drill.skewed", str(seconds)


def main() -> None:
    import time_machine

    seconds = float(sys.argv[1])
    sys.argv[1:] = sys.argv[2:]
    time_machine.travel(datetime.now(UTC) + timedelta(seconds=seconds), tick=True).start()

    from ginkgo_site import cli

    cli.main()


if __name__ == "__main__":
    main()
