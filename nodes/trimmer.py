"""The thread that gives a node's unused memory back."""

from __future__ import annotations

from market import memory
from nodes.thread import NodeThread


class Trimmer(NodeThread):
    def __init__(self, node_id: str) -> None:
        super().__init__(f"trimmer_{node_id}")

    def work(self) -> None:
        memory.keep_trimming(self.stopping)
