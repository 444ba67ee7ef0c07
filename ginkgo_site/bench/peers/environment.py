"""The peers' own virtual environment, `.venv-bench`: made when first needed, made anew when what is in it changes."""

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
    """Its interpreter. Raises BenchError, with pip's last line, if the packages cannot be installed."""
    python, stamp = VENV / "bin" / "python", VENV / ".ready"
    try:
        wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
        if python.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
            return python
        say("routing: installing quixstreams into .venv-bench, once")
        shutil.rmtree(VENV, ignore_errors=True)
        venv.create(VENV, with_pip=True)
        done = subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(REQUIREMENTS)],
            capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["pip said nothing"]
            raise BenchError(f"cannot be installed: {lines[-1]}")
        stamp.write_text(wanted, encoding="utf-8")
    except (OSError, subprocess.SubprocessError) as error:
        raise BenchError(f"cannot be installed: {error}") from None
    return python
