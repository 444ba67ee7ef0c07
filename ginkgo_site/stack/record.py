"""stack.json: what a running supervisor tells the processes of its home. Believed only while that supervisor lives."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import psutil

FILE = "stack.json"


def path(home: Path) -> Path:
    return home / FILE


def write(home: Path, data: dict[str, Any]) -> None:
    """Replace it at once: a reader sees the old or the new one, whole."""
    target = path(home)
    temporary = target.with_name(f".{FILE}.{os.getpid()}")
    temporary.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    temporary.replace(target)


def remove(home: Path) -> None:
    path(home).unlink(missing_ok=True)


def read(home: Path) -> dict[str, Any]:
    """What stands there, true or not; nothing if there is no file or it is not ours to understand."""
    try:
        data = json.loads(path(home).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def is_alive(data: dict[str, Any]) -> bool:
    """Whether the supervisor that wrote it lives: its process number and its start, as numbers are reused."""
    pid, started = data.get("supervisor"), data.get("supervisor_started")
    if not isinstance(pid, int) or not isinstance(started, int | float):
        return False
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
