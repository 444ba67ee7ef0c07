"""What a document tells its reader to type in: its fenced blocks, and the files among them."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

DOCS = Path(__file__).resolve().parents[2] / "docs"

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_NAME = re.compile(r"# (\w+\.py)\n")


class Block(NamedTuple):
    """A fenced block: its language (empty: none is named) and its text, not indented."""

    language: str
    text: str


def documents() -> list[str]:
    """Every page, by the name that the functions here take."""
    readmes = ["../README.md", "../README.zh-CN.md"]
    return [*readmes, *sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))]


def all_blocks(document: str) -> list[Block]:
    """All fenced blocks, in their order, those in lists too."""
    return [Block(language, dedent(text)) for _, language, text in _FENCE.findall((DOCS / document).read_text())]


def blocks(document: str, language: str) -> list[str]:
    """All fenced blocks in a language, in their order."""
    return [block.text for block in all_blocks(document) if block.language == language]


def type_in(document: str, folder: Path) -> list[str]:
    """Every Python block that begins with its file's name, as that file in `folder`; the names."""
    names = []
    for text in blocks(document, "python"):
        if named := _NAME.match(text):
            (folder / named[1]).write_text(text)
            names.append(named[1])
    return names


def commands(document: str) -> list[str]:
    """Every command line of its console and sh blocks, without prompt and comment; a line ending in a backslash goes
    on."""
    lines = []
    for language, text in all_blocks(document):
        if language not in ("console", "sh"):
            continue
        for line in text.replace("\\\n", " ").splitlines():
            if language == "sh" or line.startswith("$ "):
                lines.append(_COMMENT.sub("", " ".join(line.removeprefix("$ ").split())))
    return [line for line in lines if line]


_COMMENT = re.compile(r" ?# .*$")
