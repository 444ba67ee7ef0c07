"""The files under `~/.ginkgo`: read strictly, and changed one value at a time without disturbing the rest."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

# A value on its key's line: in quotes, or plain up to a comment.
_SCALAR = r"""(?:'[^']*'|"[^"]*"|[^#\s'"\[{&*|>!][^#]*?)"""


class ConfigurationError(Exception):
    """The configuration cannot be used; the message names each key, its source and what is wrong with it."""


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key given twice is an error, not a silent loss of the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def folder(environ: Mapping[str, str]) -> Path:
    """Where the files are: `$GINKGO_CONFIG_DIR`, else `~/.ginkgo`."""
    return Path(environ.get("GINKGO_CONFIG_DIR") or Path.home() / ".ginkgo").expanduser()


def read(path: Path) -> dict[str, Any]:
    """The sections of one file; nothing if it does not exist. Raises ConfigurationError naming the file and line."""
    if not path.is_file():
        return {}
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigurationError(f"{path}: not readable: {reason}") from None


def parse(text: str, name: str) -> dict[str, Any]:
    try:
        # A SafeLoader: it builds plain data and nothing else.
        data = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "not YAML"
        raise ConfigurationError(f"{name}{f', line {mark.line + 1}' if mark else ''}: {problem}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigurationError(f"{name}: must hold sections (a mapping), not a {type(data).__name__}")
    return data


def write_value(path: Path, keys: list[str], value: Any) -> None:
    """Put one value into the file, atomically, keeping comments and order where its layout allows it.

    The file may hold passwords, so a new one is readable by its owner only. Raises ConfigurationError or OSError.
    """
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    wanted = parse(text, str(path))
    inner = wanted
    for key in keys[:-1]:
        if not isinstance(inner.get(key), dict):
            inner[key] = {}
        inner = inner[key]
    inner[keys[-1]] = value
    edited = _edit(text, keys, value)
    if edited is None or not _reads_as(edited, wanted):
        edited = yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Through a link, so that a file kept elsewhere stays where it is.
    target = path.resolve()
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(edited)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            Path(temporary).chmod(target.stat().st_mode & 0o777)
        Path(temporary).replace(target)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _reads_as(text: str, wanted: dict[str, Any]) -> bool:
    try:
        return parse(text, "") == wanted
    except ConfigurationError:
        return False


def _edit(text: str, keys: list[str], value: Any) -> str | None:
    """The text with `section: {key: value}` set in its usual two-level layout; None where that is not its layout."""
    if len(keys) != 2:
        return None
    section, key = keys
    entry = yaml.safe_dump({key: value}, allow_unicode=True, default_flow_style=True, width=10_000).strip()[1:-1]
    lines = text.splitlines()
    start = next((n for n, line in enumerate(lines) if re.match(rf"{re.escape(section)}:\s*(#.*)?$", line)), None)
    if start is None:
        return "\n".join([*lines, *([""] if lines else []), f"{section}:", f"  {entry}"]) + "\n"
    end = next((n for n in range(start + 1, len(lines)) if re.match(r"[^\s#]", lines[n])), len(lines))
    for n in range(start + 1, end):
        if found := re.match(rf"(\s+){re.escape(key)}:(?:\s+{_SCALAR})?(\s+#.*)?\s*$", lines[n]):
            lines[n] = f"{found[1]}{entry}{found[2] or ''}"
            return "\n".join(lines) + "\n"
    indents = (re.match(r"\s+", line) for line in lines[start + 1 : end] if line.strip())
    indent = next((found[0] for found in indents if found), "  ")
    return "\n".join([*lines[: start + 1], f"{indent}{entry}", *lines[start + 1 :]]) + "\n"
