"""What a document tells its reader to type in: its fenced blocks, and the files among them."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NAME = re.compile(r"# (\w+\.py)\n")


def blocks(document: str, language: str) -> list[str]:
    """All fenced blocks in a language, in their order."""
    return [text for found, text in _FENCE.findall((DOCS / document).read_text()) if found == language]


def type_in(document: str, folder: Path) -> list[str]:
    """Every Python block that begins with its file's name, as that file in `folder`; the names."""
    names = []
    for text in blocks(document, "python"):
        if named := _NAME.match(text):
            (folder / named[1]).write_text(text)
            names.append(named[1])
    return names


def commands(document: str) -> list[str]:
    """Every command line of its console blocks, without the prompt; a line ending in a backslash goes on."""
    text = "".join(blocks(document, "console")).replace("\\\n", " ")
    return [" ".join(line[2:].split()) for line in text.splitlines() if line.startswith("$ ")]
