"""Where this user's downloads and compiled files are kept, shared by all homes."""

from __future__ import annotations

import os
from pathlib import Path


def folder(configured: Path | None = None) -> Path:
    """The configured one, else `ginkgo` in the user's cache."""
    if configured is not None:
        return configured.expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ginkgo"
