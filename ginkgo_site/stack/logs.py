"""The children's log files: kept from growing without end, and asked for the line that tells why a child died."""

from __future__ import annotations

import re
from pathlib import Path

LIMIT = 20 * 1024 * 1024
_TELLING = re.compile(
    r"error|fatal|exception|denied|in use|cannot|can't|failed|unable|no space|unknown|invalid|refused|taken|no such",
    re.IGNORECASE,
)
_STACK_FRAME = re.compile(r"^(\s|Caused by:|Traceback |\s*at )")
_SHOWN = 300


def trim(path: Path, limit: int = LIMIT) -> None:
    """Above `limit` bytes, move what is there to `<name>.1`. Children append, so they go on in the emptied file."""
    try:
        if path.stat().st_size <= limit:
            return
        path.with_name(path.name + ".1").write_bytes(tail(path, limit))
        with path.open("r+b") as file:
            file.truncate(0)
    except FileNotFoundError:
        return


def tail(path: Path, size: int, since: int = 0) -> bytes:
    """At most the last `size` bytes of the file, none from before the offset `since`."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            file.seek(max(0, end - size, since if since <= end else 0))
            return file.read()
    except FileNotFoundError:
        return b""


def telling_line(path: Path, since: int = 0) -> str:
    """The last line after the offset `since` that looks like a reason, else the last line, else nothing."""
    lines = [
        line.rstrip() for line in tail(path, 64 * 1024, since).decode("utf-8", "replace").splitlines() if line.strip()
    ]
    own = [line for line in lines if not _STACK_FRAME.match(line)]
    telling = [line for line in own if _TELLING.search(line)]
    found = (telling or own or lines or [""])[-1].strip()
    return found if len(found) <= _SHOWN else found[: _SHOWN - 1] + "…"
