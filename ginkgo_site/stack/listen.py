"""The port of a page served from here: the configured one, else the one that stack.json names, else a free one."""

from __future__ import annotations

from urllib.parse import urlsplit

from ginkgo_site.stack.errors import StackError
from ginkgo_site.stack.ports import Ports, is_free


def choose(configured: int | None, announced: str | None, usual: int, host: str, key: str) -> int:
    """A port free now. Raises StackError if the configured or announced one is taken.

    The announced one is this home's own: its supervisor has reserved it for us.
    """
    fixed = configured or (urlsplit(announced).port if announced else None)
    if fixed is not None:
        if not is_free(fixed, host):
            remedy = f"stop what listens there, or set another {key}" if configured else "stop what listens there"
            raise StackError(f"port {fixed} of {host} is taken: {remedy}")
        return fixed
    ports = Ports()
    return usual if ports.take(usual, host) else ports.any()
