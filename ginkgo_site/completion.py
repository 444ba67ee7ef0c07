"""What the Tab key offers: `ginkgo --show-completion SHELL` and `--install-completion [SHELL]`, for bash, zsh and fish.

The scripts hold the whole tree of commands and options, so that a Tab starts no Python: it answers at once. After an
upgrade, install again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ginkgo_site.command_tree import Branch
from portfolios import exits


def main(option: str, words: Sequence[str]) -> int:
    shell = words[0] if words else Path(os.environ.get("SHELL", "")).name
    if shell not in _SHELLS or len(words) > 1:
        sys.stderr.write(f"ginkgo: {option} takes one of {', '.join(_SHELLS)}, not {shell or 'nothing'!r}\n")
        return exits.NOT_UNDERSTOOD
    script = _script(shell)
    if option == "--show-completion":
        sys.stdout.write(script)
        return exits.DONE
    path, then = _place(shell)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script, encoding="utf-8")
    except OSError as error:
        sys.stderr.write(f"ginkgo: {path} cannot be written: {error.strerror}\n")
        return exits.FAILED
    sys.stdout.write(f"{path}\n")
    sys.stderr.write(f"{then}\n")
    return exits.DONE


def _script(shell: str) -> str:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ginkgo_site.settings")
    import django

    from ginkgo_site.command_tree import branches

    django.setup()
    return script(shell, list(branches()))


def script(shell: str, branches: Sequence[Branch]) -> str:
    """The script of one shell for these commands."""
    return _SHELLS[shell](branches)


def _place(shell: str) -> tuple[Path, str]:
    """Where the shell looks for it, and what there is left to do."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    if shell == "bash":
        path = data / "bash-completion" / "completions" / "ginkgo"
        return path, f"In force in the next shell with the package bash-completion; without it: source {path}"
    if shell == "fish":
        return config / "fish" / "completions" / "ginkgo.fish", "In force in the next shell."
    path = data / "zsh" / "site-functions" / "_ginkgo"
    return path, f"In ~/.zshrc, before compinit: fpath=({path.parent} $fpath)"


def _children(branches: Sequence[Branch]) -> list[tuple[tuple[str, ...], dict[str, str]]]:
    """Each group with the names in it; at the root, all commands."""
    from ginkgo_site import overview

    everything = {name: what for commands in overview.COMMANDS.values() for name, what in commands.items()}
    return [((), everything), *((b.path, b.children) for b in branches if b.children)]


def _taking(branches: Sequence[Branch]) -> tuple[list[str], list[str]]:
    """The options that a file follows, and those that any value follows."""
    options = [option for branch in branches for option in branch.options]
    files = {name for option in options if option.is_file for name in option.names}
    valued = {name for option in options if option.takes for name in option.names}
    return sorted(files), sorted(valued)


def _bash(branches: Sequence[Branch]) -> str:
    words = [f"    '{' '.join(path)}') echo '{' '.join(names)}' ;;" for path, names in _children(branches)]
    options = [
        f"    '{' '.join(b.path)}') echo '{' '.join([*(n for o in b.options for n in o.names), '--help'])}' ;;"
        for b in branches
    ]
    files, valued = _taking(branches)
    return _BASH.format(
        words="\n".join(words), options="\n".join(options), files="|".join(files), valued="|".join(valued)
    )


_BASH = """\
# Completion of `ginkgo` in bash, made by `ginkgo --show-completion bash`.
_ginkgo_words() {{
  case "$1" in
{words}
  esac
}}
_ginkgo_options() {{
  case "$1" in
{options}
  esac
}}
_ginkgo() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" path="" word index
  COMPREPLY=()
  for ((index = 1; index < COMP_CWORD; index++)); do
    word="${{COMP_WORDS[index]}}"
    case " $(_ginkgo_words "$path") " in *" $word "*) path="${{path:+$path }}$word" ;; *) break ;; esac
  done
  case "$before" in
    {files}) COMPREPLY=($(compgen -f -- "$current")); return ;;
    {valued}) return ;;
  esac
  case "$current" in
    -*) COMPREPLY=($(compgen -W "$(_ginkgo_options "$path")" -- "$current")) ;;
    *) COMPREPLY=($(compgen -W "$(_ginkgo_words "$path")" -- "$current")) ;;
  esac
}}
complete -F _ginkgo ginkgo
"""


