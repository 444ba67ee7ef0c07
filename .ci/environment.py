"""Make `.venv` ready: created, with the pinned packages and the `ginkgo` command in it; a no-op when it already is.

Run by the Makefile with any Python >= 3.11 and nothing but the standard library: `python .ci/environment.py run|dev`.
The stamp `.venv/.ready-*` names the requirement files' contents and is written last; `.venv/.installing` exists while
packages are being written, so that an interrupted installation is recognised and started afresh.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
INSTALLING = VENV / ".installing"
LOG = VENV / "pip.log"
FILES = {"run": ("requirements.txt",), "dev": ("requirements.txt", "requirements-dev.txt")}

ENTRY_POINTS = "[console_scripts]\nginkgo = ginkgo_site.cli:main\n"
LAUNCHER = """#!{python}
# Made by `make`: Django's manage.py, from any directory.
from ginkgo_site.cli import main

main()
"""


def main(kind: str, forced_python: bool) -> int:
    """0 when `.venv` is ready for `kind`; 1, after one clear line, when it cannot be."""
    stamp, wanted = VENV / f".ready-{kind}", key(kind)
    if not usable(forced_python):
        create()
    elif read(stamp) == wanted or (kind == "run" and read(VENV / ".ready-dev") == key("dev")):
        return 0
    for old in VENV.glob(".ready-*"):
        old.unlink()
    INSTALLING.touch()
    if not install(FILES[kind]):
        return 1
    add_project()
    stamp.write_text(wanted, encoding="utf-8")
    INSTALLING.unlink()
    return 0


def key(kind: str) -> str:
    """What a ready `.venv` was made from: its place and the contents of the requirement files."""
    digest = hashlib.sha256(str(ROOT).encode())
    for name in (*FILES[kind], "pyproject.toml", ".ci/environment.py"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def lines(name: str) -> list[str]:
    return (ROOT / name).read_text(encoding="utf-8").splitlines()


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def usable(forced_python: bool) -> bool:
    """Whether `.venv` is whole, of a supported Python (of this one, if the user named it), and still in its place."""
    if INSTALLING.exists() or not PYTHON.exists():
        return False
    probe = "import sys, pip; print(sys.version_info[:2] >= (3, 11), sys.version_info[:2], sys.prefix)"
    answer = subprocess.run([PYTHON, "-c", probe], capture_output=True, text=True, check=False).stdout.strip()
    version = f"{sys.version_info[:2]}" if forced_python else ""
    pip = VENV / "bin" / "pip"
    in_place = pip.exists() and str(VENV) in pip.read_text(encoding="utf-8").partition("\n")[0]
    return answer.startswith("True") and version in answer and in_place


def create() -> None:
    say(f"Creating .venv with Python {sys.version.split()[0]}")
    if VENV.is_symlink() or VENV.is_file():
        VENV.unlink()
    shutil.rmtree(VENV, ignore_errors=True)
    venv.EnvBuilder(with_pip=True, symlinks=True).create(VENV)


def install(files: tuple[str, ...]) -> bool:
    """Install the pinned packages; what pip says goes to `.venv/pip.log`, its progress to one line."""
    # Everything is pinned, so there is nothing to resolve: --no-deps saves pip its search. Python compiles what it
    # imports, which is far less than all that is installed: --no-compile saves another 20 s.
    command = [PYTHON, "-m", "pip", "install", "--no-deps", "--no-compile", "--no-input"]
    command += ["--disable-pip-version-check", "--no-warn-script-location", "--progress-bar", "off", "-r", files[-1]]
    with LOG.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        progress = Progress(sum(line.partition("#")[0].count("==") for name in files for line in lines(name)))
        try:
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                progress.see(line)
            ok = process.wait() == 0
        finally:
            progress.end()
            if process.poll() is None:
                process.terminate()
                process.wait()
    if not ok:
        tail = [line for line in LOG.read_text(encoding="utf-8").splitlines() if "ERROR" in line][-3:]
        say("\n".join([*tail, f"make: the packages could not be installed (pip's own words: {LOG.relative_to(ROOT)})"]))
    return ok


class Progress:
    """One line that moves on a terminal, a line every 20 packages elsewhere."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._seen = 0
        self._what = "Fetching packages"
        self._started = time.monotonic()
        self._over = threading.Event()
        self._tty = sys.stderr.isatty()
        self._drawer = threading.Thread(target=self._draw, name="progress", daemon=True)
        if self._tty:
            self._drawer.start()
        else:
            say(f"Installing {total} packages into .venv (under a minute on a fast line)")

    def see(self, line: str) -> None:
        if line.startswith("Collecting "):
            self._seen += 1
            if not self._tty and self._seen % 20 == 0:
                say(f"  fetched {self._seen} of {self._total}")
        elif line.startswith("Installing collected packages"):
            self._what = "Installing packages"
            if not self._tty:
                say("  writing them")

    def end(self) -> None:
        self._over.set()
        if self._tty:
            self._drawer.join()
        took = f"done in {time.monotonic() - self._started:.0f} s"
        say(f"\rPackages: {took}\033[K" if self._tty else f"  {took}")

    def _draw(self) -> None:
        while not self._over.wait(0.2):
            took = time.monotonic() - self._started
            sys.stderr.write(f"\r{self._what}: {min(self._seen, self._total)} of {self._total}, {took:.0f} s\033[K")
            sys.stderr.flush()


def add_project() -> None:
    """The project itself: importable from any directory, its version known to Python, `ginkgo` in `.venv/bin`."""
    import tomllib  # Python 3.11's: an older one shall live long enough to be told that it is too old

    site = next((VENV / "lib").glob("python3.*")) / "site-packages"
    (site / "ginkgo_live.pth").write_text(f"{ROOT}\n", encoding="utf-8")
    about = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for old in site.glob("ginkgo_live-*.dist-info"):
        shutil.rmtree(old)
    info = site / f"ginkgo_live-{about['version']}.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n"
    files = {"METADATA": metadata, "INSTALLER": "make\n", "entry_points.txt": ENTRY_POINTS}
    for name, text in files.items():
        (info / name).write_text(text, encoding="utf-8")
    owned = ["ginkgo_live.pth", "../../../bin/ginkgo", *(f"{info.name}/{name}" for name in (*files, "RECORD"))]
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in owned), encoding="utf-8")
    launcher = VENV / "bin" / "ginkgo"
    launcher.write_text(LAUNCHER.format(python=PYTHON), encoding="utf-8")
    launcher.chmod(0o755)


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036 — the user may have named any
        say(f"make: Python 3.11 or newer is needed, {sys.executable} is {sys.version.split()[0]}")
        sys.exit(1)
    try:
        sys.exit(main(sys.argv[1], forced_python=os.environ.get("PYTHON_FORCED", "") == "1"))
    except KeyboardInterrupt:
        say("make: interrupted; the next run starts the installation afresh")
        sys.exit(130)
