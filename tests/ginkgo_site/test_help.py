"""`--help` teaches by example, what trades asks first, and the Tab key knows every command."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, get_commands

from ginkgo_site import cli, completion, examples, overview, probe
from ginkgo_site.config import Config
from portfolios import exits
from tests.support.commandline import parse, tree

LEAVES = sorted(" ".join(path) for path, branch in tree().items() if not branch.children)
LINES = [line.replace("\\\n", "") for found in examples.EXAMPLES.values() for line in found]


def test_the_overview_has_every_command_of_ours() -> None:
    ours = ("ginkgo_site", "portfolios", "scheduler", "nodes", "market", "alerts")
    there = {name for name, app in get_commands().items() if isinstance(app, str) and app in ours}
    assert set(overview.names()) == there


def test_the_overview_fits_80_columns_and_tells_the_exit_codes() -> None:
    assert max(len(line) for line in overview.text().splitlines()) <= 80
    for code in (exits.DONE, exits.FAILED, exits.NOT_UNDERSTOOD, exits.INTERRUPTED):
        assert f" {code} " in overview.text()


def test_every_command_has_examples_and_no_example_is_of_another() -> None:
    assert sorted(examples.EXAMPLES) == LEAVES


@pytest.mark.parametrize("line", LINES)
def test_every_example_is_a_command_with_options_it_has(line: str) -> None:
    assert line.startswith(f"ginkgo {' '.join(parse(line).path)}") or "=" in line.split()[0]


@pytest.mark.parametrize(
    "line",
    (
        "ginkgo node drian x",
        "ginkgo node drain",
        "ginkgo node drain x --wiat 3",
        "ginkgo node drain x --wait long",
        "ls",
    ),
)
def test_what_is_no_command_is_told_from_one(line: str) -> None:
    with pytest.raises(AssertionError):
        parse(line)


@pytest.mark.parametrize("words", (["node", "drain"], ["node"]), ids=" ".join)
def test_help_shows_them(words: list[str]) -> None:
    out = _run(*words, "--help")
    assert "Usage: ginkgo node" in out
    assert "   ginkgo node drain node-3\n" in out


@pytest.mark.parametrize("words", ([], ["--help"], ["help"]), ids=str)
def test_without_a_command_there_is_the_overview(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert _main(monkeypatch, *words) == (exits.DONE, overview.text(), "")


def test_an_unknown_command_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "No such command 'statsu'. Did you mean 'status'? See 'ginkgo --help'.\n"
    assert _main(monkeypatch, "statsu") == (exits.NOT_UNDERSTOOD, "", line)


class TestAsking:
    def test_a_script_must_say_yes_to_what_cannot_be_undone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
        with pytest.raises(CommandError, match="--yes"):
            exits.ask("Forget the books?", yes=False, outright=True)
        exits.ask("Forget the books?", yes=True, outright=True)

    def test_a_script_that_stops_trading_means_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(""))
        exits.ask("Stop all trading?", yes=False)

    @pytest.mark.parametrize("words", ("engine start", "engine stop", "node shutdown node-3"))
    def test_who_sits_there_is_asked_before_what_trades_or_stops_trading(
        self, words: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        code, out, err = _main(monkeypatch, *words.split(), stdin=Terminal("n\n"))
        assert (code, out.strip()) == (exits.FAILED, "")
        assert "[y/N]" in err and "Nothing was changed." in err


class TestCompletion:
    @pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
    @pytest.mark.parametrize(
        ("typed", "offered"),
        [
            ("no", "node"),
            ("node s", "start shutdown"),
            ("node start --node", "--node-id"),
            ("system config ", "show set document"),
            ("system config sh", "show"),
            ("portfolio create --name ", ""),
            ("portfolio --na", ""),
        ],
    )
    def test_bash_offers_what_there_is(self, typed: str, offered: str, tmp_path: Path) -> None:
        file = tmp_path / "completion"
        file.write_text(completion.script("bash", list(tree().values())))
        words = ["ginkgo", *typed.split(" ")]
        asks = 'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _ginkgo; echo "${COMPREPLY[@]}"'
        done = subprocess.run(
            ["bash", "-c", f"source {file}; {asks}", "bash", *words], capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == offered.split()

    @pytest.mark.parametrize("shell", ("bash", "zsh", "fish"))
    def test_every_command_and_option_is_in_each_script(self, shell: str) -> None:
        script = completion.script(shell, list(tree().values()))
        for branch in tree().values():
            assert branch.path[-1] in script
            for option in branch.options:
                assert all(name.lstrip("-") in script for name in option.names)

    def test_is_installed_where_the_shell_looks(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
        monkeypatch.setenv("SHELL", "/usr/bin/bash")
        code, out, _ = _main(monkeypatch, "--install-completion")
        assert (code, out) == (exits.DONE, f"{tmp_path}/bash-completion/completions/ginkgo\n")
        assert "complete -F _ginkgo ginkgo" in Path(out.strip()).read_text()

    def test_of_an_unknown_shell_is_one_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        code, _, err = _main(monkeypatch, "--show-completion", "csh")
        assert (code, err.count("\n")) == (exits.NOT_UNDERSTOOD, 1)


class TestProbe:
    NOW = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)

    def judge(self, *seconds_ago: float) -> str | None:
        moments = [(self.NOW - timedelta(seconds=s)).isoformat() for s in seconds_ago]
        return probe.judge("engine", moments, Config(), self.NOW)

    def test_lives_while_it_is_heard_of(self) -> None:
        assert self.judge(5) is None
        assert self.judge(500, 5) is None

    def test_is_dead_when_it_is_silent(self) -> None:
        assert self.judge(500) == "engine was last heard of 500 s ago"
        assert self.judge() == "engine has never been heard of"

    @pytest.mark.parametrize("words", ([], ["nodes"], ["node"], ["engine", "--node-id", "x"], ["node", "--node", "x"]))
    def test_what_it_does_not_understand_is_one_line(
        self, words: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert probe.main(words) == exits.NOT_UNDERSTOOD
        assert capsys.readouterr().err.count("\n") == 1

    def test_nobody_is_dead_because_redis_does_not_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GINKGO_REDIS__HOST", "127.0.0.1")
        monkeypatch.setenv("GINKGO_REDIS__PORT", "1")
        assert probe.main(["node", "--node-id", "node-1"]) == exits.DONE


def _run(*words: str) -> str:
    """`ginkgo WORDS…` in this process; what it says on standard output."""
    cli.set_up_commands()
    out = io.StringIO()
    with redirect_stdout(out), suppress(SystemExit):
        cli._run(words)
    return out.getvalue()


class Terminal(io.StringIO):
    """Somebody sits there, who says this."""

    def isatty(self) -> bool:
        return True


def _main(monkeypatch: pytest.MonkeyPatch, *words: str, stdin: io.StringIO | None = None) -> tuple[int, str, str]:
    """The whole of `ginkgo WORDS…`, in this process; with nobody to answer if `stdin` is not given."""
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "argv", ["ginkgo", *words])
    monkeypatch.setattr(sys, "stdin", stdin or io.StringIO())
    monkeypatch.setitem(os.environ, "COLUMNS", "80")
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()