def _zsh(branches: Sequence[Branch]) -> str:
    words = [
        f"    '{' '.join(path)}') found=({' '.join(_quoted(f'{_plain(n)}:{what}') for n, what in names.items())}) ;;"
        for path, names in _children(branches)
    ]
    options = [
        f"    '{' '.join(b.path)}') found=("
        + " ".join(_quoted(f"{n}:{o.help}") for o in b.options for n in o.names)
        + " '--help:Show how it is used.') ;;"
        for b in branches
    ]
    files, valued = _taking(branches)
    return _ZSH.format(
        words="\n".join(words), options="\n".join(options), files="|".join(files), valued="|".join(valued)
    )


_ZSH = """\
#compdef ginkgo
# Completion of `ginkgo` in zsh, made by `ginkgo --show-completion zsh`.
_ginkgo_words() {{
  case "$1" in
{words}
    *) found=() ;;
  esac
}}
_ginkgo_options() {{
  case "$1" in
{options}
    *) found=() ;;
  esac
}}
_ginkgo() {{
  local -a found
  local at="" word known
  for word in "${{(@)words[2,CURRENT-1]}}"; do
    _ginkgo_words "$at"
    known="${{found[(r)${{(b)word}}:*]}}"
    [[ -n "$known" ]] || break
    at="${{at:+$at }}$word"
  done
  case "${{words[CURRENT-1]}}" in
    {files}) _files; return ;;
    {valued}) return ;;
  esac
  if [[ "${{words[CURRENT]}}" == -* ]]; then _ginkgo_options "$at"; else _ginkgo_words "$at"; fi
  _describe -t commands ginkgo found
}}
if [[ "${{funcstack[1]}}" == _ginkgo ]]; then _ginkgo "$@"; else compdef _ginkgo ginkgo; fi
"""


def _fish(branches: Sequence[Branch]) -> str:
    lines = [_FISH.format(groups=" ".join(_quoted(" ".join(b.path)) for b in branches))]
    for path, names in _children(branches):
        at = f'__ginkgo_at "{" ".join(path)}"'
        lines += [f"complete -c ginkgo -n '{at}' -a {_quoted(n)} -d {_quoted(what)}" for n, what in names.items()]
    for branch in branches:
        at = f'__ginkgo_at "{" ".join(branch.path)}"'
        for option in branch.options:
            takes = (" -r -F" if option.is_file else " -x") if option.takes else ""
            spelled = " ".join(f"-l {n[2:]}" if n.startswith("--") else f"-s {n[1:]}" for n in option.names)
            lines.append(f"complete -c ginkgo -n '{at}' {spelled}{takes} -d {_quoted(option.help)}")
    return "\n".join(lines) + "\n"


_FISH = """\
# Completion of `ginkgo` in fish, made by `ginkgo --show-completion fish`.
set -g __ginkgo_paths {groups}
function __ginkgo_at
    set -l path
    for word in (commandline -opc)[2..-1]
        set -l further (string trim -- "$path $word")
        contains -- "$further" $__ginkgo_paths; or break
        set path $further
    end
    test "$path" = "$argv[1]"
end
complete -c ginkgo -f"""


def _plain(text: str) -> str:
    return text.replace(":", "\\:")


def _quoted(text: str) -> str:
    """For all three shells alike: in single quotes, with none inside."""
    return "'" + text.replace("\\", "").replace("'", "’") + "'"


_SHELLS: dict[str, Callable[[Sequence[Branch]], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
