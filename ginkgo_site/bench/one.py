"""One benchmark in a process of its own, whose settings are those of the servers it is given.

`python -m ginkgo_site.bench.one NAME` prints the outcomes as one line of JSON; progress goes to stderr. It ends, and
stops whatever it has started, when its stdin does: whoever asked for the benchmark is gone then, or tired of waiting.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys

import django
import msgspec

from ginkgo_site.bench.errors import BenchError
from ginkgo_site.bench.programs import attend
from ginkgo_site.bench.progress import to_stderr


def main(name: str) -> int:
    """The exit code; what keeps it from being run is one line on stderr."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ginkgo_site.settings")
    attend()
    django.setup()
    for logger in (None, "market", "scheduler", "portfolios"):
        logging.getLogger(logger).setLevel("ERROR")
    try:
        outcomes = importlib.import_module(f"ginkgo_site.bench.{name}").run(to_stderr)
    except BenchError as error:
        to_stderr(f"{name}: {error}")
        return 1
    sys.stdout.write(json.dumps(msgspec.to_builtins(outcomes)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
