"""A process of a sweep: a backtest a line on stdin, what came of it as a line on stdout, until stdin ends."""

from __future__ import annotations

import os
import signal
import sys

import django
import msgspec


def main() -> None:
    # Ctrl-C is its parent's business, who ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ginkgo_site.settings")
    django.setup()
    from portfolios.backtest.sweep_job import Job, answer  # needs Django's apps

    # Answers alone go to what was stdout; whatever a component prints goes to stderr.
    with os.fdopen(os.dup(1), "wb", buffering=0) as answers:
        os.dup2(2, 1)
        for line in sys.stdin.buffer:
            answers.write(msgspec.json.encode(answer(msgspec.json.decode(line, type=Job))) + b"\n")


if __name__ == "__main__":
    main()
