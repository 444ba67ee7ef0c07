"""What counts as the same, and what does not."""

from __future__ import annotations

from market.parity import Comparison, Difference, Trace

TRACE = Trace(orders=(b'{"a":1}', b'{"a":2}'), cancels=(), fills=(b'{"f":1}',), answers=(b"{}",))


def compare(live: Trace, backtest: Trace) -> list[Difference]:
    return Comparison("p", "mine", live, backtest, 0).differences


def test_the_same_lines_are_no_difference() -> None:
    assert compare(TRACE, TRACE) == []
    assert TRACE.document() == b'order {"a":1}\norder {"a":2}\nfill {"f":1}\nanswer {}\n'


def test_a_line_that_only_one_side_has_is_one() -> None:
    other = Trace(orders=(b'{"a":1}', b'{"a":3}'), cancels=(), fills=(), answers=(b"{}",))
    assert compare(TRACE, other) == [
        Difference("orders", "live", '{"a":2}'),
        Difference("orders", "backtest", '{"a":3}'),
        Difference("fills", "live", '{"f":1}'),
    ]


def test_a_line_told_twice_is_one_too() -> None:
    twice = Trace(orders=TRACE.orders, cancels=(), fills=(b'{"f":1}', b'{"f":1}'), answers=TRACE.answers)
    assert compare(TRACE, twice) == [Difference("fills", "backtest", '{"f":1}')]
