"""A server that is somebody's is not killed: neither by a number that is another process's, nor without leave."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ginkgo_site.drill import servers
from ginkgo_site.drill.errors import DrillError


def test_without_leave_nothing_that_is_given_is_ours_to_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(servers.KILLS, raising=False)
    assert [servers.pid(tmp_path, name) for name in ("kafka", "redis", "mysql")] == [None, None, None]
    with pytest.raises(DrillError, match="not ours to kill"):
        servers.kill(tmp_path, "redis")


def test_a_number_that_is_no_such_server_is_refused() -> None:
    with pytest.raises(DrillError, match="does not run on this machine"):
        servers._checked("redis", os.getpid())
