"""The supervisor's pure decisions: back-off, frozen processes, the summary line, the telling line of a log."""

from __future__ import annotations

from pathlib import Path

from ginkgo_site.stack import logs
from ginkgo_site.supervisor import backoff, summary
from ginkgo_site.supervisor.frozen import Frozen, Sign


def test_the_delay_doubles_from_half_a_second_to_thirty() -> None:
    delays: list[float] = []
    for _ in range(9):
        delays.append(backoff.delay(delays[-1] if delays else None, ran_for=1.0))
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_a_minute_of_health_forgets_the_delay() -> None:
    assert backoff.delay(30.0, ran_for=60.0) == backoff.FIRST
    assert backoff.delay(8.0, ran_for=59.9) == 16.0


def test_a_stopped_process_is_frozen_after_the_ttl() -> None:
    frozen = Frozen(ttl=30)
    assert frozen.judge({"engine": Sign(7, stopped=True, heard=None)}, now=100) == []
    assert frozen.judge({"engine": Sign(7, stopped=True, heard=None)}, now=130) == []
    assert frozen.judge({"engine": Sign(7, stopped=True, heard=None)}, now=130.1) == ["engine"]


def test_a_process_continued_in_time_is_not_frozen() -> None:
    frozen = Frozen(ttl=30)
    frozen.judge({"engine": Sign(7, stopped=True, heard=None)}, now=100)
    frozen.judge({"engine": Sign(7, stopped=False, heard=None)}, now=120)
    assert frozen.judge({"engine": Sign(7, stopped=True, heard=None)}, now=140) == []


def test_a_node_whose_heartbeat_has_gone_is_frozen_after_the_ttl() -> None:
    frozen = Frozen(ttl=30)
    frozen.judge({"node-1": Sign(7, stopped=False, heard=True)}, now=100)
    assert frozen.judge({"node-1": Sign(7, stopped=False, heard=False)}, now=130) == []
    assert frozen.judge({"node-1": Sign(7, stopped=False, heard=False)}, now=131) == ["node-1"]


def test_a_node_that_is_still_starting_has_no_heartbeat_to_miss() -> None:
    frozen = Frozen(ttl=30)
    for now in (0, 50, 100):
        assert frozen.judge({"node-1": Sign(7, stopped=False, heard=False)}, now) == []


def test_silence_is_not_counted_while_redis_does_not_answer() -> None:
    frozen = Frozen(ttl=30)
    frozen.judge({"node-1": Sign(7, stopped=False, heard=True)}, now=0)
    frozen.judge({"node-1": Sign(7, stopped=False, heard=None)}, now=100)
    assert frozen.judge({"node-1": Sign(7, stopped=False, heard=False)}, now=120) == []


def test_a_restarted_node_is_a_new_process_with_nothing_to_miss() -> None:
    frozen = Frozen(ttl=30)
    frozen.judge({"node-1": Sign(7, stopped=False, heard=True)}, now=0)
    assert frozen.judge({"node-1": Sign(8, stopped=False, heard=False)}, now=100) == []


def test_the_summary_line_fits_a_terminal() -> None:
    status = {
        "nodes": [{"id": f"node-{n}", "live": n != 3} for n in range(1, 4)],
        "portfolios": [{"status": "running"}, {"status": "error"}],
        "orders": {"submitted": 150_000, "filled": 123_456, "rejected": 1, "fenced": 0},
        "feed": {"messages": 9_000_000, "per_second": 25_000.4, "event_time": "2023-05-06T07:00:00Z"},
    }
    line = summary.line(status)
    assert line == "2/3 nodes · 1/2 portfolios running · 25000 ticks/s · 123456 orders filled · 2023-05-06"
    assert len(line) <= 90


def test_the_summary_line_bears_an_empty_installation() -> None:
    status = {"nodes": [], "portfolios": [], "orders": {}, "feed": {"per_second": 0.0, "event_time": None}}
    assert summary.line(status) == "0/0 nodes · 0/0 portfolios running · 0.0 ticks/s · 0 orders filled"


def test_the_telling_line_is_the_last_reason_not_the_last_frame(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("starting\nERROR address already in use\n\tat some.Frame(Frame.java:1)\nshutting down\n")
    assert logs.telling_line(log) == "ERROR address already in use"


def test_what_a_former_run_said_is_not_told(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("ERROR of yesterday\n")
    since = log.stat().st_size
    with log.open("a") as file:
        file.write("all is well\n")
    assert logs.telling_line(log, since) == "all is well"


def test_a_log_above_the_limit_starts_anew_and_its_end_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_bytes(b"old" * 10 + b"new")
    logs.trim(log, limit=10)
    assert log.read_bytes() == b""
    assert (tmp_path / "server.log.1").read_bytes() == b"ldoldoldnew"[-10:]
