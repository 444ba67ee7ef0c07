"""`make` in a clone of its own: it makes a virtual environment once, notices a half-made one, and says one clear line.

The clone asks for no packages, so that nothing is downloaded; all else is the real thing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ginkgo_site.config import PROJECT

# Of the make that may run these tests.
_NOT_INHERITED = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON", "PYTHON_FORCED", "VIRTUAL_ENV"}


class Clone:
    """The files that set a clone up, and its `make`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.venv = path / ".venv"
        for name in ("Makefile", ".ci", "pyproject.toml"):
            source = PROJECT / name
            if source.is_dir():
                shutil.copytree(source, path / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, path / name)
        for name in ("requirements.txt", "requirements-dev.txt"):
            (path / name).write_text("# nothing\n")
        package = path / "ginkgo_site"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "cli.py").write_text("def main():\n    print('this is ginkgo')\n")

    def make(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
        return subprocess.run(
            ["make", "--no-print-directory", *words],
            cwd=self.path,
            env={**environment, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def setup(self, *words: str) -> subprocess.CompletedProcess[str]:
        answer = self.make("setup", f"PYTHON={sys.executable}", *words)
        assert answer.returncode == 0, answer
        return answer

    def made_at(self) -> int:
        """When the virtual environment was created, not merely added to."""
        return (self.venv / "pyvenv.cfg").stat().st_mtime_ns


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """One clone, set up; the tests leave it set up."""
    made = Clone(tmp_path_factory.mktemp("clone"))
    said = made.setup().stderr
    assert "Creating .venv" in said
    return made


def test_ginkgo_is_in_its_bin_and_works_from_any_directory(clone: Clone, tmp_path: Path) -> None:
    answer = subprocess.run(
        [clone.venv / "bin" / "ginkgo"], cwd=tmp_path, capture_output=True, text=True, check=False, env={}
    )
    assert answer.stdout == "this is ginkgo\n"


def test_a_second_run_does_nothing_and_says_nothing(clone: Clone) -> None:
    before = clone.made_at()
    answer = clone.setup()
    assert answer.stdout + answer.stderr == ""
    assert clone.made_at() == before


@pytest.mark.slow
def test_changed_requirements_are_installed_into_the_same_environment(clone: Clone) -> None:
    before = clone.made_at()
    (clone.path / "requirements.txt").write_text("# still nothing\n")
    assert "Installing" in clone.setup().stderr
    assert clone.made_at() == before
    assert clone.setup().stderr == ""


@pytest.mark.slow
def test_an_environment_for_tests_serves_for_running_too(clone: Clone) -> None:
    answer = clone.make("setup-dev", f"PYTHON={sys.executable}")
    assert answer.returncode == 0, answer
    assert clone.setup().stderr == ""


@pytest.mark.slow
def test_a_broken_environment_is_made_anew(clone: Clone) -> None:
    before = clone.made_at()
    shutil.rmtree(next((clone.venv / "lib").glob("python3*")) / "site-packages" / "pip")
    assert "Creating .venv" in clone.setup().stderr
    assert clone.made_at() != before


@pytest.mark.slow
def test_an_installation_that_did_not_end_is_not_taken_for_a_whole_one(clone: Clone) -> None:
    (clone.path / "requirements.txt").write_text("./there-is-no-such-package\n")
    answer = clone.make("setup", f"PYTHON={sys.executable}")
    assert answer.returncode != 0
    assert "packages could not be installed" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert (clone.venv / ".installing").exists()
    (clone.path / "requirements.txt").write_text("# nothing\n")
    assert "Creating .venv" in clone.setup().stderr
    assert not (clone.venv / ".installing").exists()


def test_without_a_python_it_says_so_in_one_line(clone: Clone) -> None:
    answer = clone.make("setup", "PYTHON=")
    assert answer.returncode != 0
    assert "No Python 3.11 or newer" in answer.stderr


def test_a_python_that_is_there_but_does_not_work_is_passed_over(clone: Clone, tmp_path: Path) -> None:
    shim = tmp_path / "python3.13"
    shim.write_text("#!/bin/sh\nexit 1\n")
    shim.chmod(0o755)
    path = f"{tmp_path}:{Path(sys.executable).parent}:/usr/bin:/bin"
    assert clone.make("setup", PATH=path).returncode == 0


def test_help_is_the_default_and_names_every_target(clone: Clone) -> None:
    said = clone.make().stdout
    for target in ("up", "down", "test", "check", "test-servers", "test-slow", "bench", "clean"):
        assert f"make {target} " in said


def test_up_passes_its_arguments_and_its_exit_code_on(clone: Clone) -> None:
    cli = clone.path / "ginkgo_site" / "cli.py"
    kept = cli.read_text()
    cli.write_text("import sys\ndef main():\n    print(sys.argv[1:])\n    sys.exit(3)\n")
    try:
        answer = clone.make("up", f"PYTHON={sys.executable}", "ARGS=--nodes 3")
    finally:
        cli.write_text(kept)
    assert answer.stdout == "['up', '--nodes', '3']\n"
    assert "Error 3" in answer.stderr


def test_clean_leaves_the_books(clone: Clone) -> None:
    books = clone.path / ".ginkgo"
    books.mkdir()
    assert clone.make("clean").returncode == 0
    assert not clone.venv.exists()
    assert books.is_dir()
