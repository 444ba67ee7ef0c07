"""Virtual environments of the peers' own: made when first needed, made anew when what is in them changes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import venv
from pathlib import Path

from ginkgo_site.bench.errors import BenchError
from ginkgo_site.bench.progress import Say
from ginkgo_site.config import PROJECT

VENV = PROJECT / ".venv-bench"
REQUIREMENTS = PROJECT / "requirements-bench.txt"
_TIMEOUT_S = 300.0


def python_with_peers(say: Say) -> Path:
    """The interpreter of those that read Kafka. Raises BenchError if the packages cannot be installed."""
    try:
        wanted = REQUIREMENTS.read_text(encoding="utf-8")
    except OSError as error:
        raise BenchError(f"cannot be installed: {error}") from None
    return python_with(wanted, VENV, "routing: installing quixstreams", say)


def python_with(requirements: str, place: Path, what: str, say: Say) -> Path:
    """The interpreter of an environment that has these packages, one a line, and no others.

    Raises BenchError, with pip's last line, if they cannot be installed.
    """
    python, stamp, listed = place / "bin" / "python", place / ".ready", place / "requirements.txt"
    wanted = hashlib.sha256(requirements.encode()).hexdigest()
    try:
        if python.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
            return python
        say(f"{what} into {place.name}, once")
        shutil.rmtree(place, ignore_errors=True)
        venv.create(place, with_pip=True)
        listed.write_text(requirements, encoding="utf-8")
        done = subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(listed)],
            capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["pip said nothing"]
            raise BenchError(f"cannot be installed: {lines[-1]}")
        stamp.write_text(wanted, encoding="utf-8")
    except (OSError, subprocess.SubprocessError) as error:
        raise BenchError(f"cannot be installed: {error}") from None
    return python
