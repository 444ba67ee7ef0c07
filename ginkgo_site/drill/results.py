"""Outcomes kept in a file, one JSON object a line, so that a run of many seeds goes on where it was cut off."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from ginkgo_site.drill import catalogue
from ginkgo_site.drill.errors import DrillError
from ginkgo_site.drill.outcome import Outcome


class Results:
    """`path` None keeps nothing. A last line that was cut off in the middle is a drill that is run again."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def read(self) -> dict[str, Outcome]:
        """What is there, by name. Raises DrillError for a file that holds something else."""
        if self._path is None or not self._path.exists():
            return {}
        lines = self._path.read_bytes().split(b"\n")
        found: dict[str, Outcome] = {}
        for number, line in enumerate(lines[:-1], 1):
            try:
                outcome = msgspec.json.decode(line, type=Outcome)
            except msgspec.MsgspecError as error:
                raise DrillError(f"{self._path}, line {number}, is no outcome of a drill: {error}") from None
            found[outcome.name] = outcome
        return found

    def run(self, names: Sequence[str]) -> list[Outcome]:
        """The outcomes of all `names`, those that are not kept yet run now and kept. Raises DrillError, OSError."""
        found = self.read()
        missing = [name for name in names if name not in found]
        if self._path is not None and missing:
            self._mend()
        if missing:
            for outcome in catalogue.run(missing):
                found[outcome.name] = outcome
                if self._path is not None:
                    with self._path.open("ab") as file:
                        file.write(msgspec.json.encode(outcome) + b"\n")
        return [found[name] for name in names]

    def _mend(self) -> None:
        """Cut off what was begun and not ended."""
        assert self._path is not None
        if self._path.exists():
            whole = self._path.read_bytes()
            self._path.write_bytes(whole[: whole.rfind(b"\n") + 1])
