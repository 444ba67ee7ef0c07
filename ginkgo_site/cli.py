"""The `ginkgo` command: Django's management commands, from any directory, with errors as one line."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run `ginkgo COMMAND …`. A bad configuration is one line on stderr and exit code 2."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ginkgo_site.settings")
    from django.core.management import execute_from_command_line

    from ginkgo_site import overrides
    from ginkgo_site.config import ConfigurationError

    if found := overrides.find(sys.argv[1:]):
        os.environ[overrides.VARIABLE] = overrides.to_environment(found)

    try:
        execute_from_command_line(["ginkgo", *sys.argv[1:]])
    except ConfigurationError as error:
        sys.stderr.write(f"ginkgo: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
