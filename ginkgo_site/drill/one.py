"""All wanted drills on one cluster, in a process whose settings are those of the servers it is given.

`python -m ginkgo_site.drill.one NAME…` prints one outcome a line as JSON; progress goes to stderr.
"""

from __future__ import annotations

import json
import logging
import os
import sys
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

    from ginkgo_site.drill.errors import DrillError
    from ginkgo_site.drill.run import run, say
    from ginkgo_site.drill.world import World
    from ginkgo_site.installation.initialise import initialise

    world = World(settings.GINKGO.home, NODES)
    try:
        initialise()
        say("drill: the cluster starts")
        world.open()
        for name in names:
            say(f"{name} …")
            outcome = run(name, world)
            sys.stdout.write(json.dumps(msgspec.to_builtins(outcome)) + "\n")
            sys.stdout.flush()
    except DrillError as error:
        say(f"drill: {error}")
        return 1
    finally:
        world.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
