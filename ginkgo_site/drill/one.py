"""All wanted drills on one cluster, in a process whose settings are those of the servers it is given.

`python -m ginkgo_site.drill.one NAME…` prints one outcome a line as JSON; progress goes to stderr.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence

import django
import msgspec

NODES = ("drill-1", "drill-2")


def main(names: Sequence[str]) -> int:
    """The exit code; what keeps them from being run is one line on stderr."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ginkgo_site.settings")
    django.setup()
    logging.getLogger().setLevel("ERROR")
    for name in ("market", "scheduler", "portfolios"):
        logging.getLogger(name).setLevel("ERROR")
    from django.conf import settings

    from ginkgo_site.drill import chaos
    from ginkgo_site.drill.errors import DrillError
    from ginkgo_site.drill.run import perform, run, say
    from ginkgo_site.drill.world import World
    from ginkgo_site.installation.initialise import initialise

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    threading.Thread(target=_tied, name="drill_tied", daemon=True).start()
    world = World(settings.GINKGO.home, NODES)
    try:
        initialise()
        say("drill: the cluster starts")
        world.open()
        for name in names:
            say(f"{name} …")
            outcome = perform(name, chaos.parse(name), world) if chaos.is_chaos(name) else run(name, world)
            sys.stdout.write(json.dumps(msgspec.to_builtins(outcome)) + "\n")
            sys.stdout.flush()
    except DrillError as error:
        say(f"drill: {error}")
        return 1
    finally:
        world.close()
    return 0


def _tied() -> None:
    """Whoever asked for the drills holds our stdin: with its end the cluster ends too, and leaves nothing behind."""
    while os.read(0, 1024):
        continue
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
